"""How far units' weights turn in a step, against what balance with weight decay predicts, and their norms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.studies.arora2019.claims import INVARIANT, PLAIN
from analysis.studies.arora2019.own_measures import SCALES

TITLE = "How far weights turn in a step, and how long they are"
CAPTION = (
    "Angle between a unit's weights before and after a step, root mean square over units and layers; below, the norm "
    "of the weights, median over layers. Dotted: √(2 lr decay), where growth and decay balance; shaded: the steps that "
    "count."
)
EXPECTED = "Scale-invariant weights come to turn by √(2 lr decay) a step, plain ones do not (AR4)."


def compute(runs: Runs) -> Sheet:
    """Every setting that records angles; first those with weight decay."""
    recording = runs.recording("unit_update_angle", "train")
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, (INVARIANT, PLAIN)),
        where=lambda setting: bool(recording & set(setting.runs.each.index)),
        first=lambda setting: _product(setting) > 0,
    )
    columns = [Column(setting, (_angles(runs, setting), _norms(runs, setting))) for setting in found.drawn]
    return found.sheet(columns, "no angles of updates are recorded\nin these runs")


def _product(setting: Setting) -> float:
    rate, decay = (setting.values.get(key) for key in ("optim.lr", "optim.weight_decay"))
    return float(rate) * float(decay) if rate and decay else 0.0


def _angles(runs: Runs, setting: Setting) -> Panel:
    rows = of_setting(runs.records("unit_update_angle", "train"), setting)
    squares = rows.assign(value=np.square(rows["value"].to_numpy(dtype=float)))
    means = squares.groupby(["run", "step"], observed=True)["value"].mean().pow(0.5).reset_index()
    made = panel("angle of a step", setting, unit="radian", scale="log", curves=curves(means, setting))
    product = _product(setting)
    if not product or made.missing:
        return made
    last = max(curve.steps[-1] for curve in made.curves)
    window = ((setting.names[0], SCALES / (2 * product), float(last)),) if SCALES / (2 * product) < last else ()
    return replace(made, levels=(("√(2 lr decay)", math.sqrt(2 * product)),), windows=window)


def _norms(runs: Runs, setting: Setting) -> Panel:
    rows = of_setting(runs.records("weight_norm", "train"), setting)
    middle: pd.DataFrame = rows.groupby(["run", "step"], observed=True)["value"].median().reset_index()
    drawn = curves(middle, setting)
    return panel("norm of the weights", setting, unit="parameter", scale="log", curves=drawn, context=True)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
