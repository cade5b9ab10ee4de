"""Training and test accuracy and the training loss over training steps, one column of panels per setting.

Training accuracy and loss are those of the mini-batch of that step in train mode, before the update; nothing is
smoothed. Regression has no accuracy: its column shows the training and the test loss, on a logarithmic axis. After a
run has diverged, the median and the band are those of the runs that go on; the cross and the legend say so.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.rows import TEST_ACCURACY, TEST_LOSS, TRAINING_ACCURACY, TRAINING_LOSS
from analysis.drawing.settings import by_task, drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs

TITLE = "Accuracy and loss over training"
CAPTION = (
    "Every normalisation in every setting: mini-batch accuracy and loss before the update, test set in evaluation mode."
)
EXPECTED = (
    "Batch normalisation trains faster and tests better; at a large learning rate only normalised networks train."
)

ROWS = {
    "classification": (TRAINING_ACCURACY, TEST_ACCURACY, TRAINING_LOSS),
    "regression": (TRAINING_LOSS, TEST_LOSS),
}


def compute(runs: Runs) -> Sheet:
    """The curves of all settings."""
    found = drawn_settings(runs, most=8)
    columns = [
        Column(setting, tuple(row.panel(runs, setting) for row in by_task(ROWS, setting))) for setting in found.drawn
    ]
    return found.sheet(columns, "no records of the probe 'training'\nin these runs")


def draw(data: Sheet, figure: Figure) -> None:
    """Draws every setting as a column of panels on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
