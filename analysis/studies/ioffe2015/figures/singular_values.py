"""Singular values of the maps between layers, all of them, at initialisation and at the end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.ioffe2015.figures._rates import PLAIN
from analysis.studies.ioffe2015.singular_values import END, START, singular_values

TITLE = "Singular values of the maps between layers (Ioffe & Szegedy 2015, section 3.3)"
CAPTION = (
    "All singular values of the Jacobian between what enters consecutive activation functions, by rank, mean of their "
    "logarithms over samples; one line for each map (dark: near the input), median over seeds (thin: each seed)."
)
EXPECTED = "With BN they lie nearer to 1, the horizontal line (I9, I9b)."
RANK = Over("rank", "rank of the singular value")


def compute(runs: Runs) -> Sheet:
    """Every setting that records singular values, with at most four columns."""
    known = singular_values(runs)
    there = {run for run, _ in known}
    found = drawn_settings(runs, PLAIN, where=lambda setting: bool(there & set(setting.runs.each.index)), most=4)
    columns = [
        Column(s, tuple(_panel(known, s, arm, when) for when in (START, END) for arm in s.names)) for s in found.drawn
    ]
    return found.sheet(columns, "no singular values of maps\nbetween layers are among these")


def _panel(
    known: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]], setting: Setting, arm: str, when: str
) -> Panel:
    of_layer: dict[str, list[pd.DataFrame]] = {}
    for (run, layer), (_, values) in known.items():
        if run in setting.of[arm]:
            with np.errstate(divide="ignore"):
                logs = np.log(values[0 if when == START else -1]).mean(0)
            frame = pd.DataFrame({"run": run, "step": np.arange(1, len(logs) + 1), "value": np.exp(logs)})
            of_layer.setdefault(layer, []).append(frame)
    curves = [
        curve(arm, pd.concat(frames), setting, f"map to {layer}", place / max(1, len(of_layer) - 1), over=RANK)
        for place, (layer, frames) in enumerate(of_layer.items())
    ]
    name = f"singular values {when}, {arm}"
    return panel(name, setting.only([arm]), scale="log", over=RANK, curves=tuple(curves), levels=(("1", 1.0),))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
