"""Rank, distance from orthogonality and clusters of a batch's samples over depth, at initialisation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.over_layers import over_layers
from analysis.drawing.panel import Over, Panel, Scale
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.daneshmand2020.over_depth import by_layer

TITLE = "The samples of a batch over depth"
CAPTION = (
    "Of the samples of a batch after each hidden layer, at initialisation: h-rank tr(G)²/‖G‖², distance from "
    "orthogonality ‖G/tr(G) − I/n‖, the largest sample's share of the energy, and the mean cosine of the others; "
    "median over seeds (thin: each seed)."
)
EXPECTED = (
    "With BN the rank stays near the root of the width, without it falls to 1 (DN1); scaling alone does as BN does "
    "(DN2); with relu and centring alone one sample stands out (DN8)."
)
PANELS: Mapping[str, tuple[str, Scale]] = {
    "h_rank": ("h-rank", "log"),
    "orthogonality_gap": ("distance from orthogonality", "log"),
    "largest_sample_share": ("largest sample's share", "linear"),
    "cosine_mean_without_largest": ("mean cosine of the others", "linear"),
}
DEPTH = Over("layer", "layer, from the input")
FEWEST_LAYERS = 9
MOST = 8


def compute(runs: Runs) -> Sheet:
    """Every setting of networks of ten layers and more that records representations."""
    values = {metric: by_layer(runs, metric) for metric in PANELS}
    deep = {run for run, own in values["h_rank"].items() if len(own) >= FEWEST_LAYERS}
    found = drawn_settings(runs, most=MOST, where=lambda setting: bool(deep & set(setting.runs.each.index)))
    columns = [
        Column(setting, tuple(_panel(metric, values[metric], setting) for metric in PANELS)) for setting in found.drawn
    ]
    return found.sheet(columns, "no representations of a network\nof ten layers or more")


def _panel(metric: str, values: Mapping[str, np.ndarray], setting: Setting) -> Panel:
    name, scale = PANELS[metric]
    return over_layers(setting, name, values, scale, DEPTH)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=4)
