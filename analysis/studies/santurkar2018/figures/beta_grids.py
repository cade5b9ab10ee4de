"""Not in the paper: does the plateau of the effective beta follow the curvature, 2/lr, or the grid, 1/eta_min?"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis import derived
from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Panel, curve, of_setting, panel
from analysis.drawing.rows import on_grid, unit_of
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.santurkar2018.grids import PLAIN, STARTS

TITLE = "Effective β on grids that start at lr/2, lr/4 and lr/20, against ‖Hg‖/‖g‖"
CAPTION = (
    "The largest ‖g′ − g‖ / ‖ηg‖ over step lengths from lr/2, lr/4 and lr/20 up to at most 4 lr, and the limit η → 0. "
    "Above each panel: medians of the last quarter of training, times lr_t."
)
EXPECTED = (
    "Real curvature at the edge of stability gives 2/lr on every grid and in the limit; a vanished gradient follows "
    "the grid: 1/η_min = 2/lr, 4/lr, 20/lr. The published grid starts at lr/2 and cannot tell them apart."
)
LIMITS = ("effective_beta_limit_by_hessian", "effective_beta_limit_by_difference")


def compute(runs: Runs) -> Sheet:
    """Every setting with and without BN, a column per normalisation."""
    found = drawn_settings(runs, PLAIN)
    columns = [
        Column(setting, (_panel(runs, setting.only([norm]), norm),), norm)
        for setting in found.drawn
        for norm in setting.names
    ]
    return found.sheet(columns, "no runs with or without BN\nare among these")


def _panel(runs: Runs, setting: Setting, norm: str) -> Panel:
    recorded = derived.along_line(of_setting(runs.records("effective_beta"), setting, norm), (0.0, 4.5))
    made, plateaus, notes = [], [], []
    for place, start in enumerate(STARTS):
        grid = recorded[recorded["x"] > 0.99 / start]
        if on_grid(recorded, (1 / start,)) is None or not len(grid):
            notes.append(f"no grid from lr/{start}")
            continue
        largest = derived.over_line(grid, "max")
        made.append(curve(norm, largest, setting, f"from lr/{start}", place / len(STARTS)))
        plateaus.append(plateau(curve(norm, derived.in_rates(runs, largest), setting)))
    limit = next((part for metric in LIMITS if len(part := of_setting(runs.records(metric), setting, norm))), None)
    if limit is None:
        notes.append("no limit ‖Hg‖/‖g‖ recorded")
    else:
        made.append(curve(norm, limit, setting, "limit ‖Hg‖/‖g‖", 1.0))
        plateaus.append(plateau(curve(norm, derived.in_rates(runs, limit), setting)))
    words = [f"{c.label}: {p:.2g}" for c, p in zip(made, plateaus, strict=True)]
    told = [word.removeprefix("from ").replace(" ", "\N{NO-BREAK SPACE}") for word in words]
    if told:
        notes.insert(0, f"last quarter × lr: {', '.join(told)}")
    rates = np.unique(derived.learning_rate(runs, recorded))
    fixed = len(rates) == 1 and np.isfinite(rates).all()
    if not fixed and made:  # under a schedule the edges move with lr_t and are no levels
        notes.append("lr_t varies: 2/lr is no line" if np.isfinite(rates).all() else "lr_t is not recorded")
    levels = tuple((f"{k}/lr = 1/η_min from lr/{k}", k / rates[0]) for k in STARTS) if fixed else ()
    return panel(
        "effective β",
        setting,
        unit=unit_of(recorded),
        scale="log",
        curves=tuple(made),
        levels=levels if made else (),
        notes=tuple(notes),
    )


def plateau(one: Curve) -> float:
    """Median of the median over seeds, over the last quarter of the steps at which that is finite; NaN where nowhere.

    Where seeds were looked at at different steps it ends with the one that was looked at last at the earliest.
    """
    there = np.isfinite(one.median)
    if not there.any():
        return float("nan")
    steps, median = one.steps[there], one.median[there]
    return float(np.median(median[steps >= steps[0] + 0.75 * (steps[-1] - steps[0])]))


def draw(data: Sheet, figure: Figure) -> None:
    """One panel per normalisation on an empty figure with constrained layout, whose size is set."""
    across = max(2, len({column.title for column in data.columns}))
    sized(data, figure, tall=1.5, across=min(4, across))
