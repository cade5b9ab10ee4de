"""Figure 5: training with L1, L2 and L-infinity normalisation: accuracy of the VGG, loss of the deep linear network."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.rows import TRAINING_ACCURACY, TRAINING_LOSS
from analysis.drawing.settings import by_task, drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.studies.santurkar2018.grids import LP
from analysis.studies.santurkar2018.published_curves import beside, is_published

TITLE = "Figure 5: training with l_p normalisations"
CAPTION = (
    "Mini-batch training accuracy (classification) or training loss (regression) of none, BN, L1, L2 and L-infinity."
)
EXPECTED = (
    "The l_p normalisations train comparably to BN or better (S17); in the deep linear network L1 beats BN (S18)."
)
SHOWN = {
    "classification": (TRAINING_ACCURACY, "fig5a_train_acc"),
    "regression": (TRAINING_LOSS, "fig5b_dln_loss"),
}


def compute(runs: Runs) -> Sheet:
    """One panel per setting."""
    found = drawn_settings(runs, LP, first=is_published)
    columns = tuple(
        Column(
            setting,
            (beside(row.panel(runs, setting, LP), setting, published),),
        )
        for setting in found.drawn
        for row, published in [by_task(SHOWN, setting)]
    )
    return found.sheet(columns, "no runs of none, BN or an l_p normalisation\nare among these")


def draw(data: Sheet, figure: Figure) -> None:
    """One panel per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, tall=1.7)
