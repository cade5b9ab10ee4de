"""Figure 8: how the moments of activations change, from one step to the next and since the start."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.derived import entering_activation, in_a_row
from analysis.drawing.draw import sized
from analysis.drawing.layers import LAYER_NOTE, ShownLayer
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import unit_of
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.santurkar2018.figures._landscapes import paper_layers
from analysis.studies.santurkar2018.grids import NOISY, NOISY_LAYERS

TITLE = "Figure 8: changes of the activations' moments"
CAPTION = (
    "Upper: |change| of each unit's mean and variance from one step to the next, averaged over units, where two in a "
    "row were probed. Lower: one unit (fixed by the layer's name) since the start, one run each."
)
EXPECTED = (
    "With noisy BN the moments are less stable than even the plain network's (S5), yet it trains almost as BN does."
)
BETWEEN = (("|Δ mean| between steps", "mean"), ("|Δ variance| between steps", "variance"))
SINCE = (("mean since the start", "unit_mean"), ("variance since the start", "unit_variance"))


def compute(runs: Runs) -> Sheet:
    """Layers 2, 9 and 13 (or those at their depth) of two classification settings, as columns."""
    found = drawn_settings(runs, NOISY, about={"task": "classification"}, most=2)
    columns, notes = [], dict[str, None]()
    for setting in found.drawn:
        recorded = of_setting(entering_activation(runs, "mean_drift_since_last"), setting)
        layers = paper_layers(recorded["layer"].dropna().unique(), NOISY_LAYERS, setting)
        since = {metric: since_start(runs, metric, setting, [layer.name for layer in layers]) for _, metric in SINCE}
        columns += [Column(setting, _panels(runs, setting, layer, since), layer.label) for layer in layers]
        notes |= dict.fromkeys(LAYER_NOTE for layer in layers if not layer.exact)
        if not layers:
            columns.append(Column(setting, (panel("change of moments", setting),)))
    nothing = "no classification runs of none, BN or noisy BN\nare among these"
    return found.sheet(columns, nothing, notes)


def _panels(runs: Runs, setting: Setting, layer: ShownLayer, since: dict[str, pd.DataFrame]) -> tuple[Panel, ...]:
    made = []
    for name, metric in BETWEEN:
        frame = in_a_row(of_setting(entering_activation(runs, f"{metric}_drift_since_last"), setting))
        part = frame[frame["layer"] == layer.name]
        made.append(panel(name, setting, NOISY, unit=unit_of(part), scale="log", curves=curves(part, setting)))
    for name, metric in SINCE:
        part = since[metric][since[metric]["layer"] == layer.name]
        made.append(panel(name, setting, NOISY, unit=unit_of(part), curves=curves(part, setting)))
    return tuple(made)


def chosen_unit(layer: str, width: int) -> int:
    """The unit that stands for a layer: the same in every run."""
    return zlib.crc32(layer.encode()) % width


def since_start(runs: Runs, metric: str, setting: Setting, layers: Sequence[str]) -> pd.DataFrame:
    """run, layer, step, value: a unit's value minus its value at the first probed step, of the lowest seed's runs."""
    chosen = [str(run["run"]) for norm in setting.names if (run := setting.lowest_seed(norm)) is not None]
    arrays = runs.arrays(f"{metric}_before_normalisation", chosen, "train", layers)
    arrays |= runs.arrays(f"{metric}_after_normalisation", chosen, "train", layers)
    rows = [pd.DataFrame(columns=["run", "layer", "step", "value", "unit"])]
    for (run, layer), array in arrays.items():
        values = array.to_numpy()[:, chosen_unit(layer, array.shape[1])]
        steps = array["step"].to_numpy()
        if len(steps):
            change = values - values[0]
            rows.append(
                pd.DataFrame({"run": run, "layer": layer, "step": steps, "value": change, "unit": array.attrs["unit"]})
            )
    return pd.concat(rows[1:], ignore_index=True) if len(rows) > 1 else rows[0].astype({"value": np.float64})


def draw(data: Sheet, figure: Figure) -> None:
    """One column per layer on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3)
