"""Not in the paper: does the plateau of the effective beta follow the curvature, 2/lr, or the grid, 1/eta_min?"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.figures._draw import sized
from analysis.figures._rows import PLAIN, on_grid, unit_of
from analysis.figures._runs import Runs
from analysis.figures._settings import Setting, settings
from analysis.figures._sheet import Column, Curve, Panel, Sheet, curve, of_setting, over_x, panel

TITLE = "Effective β on grids that start at lr/2, lr/4 and lr/20, against ‖Hg‖/‖g‖"
CAPTION = (
    "The largest ‖g′ − g‖ / ‖ηg‖ over step lengths from lr/2, lr/4 and lr/20 up to at most 4 lr, and the limit η → 0. "
    "Above each panel: medians of the last quarter of training, times lr."
)
EXPECTED = (
    "Real curvature at the edge of stability gives 2/lr on every grid and in the limit; a vanished gradient follows "
    "the grid: 1/η_min = 2/lr, 4/lr, 20/lr. The published grid starts at lr/2 and cannot tell them apart."
)
STARTS = (2, 4, 20)
LIMITS = ("effective_beta_limit_by_hessian", "effective_beta_limit_by_difference")


def compute(runs: Runs) -> Sheet:
    """Every setting with and without BN, a column per normalisation."""
    found = settings(runs, PLAIN)
    columns = [
        Column(setting, (_panel(runs, setting.only(norm), norm),), norm)
        for setting in found.drawn
        for norm in setting.norms
    ]
    return Sheet(tuple(columns), "no runs with or without BN\nare among these", found.left_out)


def _panel(runs: Runs, setting: Setting, norm: str) -> Panel:
    recorded = of_setting(runs.records("effective_beta"), setting, norm)
    recorded = recorded[(recorded["x"] > 0) & (recorded["x"] < 4.5)]
    lr, made, notes = setting.values["lr"], [], []
    for place, start in enumerate(STARTS):
        grid = recorded[recorded["x"] > 0.99 / start]
        if on_grid(recorded, (1 / start,)) is None or not len(grid):
            notes.append(f"no grid from lr/{start}")
            continue
        largest = over_x(grid).rename(columns={"max": "value"})
        made.append(curve(norm, largest, setting, f"from lr/{start}", place / len(STARTS)))
    limit = next((part for metric in LIMITS if len(part := of_setting(runs.records(metric), setting, norm))), None)
    if limit is None:
        notes.append("no limit ‖Hg‖/‖g‖ recorded")
    else:
        made.append(curve(norm, limit, setting, "limit ‖Hg‖/‖g‖", 1.0))
    told = [f"{c.label}: {plateau(c) * lr:.2g}".removeprefix("from ").replace(" ", "\N{NO-BREAK SPACE}") for c in made]
    if told:
        notes.insert(0, f"last quarter × lr: {', '.join(told)}")
    levels = tuple((f"{k}/lr = 1/η_min from lr/{k}", k / lr) for k in STARTS)
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
    """Median over the last quarter of the steps of the median over seeds; NaN where nothing is finite there."""
    if not len(one.steps):
        return float("nan")
    late = one.median[one.steps >= one.steps[0] + 0.75 * (one.steps[-1] - one.steps[0])]
    late = late[np.isfinite(late)]
    return float(np.median(late)) if len(late) else float("nan")


def draw(data: Sheet, figure: Figure) -> None:
    """One panel per normalisation on an empty figure with constrained layout, whose size is set."""
    across = max(2, len({column.title for column in data.columns}))
    sized(data, figure, tall=1.5, across=min(4, across))
