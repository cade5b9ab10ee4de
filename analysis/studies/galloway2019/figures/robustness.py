"""Accuracy on noisy and on attacked inputs: at equal accuracy on clean ones, and at the end over the radius."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Over, Panel, curve, panel
from analysis.drawing.rates import RATE, at_best_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Measure, final
from analysis.runs import Runs
from analysis.select import Setting, plain
from analysis.standard import ACCURACY
from analysis.studies.galloway2019.own_measures import LEVELS, OF_DATA, against_clean, where_first

TITLE = "Accuracy on noisy and on attacked inputs (Galloway et al. 2019)"
CAPTION = (
    "Each arm at its best learning rate. Left: test accuracy on changed inputs where the accuracy on clean ones first "
    "came to a level (shaded: the levels at which arms are compared). Right: at the end of training, over the radius "
    "of projected gradient ascent, in units from black to white; 0: clean inputs."
)
EXPECTED = (
    "With BN the accuracy is lower on noisy (GA1) and on attacked inputs (GA2); with the noisy batch's statistics it "
    "is higher again (GA3)."
)
SHOWN = {
    "noise": "accuracy on noisy inputs",
    "noise_batch": "accuracy on noisy inputs, by their batch's statistics",
    "pgd": "accuracy on attacked inputs",
}
WANTED = ("none", "batch")
CLEAN = Over("clean accuracy", "accuracy on clean inputs")
RADIUS = Over("radius", "radius of the attack")
GRID = np.round(np.arange(0.5, 0.9951, 0.01), 2)


def compute(runs: Runs) -> Sheet:
    """Every setting with an evaluation on noisy or attacked inputs, the learning rate free."""
    there = set().union(*(runs.recording("accuracy", f"test, {label}") for label in SHOWN))
    found = drawn_settings(
        runs, WANTED, free=(RATE,), where=lambda setting: bool(there & set(setting.runs.each.index)), most=4
    )
    columns = []
    for setting in found.drawn:
        best = {arm: at_best_rate(setting, arm) for arm in setting.names}
        own = {arm: some for arm, (some, _) in best.items()}
        rates = tuple(f"{arm} at learning rate {rate:g}" for arm, (_, rate) in best.items() if rate is not None)
        parts = [_matched(setting, own, label, name) for label, name in SHOWN.items()]
        columns.append(Column(setting, tuple(parts), "at equal accuracy on clean inputs"))
        columns.append(Column(setting, (_over_radius(runs, setting, own, rates),), "at the end of training"))
    return found.sheet(columns, "no evaluations on noisy\nor attacked inputs among these")


def _matched(setting: Setting, best: dict[str, Runs], label: str, name: str) -> Panel:
    curves = []
    for arm, own in best.items():
        rows = [
            (_seed(own, run), level, where_first(clean, other, level))
            for run, (clean, other) in against_clean(own, label).items()
            for level in GRID
        ]
        if rows:
            curves.append(curve(arm, pd.DataFrame(rows, columns=["run", "step", "value"]), setting, over=CLEAN))
    levels = OF_DATA.get(plain(setting.values.get("data")), LEVELS)
    return panel(
        name, setting, WANTED, scale="accuracy", over=CLEAN, curves=tuple(curves),
        windows=(("none", min(levels), max(levels)),),
    )  # fmt: skip


def _over_radius(runs: Runs, setting: Setting, best: dict[str, Runs], rates: tuple[str, ...]) -> Panel:
    measures: dict[float, Measure] = {0.0: ACCURACY}
    measures |= {radius: final("accuracy", "test", statistics=label) for label, radius in radii(runs, setting).items()}
    curves = []
    for arm, own in best.items():
        rows = [
            (_seed(own, run), radius, number)
            for radius, measure in sorted(measures.items())
            for run, number in measure.of(own).dropna().items()
        ]
        if rows:
            curves.append(curve(arm, pd.DataFrame(rows, columns=["run", "step", "value"]), setting, over=RADIUS))
    name = "final accuracy on attacked inputs"
    return panel(name, setting, WANTED, scale="accuracy", over=RADIUS, curves=tuple(curves), notes=rates)


def radii(runs: Runs, setting: Setting) -> dict[str, float]:
    """Label of an evaluation by running statistics -> the radius of its attack, as the records tell it."""
    table = runs.table[(runs.table["metric"] == "accuracy") & runs.table["run"].isin(setting.runs.each.index)]
    found = {}
    for batch, point in table[["batch", "point"]].drop_duplicates().itertuples(index=False):
        told = re.fullmatch(r"running statistics, pgd\(.*radius=([^,)]+).*\) inputs", str(point))
        if told:
            found[str(batch).removeprefix("test, ")] = float(told[1])
    return found


def _seed(runs: Runs, run: str) -> str:
    return f"seed {runs.each['seed'][run]}"


def draw(data: Sheet, figure: Figure) -> None:
    """Two columns per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
