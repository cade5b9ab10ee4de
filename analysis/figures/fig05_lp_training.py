"""Figure 5: training with L1, L2 and L-infinity normalisation: accuracy of the VGG, loss of the deep linear network."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures._draw import sized
from analysis.figures._rows import LP, TRAINING_ACCURACY, TRAINING_LOSS
from analysis.figures._runs import Runs
from analysis.figures._settings import settings
from analysis.figures._sheet import Column, Sheet

TITLE = "Figure 5: training with l_p normalisations"
CAPTION = (
    "Mini-batch training accuracy (classification) or training loss (regression) of none, BN, L1, L2 and L-infinity."
)
EXPECTED = (
    "The l_p normalisations train comparably to BN or better (S17); in the deep linear network L1 beats BN (S18)."
)


def compute(runs: Runs) -> Sheet:
    """One panel per setting."""
    found = settings(runs, LP)
    columns = tuple(
        Column(
            setting,
            (
                TRAINING_LOSS.panel(runs, setting, LP, published="fig5b_dln_loss")
                if setting.regression
                else TRAINING_ACCURACY.panel(runs, setting, LP, published="fig5a_train_acc"),
            ),
        )
        for setting in found.drawn
    )
    return Sheet(columns, "no runs of none, BN or an l_p normalisation\nare among these", found.left_out)


def draw(data: Sheet, figure: Figure) -> None:
    """One panel per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, tall=1.7)
