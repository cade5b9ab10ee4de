"""Test accuracy over the scale of the first weights, at each learning rate."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Over, Panel, curve, panel
from analysis.drawing.rates import RATE
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import ACCURACY
from analysis.studies.ioffe2015.figures._rates import PLAIN
from analysis.usable import usable

TITLE = "Test accuracy over the scale of the first weights and the learning rate"
CAPTION = (
    "Final test accuracy over the factor on the first weights, one line for each learning rate that was run at most "
    "scales (dark: low); median over seeds (thin: each seed)."
)
EXPECTED = "With BN the network learns from a wider range of scales (I4), and at more rates from each."
SCALE = "model.gain"
OVER = Over("gain", "factor on the first weights", log=True)
FEWEST = 3
"""Scales that a line goes over."""


def compute(runs: Runs) -> Sheet:
    """Every setting with three or more scales of the first weights."""
    found = drawn_settings(
        runs,
        PLAIN,
        free=(RATE, SCALE),
        about={"task": "classification"},
        where=lambda setting: len(_scales(setting.runs)) >= FEWEST,
    )
    columns = [Column(s, tuple(_panels(s))) for s in found.drawn]
    return found.sheet(columns, "no runs from several scales\nof the first weights")


def _panels(setting: Setting) -> list[Panel]:
    """One for each arm that was run from several scales; the first says which were not."""
    shown = [arm for arm in setting.names if len(_scales(setting.runs.only(setting.of[arm]))) >= FEWEST]
    first, *others = (_panel(setting, arm) for arm in shown or setting.names)
    left = [arm for arm in setting.names if shown and arm not in shown]
    said = (f"not drawn here: {', '.join(left)}",) if left else ()
    return [replace(first, notes=(*first.notes, *said)), *others]


def _scales(runs: Runs) -> set[float]:
    return {runs.value(run, SCALE) for run in runs.each.index} - {None}


def _panel(setting: Setting, arm: str) -> Panel:
    own, notes = usable(setting.runs.only(setting.of[arm]), ACCURACY, arm)
    numbers = ACCURACY.of(own).dropna()
    rates = grid_of(own, (RATE,))[RATE]
    parts = {}
    for rate in rates:
        runs = [run for run in numbers.index if own.value(run, RATE) == rate and own.value(run, SCALE) is not None]
        frame = pd.DataFrame(
            {
                "run": [f"seed {own.each['seed'][run]}" for run in runs],
                "step": [own.value(run, SCALE) for run in runs],
                "value": numbers[runs].to_numpy(),
            }
        )
        if frame["step"].nunique() >= FEWEST:
            parts[rate] = frame
    curves = [
        curve(arm, frame, setting, f"learning rate {rate:g}", place / max(1, len(parts) - 1), over=OVER)
        for place, (rate, frame) in enumerate(parts.items())
    ]
    name = f"final test accuracy, {arm}"
    return panel(name, setting.only([arm]), scale="accuracy", over=OVER, curves=tuple(curves), notes=notes)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
