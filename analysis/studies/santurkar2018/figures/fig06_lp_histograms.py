"""Figure 6: activation histograms over training with l_p normalisations."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.ridges import Ridges, draw_ridges, ridges
from analysis.drawing.settings import drawn_settings
from analysis.runs import Runs
from analysis.studies.santurkar2018.grids import DEPTH, LP, LP_LAYERS

TITLE = "Figure 6: activations with l_p normalisations over training"
CAPTION = (
    "Histograms of what enters the activation function of layer 11 (or the layer at its depth), early training at the "
    "back."
)
EXPECTED = "The l_p normalisations fix no second moment: their distributions shift more than the plain network's (S19)."


def compute(runs: Runs) -> Ridges:
    """Layer 11 of every classification setting, one column per normalisation."""
    return ridges(runs, drawn_settings(runs, LP, about={"task": "classification"}), LP, LP_LAYERS, DEPTH)


def draw(data: Ridges, figure: Figure) -> None:
    """Ridges on an empty figure with constrained layout, whose size is set."""
    figure.set_size_inches(*draw_ridges(data, figure))
