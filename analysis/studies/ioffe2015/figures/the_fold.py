"""The trained network as it is evaluated, with BN folded into the layers before, and with BN taken out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curve, of_setting, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting

TITLE = "Inference: BN folded into the layer before it, and BN taken out (Ioffe & Szegedy 2015, section 3.1)"
CAPTION = (
    "Test accuracy by the running statistics, with BN folded into the layers before, and with BN left out; and how far "
    "the last two move the test loss, relative to it (0, exactly the same, lies at the lower edge). Median over seeds "
    "(thin: each seed)."
)
EXPECTED = (
    "Folding moves the outputs by rounding only (I10). Did BN nothing at inference, because gamma had become the "
    "deviation and beta the mean, then taking it out would keep the accuracy (I10b)."
)
KINDS = {"running": "by the running statistics", "folded": "folded", "taken_out": "taken out"}
"""Evaluations, and what they are."""


def compute(runs: Runs) -> Sheet:
    """Every setting that is evaluated with BN folded or taken out."""
    there = set().union(*(runs.recording("data_loss", batch) for batch in map(_batch, KINDS) if batch != "test"))
    found = drawn_settings(runs, ("batch",), where=lambda setting: bool(there & set(setting.runs.each.index)))
    columns = []
    for setting in found.drawn:
        parts = [part for arm in setting.names for part in (_accuracy(runs, setting, arm), _moved(runs, setting, arm))]
        columns.append(Column(setting, tuple(parts)))
    return found.sheet(columns, "no evaluations with BN\nfolded or taken out")


def _batch(kind: str) -> str:
    return "test" if kind == "running" else f"test, {kind}"


def _accuracy(runs: Runs, setting: Setting, arm: str) -> Panel:
    curves = []
    for place, (kind, told) in enumerate(KINDS.items()):
        frame = of_setting(runs.records("accuracy", _batch(kind)), setting, arm)
        if len(frame):
            curves.append(curve(arm, frame, setting, told, place / (len(KINDS) - 1)))
    return panel(f"test accuracy, {arm}", setting.only([arm]), scale="accuracy", curves=tuple(curves))


def _moved(runs: Runs, setting: Setting, arm: str) -> Panel:
    """|loss - loss by the running statistics| over that, where both were evaluated."""
    usual = of_setting(runs.records("data_loss", "test"), setting, arm)[["run", "step", "value"]]
    curves = []
    for place, (kind, told) in enumerate(KINDS.items()):
        frame = of_setting(runs.records("data_loss", _batch(kind)), setting, arm)[["run", "step", "value"]]
        both = frame.merge(usual, on=["run", "step"], suffixes=("", "_usual"))
        if kind != "running" and len(both):
            with np.errstate(all="ignore"):
                moved = (both["value"] - both["value_usual"]).abs() / both["value_usual"]
            frame = pd.DataFrame({"run": both["run"], "step": both["step"], "value": moved})
            curves.append(curve(arm, frame, setting, told, place / (len(KINDS) - 1)))
    return panel(f"test loss moved by, {arm}", setting.only([arm]), scale="log", curves=tuple(curves))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
