"""Test accuracy and test loss over the learning rate, by how batches are normalised and what they hold."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.over_key import over_key
from analysis.drawing.panel import Over
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import known_and_norms
from analysis.standard import ACCURACY, TEST_LOSS
from analysis.studies.ioffe2017.arms import ARMS

TITLE = "Batch normalisation and renormalisation, where batches are small or of few classes"
CAPTION = (
    "Test accuracy and test loss (both of the last tenth, by running statistics) over the learning rate, by "
    "normalisation, by how many samples of a batch are normalised together, and by how many classes a batch has; "
    "median over seeds (thin: each seed)."
)
EXPECTED = (
    "Renormalisation lies above batch normalisation in parts of two or four (BR1, BR2) and with batches of two classes "
    "(BR4), nearer to whole batches of all classes (BR3, BR5)."
)
RATE = "optim.lr"
OVER = Over("rate", "learning rate", log=True)
OWN = {arm.name for arm in ARMS}


def compute(runs: Runs) -> Sheet:
    """Every setting with several learning rates; first those with the most of this paper's arms."""
    found = drawn_settings(
        runs,
        arms=known_and_norms(runs, ARMS),
        free=(RATE,),
        about={"task": "classification"},
        where=lambda setting: len({setting.runs.value(run, RATE) for run in setting.runs.each.index}) > 2,
        first=lambda setting: bool(set(setting.names) & OWN),
    )
    columns = [
        Column(
            setting,
            (
                over_key(setting, "final test accuracy", ACCURACY, RATE, OVER, scale="accuracy"),
                over_key(setting, "final test loss", TEST_LOSS, RATE, OVER, scale="log", unit="nats"),
            ),
        )
        for setting in found.drawn
    ]
    return found.sheet(columns, "no runs at several learning rates")


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
