"""Steps to half a nat over learning rates, by noise and by how progress is measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.studies.correlated_noise.claims import NOISY, RATE
from analysis.studies.correlated_noise.own_measures import LEVEL, OFF, REDRAWN, batch_of, steps_to_level
from analysis.usable import usable

TITLE = "Steps to learn, by noise and by how progress is measured"
CAPTION = (
    f"First step at which the data loss is at most {LEVEL:g} nats, over learning rates: of the mini-batches that are "
    "trained on, with their noise; and of training samples by their batches' own statistics, with the noise off and "
    "with noise drawn afresh. Median over seeds (thin: each seed); a run that never gets there counts its whole length."
)
EXPECTED = (
    "Where drift matters, noise drawn anew lies nearer to none than to batch with the noise off (CN1), and above noise "
    "of each sample (CN3)."
)
RATES = Over("learning_rate", "learning rate", log=True)
MEASURED = {None: "steps, on mini-batches", OFF: "steps, noise off", REDRAWN: "steps, noise afresh"}
FEWEST = 3
"""Learning rates, of a range."""


def compute(runs: Runs) -> Sheet:
    """Every setting of several learning rates; first those that know their loss with the noise off."""
    off = runs.recording("data_loss", batch_of(OFF))
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, NOISY),
        free=(RATE,),
        about={"task": "classification"},
        where=lambda setting: len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST,
        first=lambda setting: bool(off & set(setting.runs.each.index)),
    )
    columns = [Column(setting, _panels(runs, setting)) for setting in found.drawn]
    return found.sheet(columns, "no runs of several\nlearning rates")


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    own = set(setting.runs.each.index)
    return tuple(
        _panel(setting, evaluation, told)
        for evaluation, told in MEASURED.items()
        if evaluation is None or own & runs.recording("data_loss", batch_of(evaluation))
    )


def _panel(setting: Setting, evaluation: str | None, told: str) -> Panel:
    measure = steps_to_level(evaluation)
    curves: list[Curve] = []
    notes: list[str] = []
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), measure, arm)
        notes += left
        frame = pd.DataFrame(
            {
                "run": [f"seed {seed}" for seed in own.each["seed"]],
                "step": np.array([own.value(run, RATE) for run in own.each.index], dtype=float),
                "value": measure.of(own).to_numpy(),
            }
        ).dropna()
        curves += [curve(arm, frame, setting, over=RATES)] if len(frame) else []
    return panel(
        told,
        setting,
        unit="1",
        scale="log",
        over=RATES,
        curves=tuple(curves),
        notes=tuple(notes),
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
