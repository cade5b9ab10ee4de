"""Figure 4: the loss along the gradient, gradient predictiveness and effective beta, with and without BN."""

from __future__ import annotations

from analysis.drawing.sheet import Sheet
from analysis.runs import Runs
from analysis.studies.santurkar2018.figures._landscapes import CAPTION, draw, landscape
from analysis.studies.santurkar2018.grids import PLAIN

__all__ = ["CAPTION", "EXPECTED", "TITLE", "compute", "draw"]

TITLE = "Figure 4: the landscape along the gradient, with and without BN"
EXPECTED = (
    "With BN the loss varies less along the step, mostly early (S10), gradients are far more predictive (S11) and the "
    "effective β is better (S12); the published β settles at 20 = 2/lr = 1/η_min."
)
PUBLISHED = ("fig4a_loss_band", "fig4b_gradient_predictiveness_band", "fig4c_effective_beta")


def compute(runs: Runs) -> Sheet:
    """Every classification setting."""
    return landscape(runs, PLAIN, about={"task": "classification"}, published=PUBLISHED)
