"""Measures of the training loss itself, where there is no accuracy: steps to a level, what is left of the start."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures import Measure, final, first
from analysis.runs import Runs

_LOSS = (("data_loss", "train"),)


def _spacing(runs: Runs) -> pd.Series:
    """By run: steps between two recorded training losses; 0: there is one; NaN: there is none."""
    steps = runs.records("data_loss", "train").groupby("run", observed=True)["step"]
    gaps = (steps.max() - steps.min()) / (steps.nunique() - 1).clip(lower=1)
    return gaps.reindex(runs.each.index)


def steps_to_loss(level: float) -> Measure:
    """First recorded step whose training loss is at `level` or below; never: the run's length.

    Of a full batch that is a property of the weights, so that nothing is smoothed.
    """

    def reached(runs: Runs) -> pd.Series:
        rows = runs.records("data_loss", "train")
        below = rows[rows["value"] <= level].groupby("run", observed=True)["step"].min()
        return below.astype(float).reindex(runs.each.index)

    def per_run(runs: Runs) -> pd.Series:
        number = np.maximum(reached(runs).fillna(runs.steps), _spacing(runs))
        return number.where(_spacing(runs).notna())

    return Measure(
        f"steps to a full-batch loss of {level:g}",
        f"first step with a training loss of {level:g} (never, or diverged: the run's length)",
        _LOSS,
        per_run,
        lambda runs: (_spacing(runs) - 1).clip(lower=0),
        diverged_count=True,
        never=lambda runs: reached(runs).isna(),
        in_steps=True,
    )


def loss_left() -> Measure:
    """Final training loss over the first one; of a diverged run infinite."""
    end = final(*_LOSS[0])

    def per_run(runs: Runs) -> pd.Series:
        return end.of(runs) / first(runs, *_LOSS[0])

    says = "training loss, median of the last tenth of evaluations, over that of the start (diverged: infinite)"
    return Measure("share of the loss left", says, _LOSS, per_run, diverged_count=True)
