"""Saturated sigmoids over depth and time."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.layers import depth_order
from analysis.drawing.panel import Panel, curve, of_setting, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.ioffe2015.figures._rates import PLAIN

TITLE = "Saturated sigmoids over depth and time"
CAPTION = (
    "Share of a layer's values within 2.5 % of an end of the sigmoid's range (of tanh's likewise), on a batch that "
    "stays the same; one line for each layer (dark: near the input), median over seeds (thin: each seed)."
)
EXPECTED = "With BN fewer are saturated at the end of training (I5b)."
FEWEST_LAYERS = 4


def compute(runs: Runs) -> Sheet:
    """Every setting that records saturation in several layers."""
    rows = runs.records("saturated", "fixed")
    layers = rows.groupby(rows["run"].astype(str), observed=True)["layer"].nunique()
    deep = set(layers.index[layers >= min(FEWEST_LAYERS, layers.max() if len(layers) else 0)])
    found = drawn_settings(runs, PLAIN, where=lambda setting: bool(deep & set(setting.runs.each.index)), most=6)
    columns = [Column(s, tuple(_panel(runs, s, arm) for arm in s.names)) for s in found.drawn]
    return found.sheet(columns, "no saturation of sigmoids\nor tanh is among these")


def _panel(runs: Runs, setting: Setting, arm: str) -> Panel:
    rows = of_setting(runs.records("saturated", "fixed"), setting, arm)
    names = depth_order(rows["layer"].dropna().unique())
    curves = [
        curve(arm, rows[rows["layer"] == layer], setting, layer, place / max(1, len(names) - 1))
        for place, layer in enumerate(names)
    ]
    return panel(
        f"saturated share, {arm}", setting.only([arm]), unit="fraction", scale="accuracy", curves=tuple(curves)
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
