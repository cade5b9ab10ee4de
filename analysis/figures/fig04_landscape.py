"""Figure 4: the loss along the gradient, gradient predictiveness and effective beta, with and without BN."""

from __future__ import annotations

from analysis.figures._landscapes import CAPTION, draw, landscape
from analysis.figures._rows import PLAIN
from analysis.figures._runs import Runs
from analysis.figures._sheet import Sheet

__all__ = ["CAPTION", "EXPECTED", "TITLE", "compute", "draw"]

TITLE = "Figure 4: the landscape along the gradient, with and without BN"
EXPECTED = (
    "With BN the loss varies less along the step, mostly early (S10), gradients are far more predictive (S11) and the "
    "effective β is better (S12); the published β settles at 20 = 2/lr = 1/η_min."
)


def compute(runs: Runs) -> Sheet:
    """Every classification setting."""
    return landscape(runs, PLAIN, regression=False)
