"""Sign changes between samples, units of one sign, and distances to hyperplanes, layer by layer at initialisation."""

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
from analysis.select import Arm, Setting, known_and_others
from analysis.studies.balestriero2022.claims import BATCH, CENTRING, LAYER, NONE, OWN
from analysis.studies.balestriero2022.own_measures import by_layer

TITLE = "Units that change their sign between samples, layer by layer (Balestriero & Baraniuk 2022)"
CAPTION = (
    "At initialisation: changes of sign of a unit on the straight line between two samples; the share of units of one "
    "sign on all such lines; mean distance from a sample to a unit's hyperplane in the space of the layer's inputs. "
    "Median over seeds (thin: each seed)."
)
EXPECTED = (
    "With relu more changes beyond the first layer and no units of one sign with BN (HP1, HP4), as with centring alone "
    "(HP3); layer normalisation as none (HP2), and with tanh all alike (HP5)."
)
CHANGES, CONSTANT = ("sign_changes", "segments"), ("constant_sign_share", "segments")
DISTANCE = ("hyperplane_distance", "train")
PANELS: Mapping[tuple[str, str], tuple[str, Scale]] = {
    CHANGES: ("changes of sign", "log"),
    CONSTANT: ("share of one sign", "linear"),
    DISTANCE: ("distance to hyperplanes", "linear"),
}
LAYERS = Over("layer", "layer, from the input")
_KEYS = ("norm", "norm.statistics", "norm.scale")
_FURTHER = {NONE: (None, None), BATCH: ("population", True), CENTRING: ("population", False), LAYER: (None, None)}
_FURTHER |= {OWN: ("batch", True)}
DRAWN = tuple(
    Arm.of(arm.name, dict(zip(_KEYS, (dict(arm.where)["norm"], *values), strict=True)))
    for arm, values in _FURTHER.items()
)
"""The claims' arms, each by all the keys that any of them names."""
MOST = 8


def compute(runs: Runs) -> Sheet:
    """Every setting that records sign changes."""
    values = {of: _of_hidden(runs, of) for of in PANELS}
    recorded = set(values[CHANGES])
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, DRAWN),
        most=MOST,
        where=lambda setting: bool(recorded & set(setting.runs.each.index)),
    )
    columns = [Column(setting, tuple(_panel(of, values[of], setting) for of in PANELS)) for setting in found.drawn]
    return found.sheet(columns, "no sign changes between samples\n(probes=segments)")


def _of_hidden(runs: Runs, of: tuple[str, str]) -> dict[str, np.ndarray]:
    """Of the layers that have an activation; distances are recorded of the last layer too, or of that alone."""
    found = by_layer(runs, *of)
    if of == DISTANCE:
        hidden = by_layer(runs, *CHANGES)
        found = {run: v[:-1] for run, v in found.items() if run in hidden and len(v) == len(hidden[run]) + 1}
    return found


def _panel(of: tuple[str, str], values: Mapping[str, np.ndarray], setting: Setting) -> Panel:
    name, scale = PANELS[of]
    return over_layers(setting, name, values, scale, LAYERS)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=4)
