"""Figure 1: training and test accuracy with and without BN at each learning rate; activations over training."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.ridges import SheetAndRidges, draw_both, ridges
from analysis.drawing.rows import TEST_ACCURACY, TRAINING_ACCURACY
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column
from analysis.runs import Runs
from analysis.studies.santurkar2018.grids import ACCURACY_LAYERS, DEPTH, PLAIN
from analysis.studies.santurkar2018.published_curves import beside, is_published

TITLE = "Figure 1: accuracy at each learning rate, and activations over training"
CAPTION = (
    "Mini-batch training accuracy and test accuracy with and without BN; below, histograms of what enters the "
    "activation function, early training at the back."
)
EXPECTED = (
    "BN trains faster and tests better, and at the large learning rate only BN trains (S1, S2); the drift of the "
    "distributions differs only marginally (S3)."
)


def compute(runs: Runs) -> SheetAndRidges:
    """Accuracies of every classification setting; histograms of layers 3 and 11."""
    found = drawn_settings(runs, PLAIN, about={"task": "classification"}, first=is_published)
    columns = tuple(
        Column(
            setting,
            (
                beside(TRAINING_ACCURACY.panel(runs, setting, PLAIN), setting, "fig1a_train_acc"),
                beside(TEST_ACCURACY.panel(runs, setting, PLAIN), setting, "fig1b_test_acc"),
            ),
        )
        for setting in found.drawn
    )
    sheet = found.sheet(columns, "no classification runs with or without BN\nare among these")
    return SheetAndRidges(sheet, ridges(runs, found, PLAIN, ACCURACY_LAYERS, DEPTH))


def draw(data: SheetAndRidges, figure: Figure) -> None:
    """Curves above, ridges below, on an empty figure with constrained layout, whose size is set."""
    draw_both(data, figure)
