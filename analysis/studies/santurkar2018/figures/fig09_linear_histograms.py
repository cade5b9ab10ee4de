"""Figure 9: activation histograms of the deep linear network over training."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.ridges import Ridges, draw_ridges, ridges
from analysis.drawing.settings import drawn_settings
from analysis.runs import Runs
from analysis.studies.santurkar2018.grids import DEPTH, LINEAR_LAYERS, PLAIN

TITLE = "Figure 9: activations of the deep linear network over training"
CAPTION = (
    "Histograms of the outputs of layers 1, 11 and 24 (after the normalisation, if any), early training at the back."
)
EXPECTED = "The distributions are stable with and without BN: their drift does not explain why BN trains better (S3)."


def compute(runs: Runs) -> Ridges:
    """Layers 1, 11 and 24 of every regression setting, with and without BN."""
    return ridges(runs, drawn_settings(runs, PLAIN, about={"task": "regression"}), PLAIN, LINEAR_LAYERS, DEPTH)


def draw(data: Ridges, figure: Figure) -> None:
    """Ridges on an empty figure with constrained layout, whose size is set."""
    figure.set_size_inches(*draw_ridges(data, figure))
