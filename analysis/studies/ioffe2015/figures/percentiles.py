"""Ioffe & Szegedy (2015), figure 1 (b, c): the 15th, 50th and 85th percentiles of a unit over training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.derived import entering_activation
from analysis.drawing.draw import sized
from analysis.drawing.layers import depth_order
from analysis.drawing.panel import Band, Panel, curve, of_setting, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting

TITLE = "Percentiles of a unit's activations over training (Ioffe & Szegedy 2015, figure 1)"
CAPTION = (
    "15th to 85th percentile (band) and median (line) over the training batch of what enters the activation function, "
    "of one unit: the first drawn unit, first and last hidden layer, the run with the lowest seed."
)
PLAIN = ("none", "batch")
EXPECTED = "With BN the distribution is more stable over training: the percentiles drift and jump less."


def compute(runs: Runs) -> Sheet:
    """Every setting with and without BN; the first and the last layer that are not the head."""
    found = drawn_settings(runs, PLAIN, most=4)
    columns = tuple(Column(setting, _panels(runs, setting)) for setting in found.drawn)
    return found.sheet(columns, "no runs with or without BN\nare among these", bands="band: 15th to 85th percentile")


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    named = of_setting(entering_activation(runs, "mean"), setting)["layer"].dropna().unique()
    ours = depth_order(named)
    layers = list(dict.fromkeys([ours[0], ours[-1]])) if ours else []
    chosen = {norm: str(run["run"]) for norm in setting.names if (run := setting.lowest_seed(norm)) is not None}
    arrays = runs.arrays("percentiles_before_normalisation", list(chosen.values()), "train", layers)
    arrays |= runs.arrays("percentiles_after_normalisation", list(chosen.values()), "train", layers)
    made = []
    for layer in layers:
        lines, spans = [], []
        unit = ""
        for norm, run in chosen.items():
            array = arrays.get((run, layer))
            if array is None or not array.sizes["step"]:
                continue
            steps, unit = array["step"].to_numpy(), str(array.attrs["unit"])
            values = array.to_numpy()[:, 0]
            levels = np.asarray(array.attrs["x"])
            frames = [pd.DataFrame({"run": run, "step": steps, "value": values[:, i]}) for i in (0, -1)]
            middle = pd.DataFrame({"run": run, "step": steps, "value": values[:, int(np.argmin(abs(levels - 0.5)))]})
            spans.append(Band(*(curve(norm, frame, setting) for frame in frames)))
            lines.append(curve(norm, middle, setting, "50th percentile"))
        made.append(panel(f"unit of {layer}", setting, PLAIN, unit=unit, curves=tuple(lines), bands=tuple(spans)))
    return tuple(made) or (panel("percentiles", setting),)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
