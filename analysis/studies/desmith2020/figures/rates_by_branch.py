"""What trains at which learning rate, by how the branches of a residual network are joined to their shortcuts."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel
from analysis.drawing.rates import over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_norms
from analysis.standard import LOSS, TRAINS
from analysis.studies.desmith2020.claims import ARMS, RATE

TITLE = "What trains at which learning rate, by how residual branches are joined"
CAPTION = (
    "Training loss, median of the last tenth, over the learning rate; median over seeds (thin: each seed), not drawn "
    "where runs diverged. Dotted: the loss below which a run counts as trained."
)
EXPECTED = (
    "SkipInit trains a hundred blocks as BN does (DS2); with BN's downscaling undone twenty blocks train and a hundred "
    "do not (DS4)."
)
FEWEST = 3
"""Rates that a line goes over."""


def compute(runs: Runs) -> Sheet:
    """Every setting of residual networks of several learning rates."""
    found = drawn_settings(
        runs,
        arms=known_and_norms(runs, ARMS),
        free=(RATE,),
        about={"task": "classification", "model": "residual_mlp"},
        where=lambda setting: len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST,
    )
    columns = [Column(setting, (_panel(setting),)) for setting in found.drawn]
    return found.sheet(columns, "no residual networks\nof several learning rates")


def _panel(setting: Setting) -> Panel:
    level = (f"counts as trained below {TRAINS:g}", TRAINS)
    return over_rate(setting, "final training loss", LOSS, "log", levels=(level,), unit="nats")


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
