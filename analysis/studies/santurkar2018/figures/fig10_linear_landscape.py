"""Figure 10: as figure 4, of the deep linear network."""

from __future__ import annotations

from analysis.drawing.sheet import Sheet
from analysis.runs import Runs
from analysis.studies.santurkar2018.figures._landscapes import CAPTION, draw, landscape
from analysis.studies.santurkar2018.grids import PLAIN

__all__ = ["CAPTION", "EXPECTED", "TITLE", "compute", "draw"]

TITLE = "Figure 10: the landscape of the deep linear network, with and without BN"
EXPECTED = "The same smoothing by BN without any non-linearity (S13)."


def compute(runs: Runs) -> Sheet:
    """Every regression setting."""
    return landscape(runs, PLAIN, about={"task": "regression"})
