"""Squared gradients of the weights over depth, at initialisation and at the next probed step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Expected, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.yang2019.claims import RELU_GROWTH, log_growth, squared_gradients
from analysis.usable import usable

TITLE = "Squared gradients over depth"
CAPTION = (
    "‖∂L/∂W‖² of each hidden layer over that of the last, median over seeds (thin: each seed), at the first probed "
    "step (above) and at the second (below). Dashed: growth by π/(π − 1) per layer, relu."
)
EXPECTED = (
    "With relu and BN a straight line along the dashed one (Y1); one step levels it (Y4); without a non-linearity and "
    "with orthogonal weights it is flat (Y6)."
)
MODELS = ("mlp", "deep_linear")
FEWEST_LAYERS = 9
"""Besides the last, which no normalisation follows."""
PROBED = ("first probed step", "second probed step")
DEPTH = Over("layer", "layer, from the input")


def compute(runs: Runs) -> Sheet:
    """Every setting of fully connected networks of ten layers and more that records gradients."""
    squares = [squared_gradients(runs, which) for which in range(len(PROBED))]
    deep = {run for run, own in squares[0].items() if len(own) >= FEWEST_LAYERS}
    found = drawn_settings(
        runs,
        most=6,
        where=lambda setting: setting.values.get("model") in MODELS and bool(deep & set(setting.runs.each.index)),
    )
    columns = [
        Column(setting, tuple(_panel(name, own, setting) for name, own in _probed(squares, setting)))
        for setting in found.drawn
    ]
    return found.sheet(columns, "no gradients of a network\nof ten layers or more")


def _probed(
    squares: Sequence[Mapping[str, np.ndarray]], setting: Setting
) -> list[tuple[str, Mapping[str, np.ndarray]]]:
    """The probed steps that some of a setting's runs have, by name, with their squared gradients."""
    return [(name, own) for name, own in zip(PROBED, squares, strict=True) if set(own) & set(setting.runs.each.index)]


def _panel(name: str, squares: Mapping[str, np.ndarray], setting: Setting) -> Panel:
    curves: list[Curve] = []
    notes: list[str] = []
    for arm in setting.names:
        counted, left = usable(setting.runs.only(setting.of[arm]), log_growth(), arm)
        notes += left
        parts = [_relative(run, squares[run]) for run in counted.each.index if run in squares]
        if parts:
            curves.append(curve(arm, pd.concat(parts), setting, over=DEPTH))
    layers = max((one.steps for one in curves), key=len, default=np.array([]))
    relu = setting.values.get("model.activation") == "relu" and len(layers)
    line = Expected("growth by π/(π − 1) per layer", layers, RELU_GROWTH ** (len(layers) - layers))
    return panel(
        f"‖∂L/∂W‖² / last layer's, {name}",
        setting,
        unit="1",
        scale="log",
        over=DEPTH,
        curves=tuple(curves),
        expected=(line,) if relu else (),
        notes=tuple(notes),
    )


def _relative(run: str, squares: np.ndarray) -> pd.DataFrame:
    with np.errstate(all="ignore"):
        return pd.DataFrame({"run": run, "step": np.arange(1, len(squares) + 1), "value": squares / squares[-1]})


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3)
