"""Training loss at each arm's quickest rate, and steps to a low loss over the rate."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curve, panel
from analysis.drawing.rates import RATE, at_best_rate, over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.studies.kohler2019.claims import APART, DESCENT, LEVEL, STEPS

TITLE = "Length and direction descended apart, and gradient descent, each at its best rate (Kohler et al. 2019)"
CAPTION = (
    "Training loss over training, each arm at the learning rate at which its lowest two seeds are quickest (beside it: "
    "which); and the steps to a loss of 1e-10 over the learning rate, where a run that never came there stands at its "
    "length. Median over seeds (thin: each seed)."
)
EXPECTED = "Two lines of one slope, and as many steps at the best rate of each (KO1)."
FEWEST = 3
"""Learning rates, to have a best one."""


def compute(runs: Runs) -> Sheet:
    """Every setting of several learning rates."""
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, (DESCENT, APART)),
        free=(RATE,),
        where=lambda setting: len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST,
    )
    columns = []
    for setting in found.drawn:
        columns.append(Column(setting, (_training(setting),), "at the best rate of each"))
        over = over_rate(setting, f"steps to a loss of {LEVEL:g}", STEPS, "log")
        columns.append(Column(setting, (over,), "over the learning rate"))
    return found.sheet(columns, "no runs of several\nlearning rates")


def _training(setting: Setting) -> Panel:
    curves, rates = [], []
    for arm in setting.names:
        own, rate = at_best_rate(setting.runs.only(setting.of[arm]), by=STEPS)
        if rate is not None:
            curves.append(curve(arm, own.records("data_loss", "train"), setting))
            rates.append(f"{arm} at {rate:g}")
    made = panel("training loss", setting, scale="log", curves=tuple(curves), levels=((f"{LEVEL:g}", LEVEL),))
    return replace(made, notes=(*made.notes, "; ".join(rates))) if rates else made


def draw(data: Sheet, figure: Figure) -> None:
    """Two columns per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=4, tall=1.3)
