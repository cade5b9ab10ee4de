"""How many steps it takes to a level of the loss, by whichever evaluation of the training samples."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.measures import Measure
from analysis.runs import Runs

LEVEL = 0.5
"""Nats; of ten classes about nine in ten are then told right."""
OFF, REDRAWN = "noise_off", "noise_redrawn"
"""Evaluations of training samples by statistics of their own batches: without noise, and with noise drawn afresh."""


def batch_of(evaluation: str | None) -> str:
    """What the records call what an evaluation is of; None: the mini-batches that are trained on, with their noise."""
    return "train" if evaluation is None else f"train, {evaluation}"


def crossing(steps: np.ndarray, losses: np.ndarray, level: float) -> float:
    """Where losses [S] at ascending steps [S] first come down to a level; NaN: nowhere.

    Between two evaluations it is interpolated on the logarithm of the loss.
    """
    below = np.flatnonzero(losses <= level)
    if not len(below):
        return math.nan
    here = below[0]
    if here == 0 or not math.isfinite(losses[here - 1]):
        return float(steps[here])
    last, now = np.log(np.maximum(losses[here - 1 : here + 1], np.finfo(float).tiny))
    return float(steps[here - 1] + (last - math.log(level)) / (last - now) * (steps[here] - steps[here - 1]))


def reached(runs: Runs, evaluation: str | None) -> pd.Series:
    """By run: where its loss comes down to the level; NaN: nowhere, or it is not recorded."""
    rows = runs.records("data_loss", batch_of(evaluation)).sort_values("step", kind="stable")
    found = {
        str(run): crossing(own["step"].to_numpy(float), own["value"].to_numpy(float), LEVEL)
        for run, own in rows.groupby(rows["run"].astype(str), observed=True)
    }
    return pd.Series(found, dtype=float).reindex(runs.each.index)


def steps_to_level(evaluation: str | None, *, log: bool = False) -> Measure:
    """Steps until the loss is down at half a nat, or their logarithm. Never, or diverged: the run's length, at least.

    Args:
        evaluation: `OFF`, `REDRAWN`, or None for the mini-batches themselves.
        log: for fractions of a gap between logarithms.
    """
    batch = batch_of(evaluation)

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records("data_loss", batch)
        known = runs.each.index.isin(rows["run"].astype(str).unique())
        steps = reached(runs, evaluation).fillna(runs.steps).where(known)
        return np.log(steps.where(steps > 0)) if log else steps

    on = {OFF: "with the noise off", REDRAWN: "with noise drawn afresh", None: "on the noisy batches"}[evaluation]
    of = "a mini-batch" if evaluation is None else "training samples, by their batches' own statistics,"
    says = (
        f"{'logarithm of the ' if log else ''}first step at which the data loss of {of} {on} is at most {LEVEL:g} "
        "nats, interpolated on its logarithm (never, or diverged: the run's length)"
    )
    name = f"{'log ' if log else ''}steps to {LEVEL:g} nats {on}"
    return Measure(
        name,
        says,
        (("data_loss", batch),),
        per_run,
        diverged_count=True,
        never=lambda runs: reached(runs, evaluation).isna(),
        in_steps=True,
    )
