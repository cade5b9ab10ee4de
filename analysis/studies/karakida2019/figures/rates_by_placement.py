"""What trains at which learning rate, by where batch normalisation stands."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import LOSS
from analysis.studies.karakida2019.arms import AT, placed
from analysis.studies.karakida2019.claims import TRAINS
from analysis.usable import usable

TITLE = "What trains at which learning rate, by where batch normalisation stands"
CAPTION = (
    "Training loss, median of the last tenth, over the learning rate, by which layers are normalised; median over "
    "seeds (thin: each seed), not drawn where runs diverged. Dotted: the loss below which a run counts as trained."
)
EXPECTED = "With the output alone normalised, far greater rates train than without normalisation (KA3)."
RATE = "optim.lr"
OVER = Over("rate", "learning rate", log=True)
FEWEST = 3
"""Rates that a line goes over."""


def compute(runs: Runs) -> Sheet:
    """Every setting of several learning rates and placements."""
    found = drawn_settings(
        runs,
        arms=placed(runs),
        free=(RATE,),
        about={"task": "classification"},
        where=lambda setting: (
            len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST and len(grid_of(setting.runs, (AT,))[AT]) > 1
        ),
    )
    columns = [Column(setting, (_panel(setting),)) for setting in found.drawn]
    return found.sheet(columns, "no runs of several learning rates\nand placements")


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
