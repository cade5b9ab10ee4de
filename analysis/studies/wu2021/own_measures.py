"""Measures of the two functions of a network with batch normalisation: that of training and that of testing."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.measures import Measure, final
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs

SETTLED = 0.5
"""The last half of training, in which successive test losses are compared."""
TRAIN_MODE = "train_mode"
"""The label of the evaluation by the statistics of test batches as large as those of training."""


def accuracy(statistics: str) -> Measure:
    """Final test accuracy by running statistics, those of a population, or in train mode."""
    return final("accuracy", "test", statistics=statistics)


def gap() -> Measure:
    """Final test accuracy by population statistics minus that in train mode, which a small batch makes noisy."""
    train_mode, population = accuracy(TRAIN_MODE), accuracy("population")

    def per_run(runs: Runs) -> pd.Series:
        return population.of(runs) - train_mode.of(runs)

    says = f"test accuracy by population statistics minus that by test batches' own, each the {_LAST}"
    return Measure("gap of the modes", says, (*train_mode.metrics, *population.metrics), per_run)


def left_over() -> Measure:
    """Final test accuracy by population statistics minus that by running ones: by which, once frozen, it trains too."""
    running, population = accuracy("running"), accuracy("population")

    def per_run(runs: Runs) -> pd.Series:
        return population.of(runs) - running.of(runs)

    says = f"test accuracy by population statistics minus that by running ones, each the {_LAST}"
    return Measure("gap that is left", says, (*running.metrics, *population.metrics), per_run)


_LAST = "median of the last tenth of evaluations"


def unsteadiness(statistics: Literal["running", "population"]) -> Measure:
    """Mean |difference| of successive test losses, nats, in the last half of training.

    NaN where fewer than eight evaluations lie there.
    """
    batch = "test" if statistics == "running" else f"test, {statistics}"

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records("data_loss", batch).sort_values("step", kind="stable")
        found = {}
        for run, own in rows.groupby(rows["run"].astype(str), observed=True):
            if run in runs.each.index:
                late = own.loc[own["step"] >= SETTLED * runs.steps[run], "value"]
                if len(late) >= FEWEST_STEPS:
                    found[str(run)] = float(np.abs(np.diff(late.to_numpy(dtype=float))).mean())
        return pd.Series(found, dtype=float)

    says = "mean |difference| of successive test losses in the last half of training"
    return Measure(f"unsteadiness by {statistics} statistics", says, (("data_loss", batch),), per_run)


def discrepancy(of: Literal["mean", "deviation"]) -> Measure:
    """How far the running mean or deviation lies from the batch's, in the batch's deviation, at the end of training."""
    measure = final(f"running_{of}_discrepancy", "train")
    name = f"discrepancy of the {of}"
    says = "median over layers and the last tenth of the probed steps, mean over units"
    what = "|running mean - batch's| / batch's deviation" if of == "mean" else "|running deviation / batch's - 1|"
    return replace(measure, name=name, says=f"{what}, {says}", diverged_count=False)
