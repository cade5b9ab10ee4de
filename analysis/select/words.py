"""Keys and values of configurations, for people and for comparing."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from experiments.source_keys import HASHES

NORM = "norm"
GROUPS = ("data", "model", "norm", "optim", "numerics")
"""Keys whose value is a choice among what has options of its own."""
CHOICE = "norm.choice"
"""The normalisation without its options."""
LENGTH = "steps"
"""Of a run. Runs of different lengths are at different points of their training, and no arms."""
FACTS = ("state", "diverged_at", "experiment", "task", "seed")
"""Columns of a table of runs that are no key of what was trained, or tell repetitions of it apart."""
TITLE = ("model", "data", "optim.lr")
"""Keys that every setting's label begins with."""
WORDS = {
    "optim.lr": "learning rate",
    "optim": "optimiser",
    "optim.batch_size": "batch size",
    "optim.weight_decay": "weight decay",
    "optim.loss": "loss reduction",
    "optim.schedule": "schedule",
}


def plain(value: Any) -> str:
    """A configuration's value as a person writes it; equal values are written alike (1 and 1.0, None and NaN)."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return "none"
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if number.is_integer() and abs(number) < 1e15:
            return str(int(number))
        return re.sub(r"e([+-])0", r"e\1", f"{number:.12g}")
    if isinstance(value, list | tuple):
        return f"[{','.join(map(plain, value))}]"
    return str(value)


def shown(key: str, value: Any) -> str:
    """A key's value in titles and messages: of a hash its first eight digits, as in git, all else as `plain` has it."""
    return plain(value)[:8] if value is not None and key.rpartition(".")[2] in HASHES else plain(value)


def words_of(key: str) -> str:
    """A key for people, without its group."""
    return WORDS.get(key, key.rpartition(".")[2].replace("_", " "))
