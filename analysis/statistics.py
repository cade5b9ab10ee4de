"""What figures and verdicts need from several seeds: a centre, and a band that says what it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.errors import WrongInput


def by_run(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The values of `frame` (columns `by`, run, value) as a table [groups, runs]: one row per value of `by`, sorted.

    NaN where a run has no value in a group. Raises WrongInput where a run has several: a column is missing from `by`,
    and a band over them would not be one over runs.
    """
    if frame.duplicated([*by, "run"]).any():
        raise WrongInput(f"a run has several values at the same {', '.join(by)}: group by what tells them apart too")
    table = frame.assign(run=frame["run"].astype(str)).pivot(index=list(by), columns="run", values="value")  # noqa: PD010
    return table.sort_index()


def between_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """The values of `frame` (step, run, value) as a table [steps, runs], each run's interpolated at the others' steps.

    Linear, between two steps of its own: runs that were probed at different steps can so be held against each other at
    every step. Nothing before its first and after its last step, nor beside a step at which it has no number.
    """
    table = by_run(frame, ["step"])
    steps = table.index.to_numpy(dtype=float)
    runs = frame["run"].astype(str)
    for run in table.columns:
        own = frame[runs == run].sort_values("step")
        at, values = own["step"].to_numpy(dtype=float), own["value"].to_numpy(dtype=float)
        if len(at) < len(steps):
            table[run] = np.interp(steps, at, values, left=np.nan, right=np.nan)
    return table


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Median (`centre`) and extremes (`low`, `high`) over the runs of a table [groups, runs], as those above give it.

    One row per group. NaN means that there is no number and is left out, `runs` counts the others; infinities are
    numbers.
    """
    middle, low, high = table.median(axis=1), table.min(axis=1), table.max(axis=1)
    return pd.DataFrame({"centre": middle, "low": low, "high": high, "runs": table.count(axis=1)})


DESCRIBED = "line: median over seeds, band: min to max"
"""What a line and its band are, in words for a legend."""


def distance(steps: np.ndarray, values: np.ndarray, at: np.ndarray, published: np.ndarray, *, log: bool) -> float:
    """How far a curve is from a published one, over the steps that both cover.

    Ours (`steps`, `values`) is interpolated linearly between its points, on a log axis in the logarithm, at the steps
    `at` of the published one. log: the median of |log10(ours / published)|, else the mean of |ours - published|. Points
    that are not finite (log: not positive) are left out; NaN where fewer than two published points are covered.
    """
    found = apart(steps, values, at, published, log=log)
    found = found[~np.isnan(found)]
    if len(found) < 2:
        return float("nan")
    return float(np.median(np.abs(found)) if log else np.mean(np.abs(found)))


def apart(steps: np.ndarray, values: np.ndarray, at: np.ndarray, published: np.ndarray, *, log: bool) -> np.ndarray:
    """log10(ours / published) at the steps `at` [P] of a published curve, or (log: false) ours - published.

    Ours is interpolated as :func:`distance` says; NaN where ours does not reach, or one of the two has no number.
    """
    ours, theirs = np.asarray(values, dtype=float), np.asarray(published, dtype=float)
    good, there = np.isfinite(ours) & ((ours > 0) | (not log)), np.isfinite(theirs) & ((theirs > 0) | (not log))
    x, ours = np.asarray(steps, dtype=float)[good], ours[good]
    found = np.full(len(theirs), np.nan)
    if not len(x):
        return found
    covered = there & (at >= x[0]) & (at <= x[-1])
    if log:
        found[covered] = np.interp(at[covered], x, np.log10(ours)) - np.log10(theirs[covered])
    else:
        found[covered] = np.interp(at[covered], x, ours) - theirs[covered]
    return found
