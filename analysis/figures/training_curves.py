"""Training and test accuracy and the training loss over training steps, one column of panels per setting.

The form of Santurkar et al. (2018), figures 1 (a), (b), 2 and 5, of every normalisation. A setting is what is the same
for all lines of a column: data, model and learning rate, and what else differs between the runs (batch size, optimiser,
...). Training accuracy and loss are those of the mini-batch of that step in train mode, before the update; nothing is
smoothed. Regression has no accuracy: its column shows the training and the test loss, on a logarithmic axis. After a
run has diverged, the median and the band are those of the runs that go on; the cross and the legend say so.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures._draw import sized
from analysis.figures._rows import TEST_ACCURACY, TEST_LOSS, TRAINING_ACCURACY, TRAINING_LOSS
from analysis.figures._runs import Runs
from analysis.figures._settings import settings
from analysis.figures._sheet import Column, Sheet

TITLE = "Accuracy and loss over training"
CAPTION = (
    "Every normalisation in every setting: mini-batch accuracy and loss before the update, test set in evaluation mode."
)
EXPECTED = (
    "Batch normalisation trains faster and tests better; at a large learning rate only normalised networks train."
)

CLASSIFICATION = (TRAINING_ACCURACY, TEST_ACCURACY, TRAINING_LOSS)
REGRESSION = (TRAINING_LOSS, TEST_LOSS)


def compute(runs: Runs) -> Sheet:
    """The curves of all settings."""
    found = settings(runs, most=8)
    columns = tuple(
        Column(
            setting, tuple(row.panel(runs, setting) for row in (REGRESSION if setting.regression else CLASSIFICATION))
        )
        for setting in found.drawn
    )
    return Sheet(columns, "no records of the probe 'training'\nin these runs", found.left_out)


def draw(data: Sheet, figure: Figure) -> None:
    """Draws every setting as a column of panels on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
