"""Panels of one number per run over the values of a configuration key: over the learning rate, over the batch."""

from __future__ import annotations

import pandas as pd

from analysis.drawing.panel import Curve, Over, Panel, Scale, curve, panel
from analysis.measures import Measure
from analysis.select import Setting
from analysis.usable import usable


def over_key(
    setting: Setting,
    name: str,
    measure: Measure,
    key: str,
    over: Over,
    *,
    wanted: tuple[str, ...] = (),
    scale: Scale = "linear",
    levels: tuple[tuple[str, float], ...] = (),
    unit: str = "",
) -> Panel:
    """One curve per arm, one line per seed; runs that do not have the key are left out.

    Args:
        setting: in which `key` is free.
        name, scale, levels, unit: of the panel.
        measure: what is drawn of each run.
        key: what the horizontal axis has, numbers.
        over: how that axis is called.
        wanted: arms whose absence is told.
    """
    curves: list[Curve] = []
    notes: list[str] = []
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), measure, arm)
        notes += left
        numbers = measure.of(own).dropna()
        there = [run for run in numbers.index if own.value(run, key) is not None]
        if there:
            frame = pd.DataFrame(
                {
                    "run": [f"seed {own.each['seed'][run]}" for run in there],
                    "step": [own.value(run, key) for run in there],
                    "value": numbers[there].to_numpy(),
                }
            )
            curves.append(curve(arm, frame, setting, over=over))
    return panel(
        name,
        setting,
        wanted,
        unit=unit,
        scale=scale,
        over=over,
        curves=tuple(curves),
        levels=levels,
        notes=tuple(notes),
    )
