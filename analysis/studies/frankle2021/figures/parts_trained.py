"""Accuracy and share of small gammas over training, by what is trained."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import TEST_ACCURACY, TRAINING_LOSS
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.studies.frankle2021.arms import ARMS

TITLE = "What is trained: gamma and beta, two weights of each channel, everything"
CAPTION = (
    "Test accuracy, training loss and the share of all gammas with |γ| < 0.01 over training, by what of the network is "
    "trained; the rest stays as it was drawn."
)
EXPECTED = (
    "Gamma and beta on random features test better than as many random weights (FR1, FR2), and more of the gammas come "
    "near 0 than where everything is trained (FR3)."
)
SMALL = "gamma_small_share_of_all"
OWN = {arm.name for arm in ARMS}


def compute(runs: Runs) -> Sheet:
    """Every setting that records gammas; first those with the most arms."""
    recording = runs.recording(SMALL, "train")
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, ARMS),
        where=lambda setting: bool(recording & set(setting.runs.each.index)),
        first=lambda setting: len(set(setting.names) & OWN) > len(OWN) // 2,
    )
    columns = [Column(setting, _panels(runs, setting)) for setting in found.drawn]
    return found.sheet(columns, "no sizes of gammas are recorded\nin these runs")


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    frame = of_setting(runs.records(SMALL, "train"), setting)
    small = panel("share of |γ| < 0.01", setting, unit="fraction", curves=curves(frame, setting))
    return (
        TEST_ACCURACY.panel(runs, setting),
        replace(TRAINING_LOSS.panel(runs, setting), context=True),
        small,
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
