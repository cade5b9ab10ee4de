"""What is left of the loss over learning rates, with batch normalisation and without."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.rates import RATE, over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import known_and_others
from analysis.studies.kohler2019.claims import BATCH, LEFT, NONE, ONE_RATE, SHARE

TITLE = "What is left of the loss, over learning rates (Kohler et al. 2019, Cai et al. 2019)"
CAPTION = (
    "Training loss at the end of training over that of the start, over the learning rate of the weights; median over "
    "seeds (thin: each seed). Dotted: a tenth, below which a rate counts as one that trains."
)
EXPECTED = "With BN, gamma at a rate of its own, the loss lies below a tenth over decades more than without (KO2)."
FEWEST = 3
"""Learning rates, of a range."""


def compute(runs: Runs) -> Sheet:
    """Every setting of several learning rates."""
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, (NONE, BATCH, ONE_RATE)),
        free=(RATE,),
        where=lambda setting: len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST,
    )
    level = (f"{LEFT:g} of the start's", LEFT)
    columns = [
        Column(setting, (over_rate(setting, "share of the loss left", SHARE, "log", levels=(level,)),))
        for setting in found.drawn
    ]
    return found.sheet(columns, "no runs of several\nlearning rates")


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
