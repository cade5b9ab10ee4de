"""Spherical sharpness and learning rate times sharpness over training, and the training loss."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import TRAINING_LOSS, unit_of
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.studies.lyu2022.claims import DECAYED, MORE, NONE
from analysis.studies.lyu2022.own_measures import SPHERICAL, TIMES_RATE

TITLE = "Spherical sharpness at the edge of stability (Lyu et al. 2022)"
CAPTION = (
    "Spherical sharpness |w|² × largest eigenvalue of the Hessian of the training batch's loss (in this study the "
    "batch is the whole training set); learning rate × that eigenvalue (dotted: 2, where the first is 2 over the "
    "effective rate); below, the training loss. Median over seeds (thin: each seed)."
)
EXPECTED = (
    "With weight decay the second curve comes to 2; from there the first falls while the loss stands (LY1 to LY3)."
)
STABLE = ("2, the edge of stability", 2.0)


def compute(runs: Runs) -> Sheet:
    """Every setting that records the spherical sharpness; one arm for each weight decay."""
    recording = runs.recording(SPHERICAL, "train")
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, (DECAYED, MORE, NONE)),
        where=lambda setting: bool(recording & set(setting.runs.each.index)),
    )
    columns = [
        Column(
            setting,
            (
                _panel(runs, setting, SPHERICAL, "spherical sharpness"),
                replace(_panel(runs, setting, TIMES_RATE, "learning rate × sharpness"), levels=(STABLE,)),
                replace(TRAINING_LOSS.panel(runs, setting), context=True),
            ),
        )
        for setting in found.drawn
    ]
    return found.sheet(columns, "no sharpness is recorded\nin these runs")


def _panel(runs: Runs, setting: Setting, metric: str, name: str) -> Panel:
    frame = of_setting(runs.records(metric, "train"), setting)
    return panel(name, setting, unit=unit_of(frame), scale="log", curves=curves(frame, setting))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.0)
