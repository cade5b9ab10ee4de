"""Panels of one number per layer over the depth of a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.drawing.panel import Curve, Over, Panel, Scale, curve, panel
from analysis.select import Setting
from analysis.usable import ended


def over_layers(setting: Setting, name: str, values: Mapping[str, np.ndarray], scale: Scale, over: Over) -> Panel:
    """One curve per arm, one line per ended run.

    Args:
        setting: whose runs.
        name, scale: of the panel.
        values: by run, its numbers from the first layer on [layers].
        over: how the horizontal axis is called, which counts layers from 1.
    """
    curves: list[Curve] = []
    for arm in setting.names:
        own = ended(setting.runs.only(setting.of[arm]))
        parts = [
            pd.DataFrame({"run": run, "step": np.arange(1, len(values[run]) + 1), "value": values[run]})
            for run in own.each.index
            if run in values
        ]
        if parts:
            curves.append(curve(arm, pd.concat(parts), setting, over=over))
    return panel(name, setting, unit="1", scale=scale, over=over, curves=tuple(curves))
