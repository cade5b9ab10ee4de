"""Learning rate times sharpness and times curvature along the gradient over training, and the training loss."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import TRAINING_LOSS
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting

TITLE = "The edge of stability: learning rate times sharpness over training"
CAPTION = (
    "Learning rate × largest eigenvalue of the Hessian of the training batch's loss (in this study the batch is the "
    "whole training set), and × curvature along the gradient, at the probed steps (thin: each seed); below, the "
    "training loss. Dotted: 2, where gradient descent stops being stable."
)
EXPECTED = "With and without BN the upper curve rises to 2 and stays there while the loss goes on falling (CO1, CO2)."
WANTED = ("none", "batch")
STABLE = ("2, the edge of stability", 2.0)
ROWS = {
    "sharpness_times_rate": "learning rate × sharpness",
    "curvature_along_gradient_times_rate": "learning rate × curvature along g",
}


def compute(runs: Runs) -> Sheet:
    """Every setting that records the sharpness."""
    recording = runs.recording("sharpness_times_rate", "train")
    found = drawn_settings(runs, WANTED, where=lambda setting: bool(recording & set(setting.runs.each.index)))
    columns = [
        Column(
            setting,
            (
                *(_panel(runs, setting, metric, name) for metric, name in ROWS.items()),
                replace(TRAINING_LOSS.panel(runs, setting), context=True),
            ),
        )
        for setting in found.drawn
    ]
    return found.sheet(columns, "no sharpness is recorded\nin these runs")


def _panel(runs: Runs, setting: Setting, metric: str, name: str) -> Panel:
    frame = of_setting(runs.records(metric, "train"), setting)
    return panel(name, setting, WANTED, unit="1", curves=curves(frame, setting), levels=(STABLE,))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
