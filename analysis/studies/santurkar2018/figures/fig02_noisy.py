"""Figure 2: none, BN and noisy BN (Algorithm 1): training accuracy, and activations over training."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.ridges import SheetAndRidges, draw_both, ridges
from analysis.drawing.rows import TRAINING_ACCURACY, TRAINING_LOSS
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column
from analysis.runs import Runs
from analysis.studies.santurkar2018.grids import DEPTH, NOISY, NOISY_LAYERS, WITH_NOISE
from analysis.studies.santurkar2018.published_curves import beside, is_published

TITLE = "Figure 2: batch normalisation with noise added after it"
CAPTION = (
    "Mini-batch training accuracy and loss without normalisation, with BN and with noisy BN, and with the same noise "
    "without BN where it was run; below, histograms of what enters the activation function, early training at the back."
)
EXPECTED = "Noisy BN trains almost as fast as BN and much faster than none (S4); the noise alone stops training (S6)."


def compute(runs: Runs) -> SheetAndRidges:
    """Accuracy and loss in every classification setting with noisy BN or noise; histograms of layers 2, 9 and 13."""
    wanted = (*NOISY, *WITH_NOISE)
    found = drawn_settings(runs, wanted, about={"task": "classification"}, first=is_published, rather=WITH_NOISE)
    columns = tuple(
        Column(
            setting,
            (
                beside(TRAINING_ACCURACY.panel(runs, setting, NOISY), setting, "fig2_train_acc"),
                TRAINING_LOSS.panel(runs, setting, NOISY),
            ),
        )
        for setting in found.drawn
    )
    sheet = found.sheet(columns, "no classification runs of none, BN or noisy BN\nare among these")
    return SheetAndRidges(sheet, ridges(runs, found, NOISY, NOISY_LAYERS, DEPTH))


def draw(data: SheetAndRidges, figure: Figure) -> None:
    """Curves above, ridges below, on an empty figure with constrained layout, whose size is set."""
    draw_both(data, figure)
