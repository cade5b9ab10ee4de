"""Measures of the edge of stability."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures import Measure
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs

LAST = 0.5
"""The last half of a run, in which the sharpness has settled."""


def settled(metric: str, name: str) -> Measure:
    """Median over every step of the last half of a run, between probed steps by a straight line.

    NaN where fewer than eight steps of that half were probed.
    """

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records(metric, "train")
        rows = rows[rows["x"].isna() | (rows["x"] == 1.0)].dropna(subset="value").sort_values("step", kind="stable")
        found = {}
        for run, own in rows.groupby(rows["run"].astype(str), observed=True):
            if run not in runs.each.index:
                continue
            start, steps = LAST * runs.steps[run], own["step"].to_numpy(dtype=float)
            if (steps >= start).sum() >= FEWEST_STEPS:
                every = np.arange(np.ceil(max(start, steps[0])), steps[-1] + 1)
                found[str(run)] = float(np.median(np.interp(every, steps, own["value"].to_numpy(dtype=float))))
        return pd.Series(found, dtype=float)

    says = f"{metric.replace('_', ' ')}, median over the steps of the last half of training"
    return Measure(name, says, ((metric, "train"),), per_run)


def greatest() -> Measure:
    """Greatest lr_t lambda_1 at a probed step of the last half; a run that diverged has not stayed: minus infinity.

    The start does not count: a network that starts sharper than the edge has not come to it.
    """

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records("sharpness_times_rate", "train")
        rows = rows[rows["step"] >= LAST * rows["run"].astype(str).map(runs.steps)]
        found = rows.groupby("run", observed=True)["value"].max().reindex(runs.each.index)
        return found.where(runs.each["state"] != "diverged", -np.inf)

    says = "greatest learning rate x sharpness at a probed step of the last half of training (diverged: minus infinity)"
    return Measure("greatest lr x sharpness", says, (("sharpness_times_rate", "train"),), per_run, diverged_count=True)
