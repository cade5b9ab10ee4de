"""What figures and verdicts need from several seeds: a centre, and a band that says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from analysis.errors import WrongInput

Centre = Literal["median", "mean"]
Band = Literal["min-max", "bootstrap"]


def by_run(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The values of `frame` (columns `by`, run, value) as a table [groups, runs]: one row per value of `by`, sorted.

    NaN where a run has no value in a group. Raises WrongInput where a run has several: a column is missing from `by`,
    and a band over them would not be one over runs.
    """
    if frame.duplicated([*by, "run"]).any():
        raise WrongInput(f"a run has several values at the same {', '.join(by)}: group by what tells them apart too")
    table = frame.assign(run=frame["run"].astype(str)).pivot(index=list(by), columns="run", values="value")  # noqa: PD010
    return table.sort_index()


def summarise(
    table: pd.DataFrame,
    *,
    centre: Centre = "median",
    band: Band = "min-max",
    confidence: float = 0.95,
    resamples: int = 2000,
) -> pd.DataFrame:
    """Centre and band over the runs of a table [groups, runs] as `by_run` gives it.

    Columns centre, low, high, runs, one row per group. NaN means that there is no number and is left out, `runs` counts
    the others; infinities are numbers. band="min-max": the extremes of the runs. band="bootstrap": the percentile
    interval of the centre, runs drawn anew with replacement (`scipy.stats.bootstrap`, a fixed seed; the same draws for
    all groups that have the same runs); NaN for fewer than two runs or where a value is infinite.
    """
    counts = table.count(axis=1)
    middle = table.median(axis=1) if centre == "median" else table.mean(axis=1)
    if band == "min-max":
        low, high = table.min(axis=1), table.max(axis=1)
    else:
        low, high = (pd.Series(end, table.index) for end in _bootstrap(table.to_numpy(), centre, confidence, resamples))
    return pd.DataFrame({"centre": middle, "low": low, "high": high, "runs": counts})


def describe(*, centre: Centre = "median", band: Band = "min-max", confidence: float = 0.95) -> str:
    """What a line and its band are, in words for a legend."""
    extent = "min to max" if band == "min-max" else f"{100 * confidence:g} % bootstrap interval of the {centre}"
    return f"line: {centre} over seeds, band: {extent}"


def _bootstrap(values: np.ndarray, centre: Centre, confidence: float, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    present = ~np.isnan(values)
    for pattern in np.unique(present, axis=0):
        rows = (present == pattern).all(axis=1) & ~np.isinf(values).any(axis=1)
        if pattern.sum() < 2 or not rows.any():
            continue
        interval = stats.bootstrap(
            (values[np.ix_(rows, pattern)],),
            np.median if centre == "median" else np.mean,
            axis=1,
            n_resamples=resamples,
            batch=100,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        low[rows], high[rows] = interval.low, interval.high
    return low, high
