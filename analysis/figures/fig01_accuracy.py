"""Figure 1: training and test accuracy with and without BN at each learning rate; activations over training."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures._ridges import SheetAndRidges, draw_both, ridges
from analysis.figures._rows import PLAIN, TEST_ACCURACY, TRAINING_ACCURACY
from analysis.figures._runs import Runs
from analysis.figures._settings import settings
from analysis.figures._sheet import Column, Sheet

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
    found = settings(runs, PLAIN, regression=False)
    columns = tuple(
        Column(
            setting,
            (
                TRAINING_ACCURACY.panel(runs, setting, PLAIN, published="fig1a_train_acc"),
                TEST_ACCURACY.panel(runs, setting, PLAIN, published="fig1b_test_acc"),
            ),
        )
        for setting in found.drawn
    )
    sheet = Sheet(columns, "no classification runs with or without BN\nare among these", found.left_out)
    return SheetAndRidges(sheet, ridges(runs, found.drawn, PLAIN, (3, 11)))


def draw(data: SheetAndRidges, figure: Figure) -> None:
    """Curves above, ridges below, on an empty figure with constrained layout, whose size is set."""
    draw_both(data, figure)
