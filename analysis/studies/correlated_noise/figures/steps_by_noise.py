"""Steps to half a nat over learning rates, by noise and by how progress is measured."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel
from analysis.drawing.rates import RATE, over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.studies.correlated_noise.claims import NOISY
from analysis.studies.correlated_noise.own_measures import LEVEL, OFF, REDRAWN, batch_of, steps_to_level

TITLE = "Steps to learn, by noise and by how progress is measured"
CAPTION = (
    f"First step at which the data loss is at most {LEVEL:g} nats, over learning rates: of the mini-batches that are "
    "trained on, with their noise; and of training samples by their batches' own statistics, with the noise off and "
    "with noise drawn afresh. Median over seeds (thin: each seed); a run that never gets there counts its whole length."
)
EXPECTED = (
    "Where drift matters, noise drawn anew lies nearer to none than to batch with the noise off (CN1), and above noise "
    "of each sample (CN3)."
)
MEASURED = {None: "steps, on mini-batches", OFF: "steps, noise off", REDRAWN: "steps, noise afresh"}
FEWEST = 3
"""Learning rates, of a range."""


def compute(runs: Runs) -> Sheet:
    """Every setting of several learning rates; first those that know their loss with the noise off."""
    off = runs.recording("data_loss", batch_of(OFF))
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, NOISY),
        free=(RATE,),
        about={"task": "classification"},
        where=lambda setting: len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST,
        first=lambda setting: bool(off & set(setting.runs.each.index)),
    )
    columns = [Column(setting, _panels(runs, setting)) for setting in found.drawn]
    return found.sheet(columns, "no runs of several\nlearning rates")


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    own = set(setting.runs.each.index)
    return tuple(
        over_rate(setting, told, steps_to_level(evaluation), "log", unit="1")
        for evaluation, told in MEASURED.items()
        if evaluation is None or own & runs.recording("data_loss", batch_of(evaluation))
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
