"""Figure 12: as figure 4, with L1, L2 and L-infinity normalisation."""

from __future__ import annotations

from analysis.drawing.sheet import Sheet
from analysis.runs import Runs
from analysis.studies.santurkar2018.figures._landscapes import CAPTION, draw, landscape
from analysis.studies.santurkar2018.grids import LP

__all__ = ["CAPTION", "EXPECTED", "TITLE", "compute", "draw"]

TITLE = "Figure 12: the landscape with l_p normalisations"
EXPECTED = "The l_p normalisations smooth the landscape as BN does (S20)."


def compute(runs: Runs) -> Sheet:
    """Every classification setting."""
    return landscape(runs, LP, about={"task": "classification"})
