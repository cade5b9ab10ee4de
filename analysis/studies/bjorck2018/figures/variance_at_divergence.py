"""The variance of what enters the activations, layer by layer, at the last probed step before a run diverged."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.bjorck2018.own_measures import last_variances

TITLE = "What grows where training diverges (Bjorck et al. 2018, section 3.2)"
CAPTION = (
    "Variance of what enters each hidden layer's activation, after the normalisation if there is one, at the last "
    "probed step of runs that diverged; median over seeds (thin: each seed). The logits are left out."
)
EXPECTED = "Without BN the variance grows from layer to layer (BJ5)."
WANTED = ("none", "batch")
DEPTH = Over("layer", "hidden layer, from the input")
FEWEST = 3
"""Layers, of a slope."""


def compute(runs: Runs) -> Sheet:
    """Every setting in which runs of three hidden layers or more diverged."""
    found = {run: own for run, own in last_variances(runs).items() if len(own) >= FEWEST}
    chosen = drawn_settings(runs, WANTED, where=lambda setting: bool(set(found) & set(setting.runs.each.index)))
    columns = [Column(setting, (_panel(found, setting),)) for setting in chosen.drawn]
    return chosen.sheet(columns, "no run diverged\nwhose activations were probed")


def _panel(found: dict[str, np.ndarray], setting: Setting) -> Panel:
    # by seed, not by run: the step at which a run diverged has no place on an axis of layers
    seeds = {run: f"seed {seed}" for run, seed in setting.runs.each["seed"].items()}
    curves = []
    for arm in setting.names:
        parts = [
            pd.DataFrame({"run": seeds[run], "step": np.arange(1, len(found[run]) + 1), "value": found[run]})
            for run in setting.of[arm]
            if run in found
        ]
        if parts:
            curves.append(curve(arm, pd.concat(parts), setting, over=DEPTH))
    name = "variance entering the activation"
    return panel(name, setting, WANTED, unit="activation²", scale="log", over=DEPTH, curves=tuple(curves))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
