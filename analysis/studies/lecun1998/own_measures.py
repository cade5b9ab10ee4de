"""How many steps until the training loss has come down to a level."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.measures import Measure, spacing
from analysis.progress import progress
from analysis.runs import Runs


def steps_to_loss(level: float) -> Measure:
    """First recorded step whose progress (see `analysis.progress`) is at `level` or below. Never: the run's length.

    On small images 90 % accuracy comes within ten steps, too few to tell two arms apart; a low loss comes later.
    """

    def reached(runs: Runs) -> pd.Series:
        found = {}
        for run, (steps, loss) in progress(runs).items():
            below = np.flatnonzero(loss <= math.log(level))
            if len(below):
                found[run] = float(steps[below[0]])
        return pd.Series(found, dtype=float).reindex(runs.each.index)

    def per_run(runs: Runs) -> pd.Series:
        number = np.maximum(reached(runs).fillna(runs.steps), spacing(runs))
        return number.where(spacing(runs).notna())

    says = f"first step with a data loss of {level:g}, median over five steps (never, or diverged: the run's length)"
    return Measure(
        f"steps to a loss of {level:g}",
        says,
        (("data_loss", "train"), ("accuracy", "train")),
        per_run,
        lambda runs: (spacing(runs) - 1).clip(lower=0),
        diverged_count=True,
        never=lambda runs: reached(runs).isna(),
        in_steps=True,
    )
