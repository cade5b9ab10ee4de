"""Test loss, test accuracy and the norm of the weights over training, by what keeps the weights small."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import TEST_ACCURACY, TEST_LOSS
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import median_over_layers
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.studies.hoffer2018.claims import ARMS

TITLE = "Weight decay, and steps or weights that have its norms (Hoffer et al. 2018)"
CAPTION = (
    "Test loss, test accuracy and the norm of a layer's weights, median over layers, over training; decay of the "
    "normalised weights on or off, or off and each channel's step, or its weights, scaled to the norms of the run with "
    "decay. Median over seeds (thin: each seed)."
)
EXPECTED = (
    "The test loss is lower with decay (HO1), and as low with corrected steps and with scheduled norms (HO2 to HO4), "
    "though with corrected steps the weights are large (HO5)."
)
METRIC = "weight_norm"
OWN = {arm.name for arm in ARMS}


def compute(runs: Runs) -> Sheet:
    """Every setting that records norms; first those with the most arms."""
    recording = runs.recording(METRIC, "train")
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, ARMS),
        where=lambda setting: bool(recording & set(setting.runs.each.index)),
        first=lambda setting: len(set(setting.names) & OWN) > 1,
    )
    columns = [Column(setting, _panels(runs, setting)) for setting in found.drawn]
    return found.sheet(columns, "no norms of weights are recorded\n(probes=dynamics)")


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    frame = median_over_layers(of_setting(runs.records(METRIC, "train"), setting))
    norms = panel("norm of a layer's weights", setting, scale="log", curves=curves(frame, setting))
    return TEST_LOSS.panel(runs, setting), TEST_ACCURACY.panel(runs, setting), norms


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
