"""What trains at which learning rate: loss, test accuracy and steps to learn over the rate."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, Scale, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import ACCURACY, LOSS, SPEED
from analysis.studies.ioffe2015.claims import TRAINS
from analysis.studies.ioffe2015.figures._rates import RATE, WANTED, arms
from analysis.usable import usable

TITLE = "Training over the learning rate (Ioffe & Szegedy 2015, section 3.3)"
CAPTION = (
    "Training loss, test accuracy (both of the last tenth) and steps to 90 % training accuracy over the learning rate; "
    "median over seeds (thin: each seed). Dotted: the loss below which a run counts as trained."
)
EXPECTED = (
    "With BN the loss stays low up to far higher rates (I3), and the best rate learns faster and better (I1); with the "
    "mean outside of the gradient step only far lower rates train (I7c)."
)
OVER = Over("rate", "learning rate", log=True)
SHOWN: tuple[tuple[str, Measure, Scale, tuple[tuple[str, float], ...]], ...] = (
    ("final training loss", LOSS, "log", (("trained", TRAINS),)),
    ("final test accuracy", ACCURACY, "accuracy", ()),
    ("steps to 90 % training accuracy", SPEED, "log", ()),
)


def compute(runs: Runs) -> Sheet:
    """Every setting with several learning rates."""
    found = drawn_settings(
        runs,
        WANTED,
        arms=arms(runs),
        free=(RATE,),
        about={"task": "classification"},
        where=lambda setting: len({setting.runs.value(run, RATE) for run in setting.runs.each.index}) > 2,
    )
    columns = [Column(setting, tuple(_panel(setting, *shown) for shown in SHOWN)) for setting in found.drawn]
    return found.sheet(columns, "no runs at several learning rates")


def _panel(setting: Setting, name: str, measure: Measure, scale: Scale, levels: tuple[tuple[str, float], ...]) -> Panel:
    curves: list[Curve] = []
    notes: list[str] = []
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), measure, arm)
        notes += left
        numbers = measure.of(own).dropna()
        if len(numbers):
            seeds = [f"seed {own.each['seed'][run]}" for run in numbers.index]
            rates = [own.value(run, RATE) for run in numbers.index]
            frame = pd.DataFrame({"run": seeds, "step": rates, "value": numbers.to_numpy()})
            curves.append(curve(arm, frame, setting, over=OVER))
    return panel(name, setting, WANTED, scale=scale, over=OVER, curves=tuple(curves), levels=levels, notes=tuple(notes))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
