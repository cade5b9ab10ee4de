"""Measures of the spherical sharpness: whether it comes to the edge of stability, how far it falls, at which loss."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures import Measure
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs

SPHERICAL = "spherical_sharpness"
TIMES_RATE = "sharpness_times_rate"
"""lr lambda_1; the spherical sharpness |w|^2 lambda_1 is 2 / (lr / |w|^2) where this is 2."""
SAME_LOSS = 1.1
"""Factor within which the training loss counts as where it ends."""
LAST = 2 / 3
"""Of the run, from which on it counts as its last third."""


def _lines(runs: Runs, metric: str) -> dict[str, pd.Series]:
    """By run: the recorded values by step, rising."""
    rows = runs.records(metric, "train").dropna(subset="value").sort_values("step", kind="stable")
    return {
        str(run): own.groupby("step")["value"].first()
        for run, own in rows.groupby(rows["run"].astype(str), observed=True)
        if run in runs.each.index
    }


def _over(one: float, other: float) -> float:
    """The quotient; infinite or NaN over 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(one) / np.float64(other))


def reached(edge: float) -> Measure:
    """Greatest lr_t lambda_1 at a probed step after one at which it was below the edge; diverged: minus infinity.

    A network that starts beyond the edge has not come to it. NaN: it was never below.
    """

    def per_run(runs: Runs) -> pd.Series:
        found = {}
        for run, line in _lines(runs, TIMES_RATE).items():
            below = line.index[line < edge]
            after = line[line.index > below[0]] if len(below) else line[:0]
            found[run] = float(after.max()) if len(after) else np.nan
        numbers = pd.Series(found, dtype=float).reindex(runs.each.index)
        return numbers.where(runs.each["state"] != "diverged", -np.inf)

    says = f"greatest learning rate x sharpness at a probed step after one below {edge:g} (diverged: minus infinity)"
    return Measure("lr x sharpness reached", says, ((TIMES_RATE, "train"),), per_run, diverged_count=True)


def settled_from(losses: pd.Series) -> float:
    """First step from which on the recorded training loss is within `SAME_LOSS` of its final one; NaN: none.

    The final one is the median of the last tenth of the recorded ones.
    """
    steps, values = losses.index.to_numpy(dtype=float), losses.to_numpy(dtype=float)
    end = float(np.median(values[steps >= 0.9 * steps[-1]]))
    outside = np.flatnonzero(~((values <= SAME_LOSS * end) & (values >= end / SAME_LOSS)))
    first = outside[-1] + 1 if len(outside) else 0
    return float(steps[first]) if first < len(steps) else np.nan


def fall() -> Measure:
    """Median spherical sharpness of the last third over its greatest while the training loss was where it ends.

    That is from the first step from which on every recorded training loss is within 1.1 times of the final one. NaN
    where fewer than eight steps were probed from there on, or before the last third or in it.
    """

    def per_run(runs: Runs) -> pd.Series:
        losses, found = _lines(runs, "data_loss"), {}
        for run, line in _lines(runs, SPHERICAL).items():
            start = settled_from(losses[run]) if run in losses else np.nan
            own, late = line[line.index >= start], line[line.index >= LAST * runs.steps[run]]
            if len(late) >= FEWEST_STEPS and len(own) >= len(late) + FEWEST_STEPS:
                found[run] = _over(late.median(), own.max())
        return pd.Series(found, dtype=float)

    says = (
        "spherical sharpness |w|^2 lambda_1, median over the probed steps of the last third of the run, over its "
        f"greatest from the first step from which on the training loss is within a factor of {SAME_LOSS:g} of its "
        "final one"
    )
    return Measure("spherical sharpness left", says, ((SPHERICAL, "train"), ("data_loss", "train")), per_run)


def late(metric: str, name: str) -> Measure:
    """Median over the probed steps of the last third of the run; NaN where fewer than eight were probed there."""

    def per_run(runs: Runs) -> pd.Series:
        found = {}
        for run, line in _lines(runs, metric).items():
            own = line[line.index >= LAST * runs.steps[run]]
            if len(own) >= FEWEST_STEPS:
                found[run] = float(own.median())
        return pd.Series(found, dtype=float)

    says = f"{metric.replace('_', ' ')}, median over the probed steps of the last third of the run"
    return Measure(name, says, ((metric, "train"),), per_run)


def swing() -> Measure:
    """Greatest over least recorded training loss of the last third of the run; diverged: infinite."""

    def per_run(runs: Runs) -> pd.Series:
        found = {}
        for run, line in _lines(runs, "data_loss").items():
            own = line[line.index >= LAST * runs.steps[run]]
            found[run] = _over(own.max(), own.min()) if len(own) else np.nan
        return pd.Series(found, dtype=float).reindex(runs.each.index).where(runs.each["state"] != "diverged", np.inf)

    says = "greatest over least recorded training loss of the last third of the run (diverged: infinite)"
    return Measure("swing of the training loss", says, (("data_loss", "train"),), per_run, diverged_count=True)
