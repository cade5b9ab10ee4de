"""Figure 2: none, BN and noisy BN (Algorithm 1): training accuracy, and activations over training."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures._ridges import SheetAndRidges, draw_both, ridges
from analysis.figures._rows import NOISY, TRAINING_ACCURACY, TRAINING_LOSS
from analysis.figures._runs import Runs
from analysis.figures._settings import settings
from analysis.figures._sheet import Column, Sheet

TITLE = "Figure 2: batch normalisation with noise added after it"
CAPTION = (
    "Mini-batch training accuracy and loss without normalisation, with BN and with noisy BN, and with the same noise "
    "without BN where it was run; below, histograms of what enters the activation function, early training at the back."
)
EXPECTED = "Noisy BN trains almost as fast as BN and much faster than none (S4); the noise alone stops training (S6)."
SHOWN = (*NOISY, "noise")


def compute(runs: Runs) -> SheetAndRidges:
    """Accuracy and loss in every classification setting with noisy BN or noise; histograms of layers 2, 9 and 13."""
    found = settings(runs, SHOWN, regression=False)
    noisy = [setting for setting in found.drawn if {"noisy_batch", "noise"} & set(setting.norms)]
    chosen = noisy or list(found.drawn)
    columns = tuple(
        Column(
            setting,
            (
                TRAINING_ACCURACY.panel(runs, setting, NOISY, published="fig2_train_acc"),
                TRAINING_LOSS.panel(runs, setting, NOISY),
            ),
        )
        for setting in chosen
    )
    sheet = Sheet(columns, "no classification runs of none, BN or noisy BN\nare among these", found.left_out)
    return SheetAndRidges(sheet, ridges(runs, chosen, NOISY, (2, 9, 13)))


def draw(data: SheetAndRidges, figure: Figure) -> None:
    """Curves above, ridges below, on an empty figure with constrained layout, whose size is set."""
    draw_both(data, figure)
