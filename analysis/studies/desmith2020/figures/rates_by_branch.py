"""What trains at which learning rate, by how the branches of a residual network are joined to their shortcuts."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_norms
from analysis.standard import LOSS
from analysis.studies.desmith2020.claims import ARMS, RATE, TRAINS
from analysis.usable import usable

TITLE = "What trains at which learning rate, by how residual branches are joined"
CAPTION = (
    "Training loss, median of the last tenth, over the learning rate; median over seeds (thin: each seed), not drawn "
    "where runs diverged. Dotted: the loss below which a run counts as trained."
)
EXPECTED = (
    "SkipInit trains a hundred blocks as BN does (DS2); with BN's downscaling undone twenty blocks train and a hundred "
    "do not (DS4)."
)
OVER = Over("rate", "learning rate", log=True)
FEWEST = 3
"""Rates that a line goes over."""


def compute(runs: Runs) -> Sheet:
    """Every setting of residual networks of several learning rates."""
    found = drawn_settings(
        runs,
        arms=known_and_norms(runs, ARMS),
        free=(RATE,),
        about={"task": "classification", "model": "residual_mlp"},
        where=lambda setting: len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST,
    )
    columns = [Column(setting, (_panel(setting),)) for setting in found.drawn]
    return found.sheet(columns, "no residual networks\nof several learning rates")


def _panel(setting: Setting) -> Panel:
    curves: list[Curve] = []
    notes: list[str] = []
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), LOSS, arm)
        notes += left
        numbers = LOSS.of(own).dropna()
        if len(numbers):
            seeds = [f"seed {own.each['seed'][run]}" for run in numbers.index]
            rates = [own.value(run, RATE) for run in numbers.index]
            frame = pd.DataFrame({"run": seeds, "step": rates, "value": numbers.to_numpy()})
            curves.append(curve(arm, frame, setting, over=OVER))
    return panel(
        "final training loss",
        setting,
        unit="nats",
        scale="log",
        over=OVER,
        curves=tuple(curves),
        levels=((f"counts as trained below {TRAINS:g}", TRAINS),),
        notes=tuple(notes),
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
