"""Learning from inputs that are prepared in several ways: over training at each one's best rate, and over rates."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curve, panel
from analysis.drawing.rates import RATE, at_best_rate, over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import NORM, Arm, Setting, plain
from analysis.standard import SPEED
from analysis.studies.lecun1998.claims import INPUTS, LEVEL, TO_LEVEL

TITLE = "Learning from raw, centred, standardised and whitened inputs (LeCun et al. 1998, section 4.3)"
CAPTION = (
    "Training loss over training, each arm at the learning rate at which its lowest two seeds are quickest (beside it: "
    "which), and steps to a low loss and to 90 % training accuracy over the learning rate; median over seeds (thin: "
    "each seed)."
)
EXPECTED = (
    "Raw inputs take the most steps at their best rate, then centred, standardised and whitened ones (LC1 to LC3)."
)
KEY = "data.standardise"


def arms(runs: Runs) -> list[Arm]:
    """Every normalisation with every way of preparing the inputs; without a normalisation the way's own name."""
    names = {plain(dict(arm.where)[KEY]): arm.name for arm in INPUTS}
    found: dict[str, Arm] = {}
    for run in runs.each.index:
        norm, way = runs.label_of(run), runs.value(run, KEY)
        told = names.get(plain(way), plain(way).replace("_", " "))
        name = norm if way is None else told if norm == "none" and plain(way) in names else f"{norm} ({told})"
        found.setdefault(name, Arm.of(name, {NORM: norm} if way is None else {NORM: norm, KEY: way}))
    return list(found.values())


def compute(runs: Runs) -> Sheet:
    """Every setting with several ways of preparing the inputs, over several learning rates."""
    found = drawn_settings(
        runs,
        arms=arms(runs),
        free=(RATE,),
        about={"task": "classification"},
        where=lambda setting: all(_several(setting.runs, key) for key in (KEY, RATE)),
    )
    columns = []
    for setting in found.drawn:
        told = ("steps to 90 % training accuracy", SPEED), (f"steps to a loss of {LEVEL:g}", TO_LEVEL)
        over = [over_rate(setting, name, measure, "log") for name, measure in told]
        columns.append(Column(setting, (in_shades(_learning(setting)),), "at the best rate of each"))
        columns.append(Column(setting, tuple(map(in_shades, over)), "over the learning rate"))
    return found.sheet(columns, "no runs from inputs that\nwere prepared in several ways, over learning rates")


def in_shades(made: Panel) -> Panel:
    """The panel with the ways of preparing inputs in shades, in their order, where it shows nothing else."""
    order = [arm.name for arm in INPUTS]
    if not {one.norm for one in made.curves} <= set(order):
        return made
    shaded = (replace(one, label=one.norm, shade=order.index(one.norm) / (len(order) - 1)) for one in made.curves)
    return replace(made, curves=tuple(shaded))


def _several(runs: Runs, key: str) -> bool:
    return len({plain(runs.value(run, key)) for run in runs.each.index}) > 1


def _learning(setting: Setting) -> Panel:
    curves, rates = [], []
    for arm in setting.names:
        own, rate = at_best_rate(setting, arm, by=TO_LEVEL)
        rows = own.records("data_loss", "train") if rate is not None else pd.DataFrame()
        if len(rows):
            curves.append(curve(arm, rows, setting))
            rates.append(f"{arm} at {rate:g}")
    made = panel("training loss", setting, scale="log", curves=tuple(curves), levels=((f"loss of {LEVEL:g}", LEVEL),))
    return replace(made, notes=(*made.notes, "; ".join(rates))) if rates else made


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=4, tall=1.2)
