"""Training over the learning rate with the normalisation before the activation function and after it."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.rates import RATE
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.studies.ioffe2015.figures.learning_rates import over_rates
from analysis.studies.mishkin2016.figures._arms import PLACE, arms

TITLE = "Normalisation before and after the activation function (Mishkin et al. 2016)"
CAPTION = (
    "Training loss, test accuracy (both of the last tenth) and steps to 90 % training accuracy over the learning rate; "
    "median over seeds (thin: each seed). Dotted: the loss below which a run counts as trained."
)
EXPECTED = (
    "After the activation the network tests better (MK1) and learns in fewer steps (MK2), each at its best rate; "
    "before it higher rates train (MK3)."
)


def compute(runs: Runs) -> Sheet:
    """Every setting with the normalisation in several places, over several learning rates."""
    found = drawn_settings(
        runs,
        arms=arms(runs),
        free=(RATE,),
        about={"task": "classification"},
        where=lambda setting: all(
            len({setting.runs.value(run, key) for run in setting.runs.each.index}) > 1 for key in (PLACE, RATE)
        ),
    )
    columns = [Column(setting, over_rates(setting)) for setting in found.drawn]
    return found.sheet(columns, "no runs with the normalisation in several places,\nover learning rates")


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=2)
