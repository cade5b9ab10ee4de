"""Figure 13: as figure 10, with L1, L2 and L-infinity normalisation."""

from __future__ import annotations

from analysis.drawing.sheet import Sheet
from analysis.runs import Runs
from analysis.studies.santurkar2018.figures._landscapes import CAPTION, draw, landscape
from analysis.studies.santurkar2018.grids import LP

__all__ = ["CAPTION", "EXPECTED", "TITLE", "compute", "draw"]

TITLE = "Figure 13: the landscape of the deep linear network with l_p normalisations"
EXPECTED = "The l_p normalisations smooth the landscape of the linear network as BN does (S20)."


def compute(runs: Runs) -> Sheet:
    """Every regression setting."""
    return landscape(runs, LP, about={"task": "regression"})
