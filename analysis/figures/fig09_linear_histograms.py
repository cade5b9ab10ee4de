"""Figure 9: activation histograms of the deep linear network over training."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures._ridges import Ridges, draw_ridges, ridges
from analysis.figures._rows import PLAIN
from analysis.figures._runs import Runs
from analysis.figures._settings import settings

TITLE = "Figure 9: activations of the deep linear network over training"
CAPTION = (
    "Histograms of the outputs of layers 1, 11 and 24 (after the normalisation, if any), early training at the back."
)
EXPECTED = "The distributions are stable with and without BN: their drift does not explain why BN trains better (S3)."


def compute(runs: Runs) -> Ridges:
    """Layers 1, 11 and 24 of every regression setting, with and without BN."""
    return ridges(runs, settings(runs, PLAIN, regression=True).drawn, PLAIN, (1, 11, 24))


def draw(data: Ridges, figure: Figure) -> None:
    """Ridges on an empty figure with constrained layout, whose size is set."""
    figure.set_size_inches(*draw_ridges(data, figure))
