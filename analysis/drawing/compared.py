"""Where a figure's arms are compared at equal progress, and what comes out: shaded, and in a panel's notes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from analysis.drawing.panel import Panel
from analysis.measures import Levels, Measure, shared_levels
from analysis.progress import progress
from analysis.select import Ambiguous, Setting
from analysis.usable import usable


def at_equal_loss(made: Panel, setting: Setting, measure: Measure) -> Panel:
    """The panel with the steps shaded at which each arm is between the levels of a measure, and the ratios there.

    Args:
        made: the panel.
        setting: whose arms it draws; the first is held against each of the others.
        measure: over levels of the data loss, what decides of what the panel shows.
    """
    levels = measure.window
    assert isinstance(levels, Levels)
    drawn = {curve.norm for curve in made.all_curves()}
    first, *others = [name for name in setting.names if name in drawn] or [""]
    if made.missing or not others:
        return made
    told = [
        f"{first} / {other} {ratio:.3g}×"
        for other in others
        if not math.isnan(ratio := _ratio(setting, measure, first, other))
    ]
    found = f"{', '.join(told)}, median over seeds" if told else "too few probed steps, or levels that not all reach"
    note = f"{measure.name}, {levels.high:g} to {levels.low:g} (shaded): {found}"
    return replace(made, windows=windows(setting, levels, drawn), notes=(*made.notes, note))


def windows(setting: Setting, levels: Levels, arms: set[str]) -> tuple[tuple[str, float, float], ...]:
    """Arm, and from which to which step its data loss is between the ends of some levels: medians over its runs."""
    known, found = progress(setting.runs), []
    for arm in setting.names:
        spans = []
        for run in setting.of[arm]:
            steps, loss = known.get(run, (np.array([]), np.array([])))
            inside = steps[(loss <= math.log(levels.high)) & (loss >= math.log(levels.low))]
            if len(inside):
                spans.append((inside[0], inside[-1]))
        if spans and arm in arms:
            start, end = np.median(np.array(spans, dtype=float), axis=0)
            found.append((arm, float(start), float(end)))
    return tuple(found)


def _ratio(setting: Setting, measure: Measure, one: str, other: str) -> float:
    """The median over seeds of the one arm's number divided by the other's; NaN: there is none."""
    try:
        own = [usable(setting.own(arm), measure, arm)[0] for arm in (one, other)]
    except Ambiguous:
        return math.nan
    grid = shared_levels([(measure, runs) for runs in own])
    a, b = (measure.by_seed(runs, grid)["number"] for runs in own)
    with np.errstate(all="ignore"):
        ratios = (a / b).dropna()
    return float(ratios.median()) if len(ratios) else math.nan
