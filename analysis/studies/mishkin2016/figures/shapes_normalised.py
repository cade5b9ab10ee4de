"""How far from Gaussian what is normalised is, before the activation function and after it."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import TRAINING_LOSS
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import median_over_layers
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.mishkin2016.figures._arms import arms

TITLE = "Skew and excess kurtosis of what is normalised (Ioffe & Szegedy 2015, section 3.2)"
CAPTION = (
    "|skew| and |excess kurtosis| of what enters the normalisation, of each unit over the batch, mean over units, "
    "median over layers; and the training loss. Median over seeds (thin: each seed). 0 of both: normal."
)
EXPECTED = "Before the activation both lie lower than after it (MK4)."
SHOWN = (("|skew|", "skew_before_normalisation"), ("|excess kurtosis|", "excess_kurtosis_before_normalisation"))


def compute(runs: Runs) -> Sheet:
    """Every setting that records the shape of what is normalised."""
    there = runs.recording(SHOWN[0][1], "train")
    found = drawn_settings(runs, arms=arms(runs), where=lambda setting: bool(set(there) & set(setting.runs.each.index)))
    columns = [Column(setting, _panels(runs, setting)) for setting in found.drawn]
    return found.sheet(columns, "no shape of what is normalised is recorded\n(probes=representations)")


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    made = []
    for name, metric in SHOWN:
        rows = median_over_layers(of_setting(runs.records(metric, "train"), setting))
        made.append(panel(name, setting, curves=curves(rows, setting)))
    return (*made, TRAINING_LOSS.panel(runs, setting))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
