"""Test accuracy over the learning rate and the scale of the first weights, a map for each arm."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.cells import cells
from analysis.drawing.draw import sized
from analysis.drawing.panel import Over, Panel, panel
from analysis.drawing.rates import RATE
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import ACCURACY
from analysis.studies.ioffe2015.figures._rates import PLAIN
from analysis.usable import usable

TITLE = "What trains: test accuracy by learning rate and scale of the first weights, as maps"
CAPTION = (
    "Final test accuracy in per cent, the median over seeds, over the factor on the first weights (across) and the "
    "learning rate (up); a diverged run counts with the accuracy of its untrained network. –: not run."
)
EXPECTED = "With BN the region that trains is wider in both directions (I3, I4)."
SCALE = "model.gain"
OVER = Over("gain", "factor on the first weights", log=True)
FEWEST = 3
"""Scales that a map goes over."""


def compute(runs: Runs) -> Sheet:
    """Every setting with three or more scales of the first weights; both keys free."""
    found = drawn_settings(
        runs,
        PLAIN,
        free=(RATE, SCALE),
        about={"task": "classification"},
        where=lambda setting: any(len(_scales(setting, arm)) >= FEWEST for arm in setting.names),
    )
    columns = [Column(s, tuple(_panel(s, arm) for arm in s.names)) for s in found.drawn]
    return found.sheet(columns, "no runs from several scales\nof the first weights")


def _scales(setting: Setting, arm: str) -> set[float]:
    return {setting.runs.value(run, SCALE) for run in setting.of[arm]} - {None}


def _panel(setting: Setting, arm: str) -> Panel:
    own, notes = usable(setting.runs.only(setting.of[arm]), ACCURACY, arm)
    numbers = ACCURACY.of(own).dropna()
    rows = [(own.value(run, SCALE), own.value(run, RATE), value) for run, value in numbers.items()]
    frame = pd.DataFrame(rows, columns=["across", "up", "value"]).dropna()
    made = cells(arm, "learning rate", frame) if len(frame) else None
    return panel(
        f"final test accuracy, {arm}", setting.only([arm]), scale="accuracy", over=OVER, cells=made, notes=notes
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
