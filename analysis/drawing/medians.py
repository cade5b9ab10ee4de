"""The medians behind a figure, small enough to be kept beside its picture: one row to a point that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from analysis.files import replace

LARGEST = 200_000
"""Bytes of the file. A figure of more points is thinned, and each row says so."""
COLUMNS = (
    "setting", "panel", "unit", "arm", "curve", "axis", "at", "median", "lowest", "highest", "seeds", "diverged",
    "thinned",
)  # fmt: skip
PERCENTILES = (15, 50, 85)
"""Of a histogram, of the values within its edges."""

_CURVE = ["setting", "panel", "unit", "arm", "curve", "axis"]
_TEXTS = {"setting", "data", "model", "optim.lr", "column", "quantity", "unit", "curve", "norm", "seed"}
_NUMBERS = {"median", "min", "max", "runs", "diverged", "distance", "low", "high", "density", "outside"}
_HISTOGRAM = ["setting", "quantity", "norm", "layer", "seed", "step"]


def medians(table: pd.DataFrame) -> pd.DataFrame:
    """The medians that a figure draws, of the table of its numbers.

    Args:
        table: what a figure's `table()` gives, in long form.

    Returns:
        `COLUMNS`. setting, panel, unit, arm, curve: what is drawn; axis, at: the name of the horizontal axis and the
        place on it; median, lowest, highest: over the `seeds` seeds that have a value there, of which `diverged` is
        the curve's number of runs that diverged; thinned: empty, or which of the curve's points are here. Of a
        histogram, which is of one seed, `PERCENTILES` over training. Numbers that are not finite are left out. A user's
        own table without medians gives no row.
    """
    table = table.reset_index(drop=True)
    parts = [_of_curves(table)] if "median" in table and is_numeric_dtype(table["median"]) else []
    if {*_HISTOGRAM, "low", "high", "density"} <= {*table.columns}:
        parts.append(_of_histograms(table[table["density"].notna()]))
    found = [part for part in parts if len(part)]
    whole = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS[:-1]))
    return whole.assign(thinned="")[list(COLUMNS)]


def write_medians(table: Any, path: Path) -> Path | None:
    """Writes the medians of a figure's table to `path`; None where there are none, as in a user's own table.

    Raises OSError.
    """
    if not isinstance(table, pd.DataFrame) or not len(told := medians(table)):
        return None
    content = as_csv(told)
    return replace(path, lambda new: new.write_bytes(content))


def as_csv(told: pd.DataFrame) -> bytes:
    """Medians as the bytes of a CSV file, thinned where it would have more than `LARGEST`.

    Of every curve each n-th point is kept, and its last, with the least n that is enough (or, where nothing is, the
    first and the last point of each).
    """
    content, every = _written(told), 1
    longest = int(told.groupby(_CURVE, dropna=False).size().max()) if len(told) else 0
    while len(content) > LARGEST and every < longest:
        every = min(longest, max(every + 1, every * len(content) // LARGEST))
        content = _written(thinned(told, every))
    return content


def thinned(told: pd.DataFrame, every: int) -> pd.DataFrame:
    """Of each curve its points 0, n, 2n, ... and its last; where some are left out, `thinned` says so."""
    curves = told.groupby(_CURVE, dropna=False, sort=False)
    place, points = curves.cumcount(), curves["at"].transform("size")
    kept = (place % every == 0) | (place == points - 1)
    word = f"every {every}th of " + points.astype(str) + " points, and the last"
    fewer = kept.groupby([told[key] for key in _CURVE], dropna=False).transform("sum") < points
    return told.assign(thinned=word.where(fewer, ""))[kept]


def _written(told: pd.DataFrame) -> bytes:
    return told.to_csv(index=False, na_rep="", float_format="%.6g", lineterminator="\n").encode()


def _of_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of curves; of several columns that say where, the last is the axis and the others name the curve."""
    known = _TEXTS | _NUMBERS
    numbers = [key for key in table if is_numeric_dtype(table[key])]
    places = [key for key in numbers if key not in known and not key.startswith("run_")]
    words = [key for key in table if key not in known and key not in numbers]
    own = table[np.isfinite(table["median"].to_numpy(dtype=float))]
    kinds = own[places].notna().to_numpy()
    parts = []
    for kind in np.unique(kinds, axis=0):
        rows = own[(kinds == kind).all(axis=1)]
        there = [key for key, has in zip(places, kind, strict=True) if has]
        parts.append(_rows(rows, there, words))
    found = [part for part in parts if len(part)]
    return pd.concat(found).sort_index() if found else pd.DataFrame()


def _rows(rows: pd.DataFrame, places: Sequence[str], words: Sequence[str]) -> pd.DataFrame:
    axis = places[-1] if places else ""
    names = [
        _text(rows, "curve"),
        *(_text(rows, key) for key in words),
        *(f"{key} " + rows[key].map("{:g}".format) for key in places[:-1]),
    ]
    return pd.DataFrame(
        {
            "setting": _text(rows, "setting"),
            "panel": _joined([_text(rows, "column"), _text(rows, "quantity")], ": "),
            "unit": _text(rows, "unit"),
            "arm": _text(rows, "norm"),
            "curve": _joined(names, ", "),
            "axis": axis,
            "at": rows[axis] if axis else np.nan,
            "median": rows["median"],
            "lowest": rows.get("min", np.nan),
            "highest": rows.get("max", np.nan),
            "seeds": rows["runs"].astype("Int64") if "runs" in rows else pd.NA,
            "diverged": rows["diverged"].astype("Int64") if "diverged" in rows else pd.NA,
        }
    )


def _text(rows: pd.DataFrame, key: str) -> pd.Series:
    return rows[key].astype(object).fillna("").astype(str) if key in rows else pd.Series("", index=rows.index)


def _joined(texts: Sequence[pd.Series], between: str) -> pd.Series:
    """Texts row by row, without those that are empty."""
    rows = zip(*texts, strict=True)
    return pd.Series([between.join(filter(None, row)) for row in rows], index=texts[0].index, dtype=object)


def _of_histograms(table: pd.DataFrame) -> pd.DataFrame:
    """Percentiles over training of each histogram, of the values within its edges."""
    rows = []
    for (setting, _, norm, layer, seed, step), one in table.groupby(_HISTOGRAM, sort=False):
        share = one["density"].to_numpy() * (one["high"] - one["low"]).to_numpy()
        if not share.sum() > 0:
            continue
        below = np.concatenate([[0.0], share.cumsum() / share.sum()])
        edges = np.append(one["low"].to_numpy(), one["high"].iloc[-1])
        for percent in PERCENTILES:
            last = int(np.searchsorted(below, percent / 100)) - 1
            part = (percent / 100 - below[last]) / (below[last + 1] - below[last])
            value = edges[last] + part * (edges[last + 1] - edges[last])
            curve = f"{layer}, seed {int(seed)}, {percent}th percentile"
            rows.append((setting, "activations", "", norm, curve, "step", step, value, np.nan, np.nan, 1, pd.NA))
    told = pd.DataFrame(rows, columns=list(COLUMNS[:-1]))
    return told.sort_values(["setting", "arm", "curve", "at"], kind="stable").astype({"seeds": "Int64"})
