"""What trains at which learning rate, by where batch normalisation stands."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.rates import RATE, over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.standard import LOSS, TRAINS
from analysis.studies.karakida2019.arms import AT, placed

TITLE = "What trains at which learning rate, by where batch normalisation stands"
CAPTION = (
    "Training loss, median of the last tenth, over the learning rate, by which layers are normalised; median over "
    "seeds (thin: each seed), not drawn where runs diverged. Dotted: the loss below which a run counts as trained."
)
EXPECTED = "With the output alone normalised, far greater rates train than without normalisation (KA3)."
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
    level = ((f"counts as trained below {TRAINS:g}", TRAINS),)
    columns = [
        Column(setting, (over_rate(setting, "final training loss", LOSS, "log", levels=level, unit="nats"),))
        for setting in found.drawn
    ]
    return found.sheet(columns, "no runs of several learning rates\nand placements")


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
