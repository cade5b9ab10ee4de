"""The test loss over the weight of the example's own statistics, on the half of the test set that chooses nothing."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_norms
from analysis.studies.summers2020.claims import PARTS, WHOLE
from analysis.studies.summers2020.own_measures import CHOOSING, HUNDREDTHS, JUDGING, losses

TITLE = "Weighing an example's own statistics in at test time"
CAPTION = (
    "Test loss over the loss by running statistics alone, against the weight of the example's own statistics, on the "
    "half of the test set that chooses the weight and on the half that is judged; median over seeds (thin: each seed)."
)
EXPECTED = "Where batches are small the least loss lies at a weight above 0, on both halves alike (SD2)."
OVER = Over("hundredths", "weight of the example's own statistics, hundredths")
HALVES = {CHOOSING: "test loss / unweighed, half that chooses", JUDGING: "test loss / unweighed, half that is judged"}


def compute(runs: Runs) -> Sheet:
    """Every setting that was evaluated so."""
    recorded = runs.recording("data_loss", f"test, {JUDGING}_{HUNDREDTHS[-1]}")
    arms = known_and_norms(runs, (WHOLE, PARTS))
    found = drawn_settings(runs, arms=arms, where=lambda setting: bool(recorded & set(setting.runs.each.index)))
    columns = [Column(s, tuple(_panel(s, half, name) for half, name in HALVES.items())) for s in found.drawn]
    return found.sheet(columns, "no example was weighed in\nat test time")


def _panel(setting: Setting, half: str, name: str) -> Panel:
    curves: list[Curve] = []
    for arm in setting.names:
        table = losses(setting.runs.only(setting.of[arm]), half).dropna()
        table = table.div(table[HUNDREDTHS[0]], axis=0)
        frame = table.rename_axis("run").reset_index().melt("run", var_name="step", value_name="value")
        frame["step"] = pd.to_numeric(frame["step"])
        curves += [curve(arm, frame, setting, over=OVER)] if len(frame) else []
    return panel(name, setting, unit="1", over=OVER, curves=tuple(curves), levels=(("unweighed", 1.0),))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
