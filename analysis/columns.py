"""Values of a configuration as a column of a table, in the type that they have there."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def column(values: Sequence[Any]) -> Any:
    """One column of a table from one value per row; None: the row has none.

    bool where all are booleans, pandas' nullable "boolean" where some of them are missing; int64 where all are whole
    numbers, else float64 with NaN for what is missing; a categorical of texts otherwise, in which what is no text
    stands as JSON: a list, an option that is a number in one run and a word in another.
    """
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, bool) for value in present):
        return np.array(values) if len(present) == len(values) else pd.array(values, dtype="boolean")
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return numbers(values)
    return categories([value if value is None or isinstance(value, str) else json.dumps(value) for value in values])


def numbers(values: Sequence[Any]) -> np.ndarray:
    """int64 where every value is a whole number, else float64 with NaN for None."""
    if values and all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def categories(values: Sequence[str | None]) -> pd.Categorical:
    """Texts as a categorical with its words in order; None: missing."""
    names = sorted({value for value in values if value is not None})
    place = {name: code for code, name in enumerate(names)}
    codes = [-1 if value is None else place[value] for value in values]
    return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype="str"))
