"""Not in the paper: the terms of Theorem 4.1 (corrected constant) at the live network's layers, over training."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis import derived
from analysis.drawing.draw import sized
from analysis.drawing.layers import spread
from analysis.drawing.panel import Panel, curve, of_setting, panel
from analysis.drawing.rows import unit_of
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, plain
from analysis.studies.santurkar2018.grids import BATCH_STATISTICS

TITLE = "Theorem 4.1 over training: its terms, layer by layer"
CAPTION = (
    "Shares of the scaling term (γ²/σ²)‖∂L/∂z‖² that the mean and the correlation term take off, what remains, and σ "
    "and γ/σ, per layer from the input (dark) to the output (light)."
)
EXPECTED = (
    "The two subtracted terms lower the gradient (S21) but vanish where γ and β are stationary; γ/σ may do more. "
    "σ is said to be large in practice (S23)."
)
SHARES = (
    ("mean term / scaling term", "mean_term"),
    ("correlation term / scaling term", "correlation_term"),
    ("‖∂L/∂y‖² / scaling term", "activation_gradient_squared"),
)
SIZES = (("mean σ", "sigma_mean"), ("mean γ/σ", "gamma_over_sigma_mean"))
LAYERS = 6
MOST = 8  # columns
ROUNDING = 1e-8  # of a share


def compute(runs: Runs) -> Sheet:
    """Every setting and normalisation with batch statistics, as columns."""
    found = drawn_settings(runs, BATCH_STATISTICS)
    there = {str(run) for run in runs.records("scaling_term")["run"].unique()}
    each = [(setting, norm) for setting in found.drawn for norm in setting.names]
    recorded = [(setting, norm) for setting, norm in each if there & set(setting.of[norm])]
    columns = [Column(setting, _panels(runs, setting.only([norm]), norm), norm) for setting, norm in recorded[:MOST]]
    notes = []
    if without := dict.fromkeys(norm for setting, norm in each if not there & set(setting.of[norm])):
        notes.append(f"no terms recorded: {', '.join(without)}")
    notes += [f"no room for {norm}, {setting.label}" for setting, norm in recorded[MOST:]]
    return found.sheet(columns, "no terms of Theorem 4.1\nare recorded in these runs (probe 'theory')", notes)


def _panels(runs: Runs, setting: Setting, norm: str) -> tuple[Panel, ...]:
    scaling = of_setting(runs.records("scaling_term"), setting, norm)
    layers = spread(scaling["layer"].dropna().unique(), LAYERS)
    made = []
    for name, metric in SHARES:
        frame = of_setting(runs.records(metric), setting, norm)
        share = derived.relative(frame, scaling)
        made.append(
            _panel(name, setting, norm, share, layers, "log" if metric != "activation_gradient_squared" else "linear")
        )
    for name, metric in SIZES:
        frame = of_setting(runs.records(metric), setting, norm)
        made.append(_panel(name, setting, norm, frame, layers, "log", unit_of(frame)))
    return tuple(made)


def _panel(
    name: str, setting: Setting, norm: str, frame: pd.DataFrame, layers: list[str], scale: str, unit: str = ""
) -> Panel:
    lines = [
        curve(norm, part, setting, f"{layer}", place / max(1, len(layers) - 1))
        for place, layer in enumerate(layers)
        if len(part := frame[frame["layer"] == layer])
    ]
    floor = ROUNDING if scale == "log" else 0.0
    lost = any((one.median < floor).any() for one in lines)
    notes = (f"below {plain(floor)}: rounding error, not shown",) if lost else ()
    return panel(name, setting, unit=unit, scale=scale, curves=tuple(lines), floor=floor, notes=notes)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per normalisation on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
