"""Paths of two weights down least squares, with contours of the loss, by how the inputs were prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Expected, Over, Panel, panel
from analysis.drawing.rates import RATE
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, plain
from analysis.studies.lecun1998.claims import INPUTS
from analysis.studies.lecun1998.figures.prepared_inputs import arms, in_shades

TITLE = "Gradient descent on two weights: raw, centred, standardised and whitened inputs (LeCun et al. 1998)"
CAPTION = (
    "Weights of the first target over training, of the lowest seed, at the rate at which its loss over training "
    "is lowest on average. Contours of the loss: where it lies as far above the optimum's as at the start, and a "
    "quarter, a sixteenth and a 64th as far; they are read off the recorded weights, for an update of plain gradient "
    "descent on a quadratic loss is an affine function of the weights."
)
EXPECTED = "From raw to whitened inputs the contours become rounder, circles in the end, and the path straight."
METRIC = "weight_values"
FIRST = Over("first weight", "first weight")
CONTOURS = ((1.0, "as far above the optimum's as at the start"), *((1 / 4**k, f"1/{4**k} as far") for k in (1, 2, 3)))
POINTS = 181
ORDER = [arm.name for arm in INPUTS]
Paths: TypeAlias = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Bowl:
    """A quadratic loss (w - optimum)^T curvature (w - optimum) / 2, its curvature [2, 2] in units of 1 / lr."""

    curvature: np.ndarray
    optimum: np.ndarray

    def above(self, weights: np.ndarray) -> float:
        """How far the loss lies above the optimum's at weights [2]."""
        away = weights - self.optimum
        return float(away @ self.curvature @ away) / 2

    def contour(self, height: float) -> np.ndarray:
        """[POINTS, 2]: where the loss lies so far above the optimum's."""
        sizes, axes = np.linalg.eigh(self.curvature)
        angle = np.linspace(0, 2 * np.pi, POINTS)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        found: np.ndarray = self.optimum + (axes @ (np.sqrt(2 * height / sizes)[:, None] * circle)).T
        return found


def bowl(weights: np.ndarray) -> Bowl | None:
    """The loss of the first of several targets of the same inputs, from their paths under plain gradient descent.

    w(t+1) - w(t) = lr (b - H w(t)), with one symmetric H of all targets and a b of each: linear in lr H and lr b, which
    least squares finds from all updates. None where the paths do not tell them, or there is no optimum.

    Args:
        weights: [steps, targets, 2], at steps in a row.
    """
    at, moved = weights[:-1], np.diff(weights, axis=0)
    count, targets, _ = at.shape
    rows = np.zeros((count, targets, 2, 3 + 2 * targets))
    rows[..., 0, 0], rows[..., 0, 1] = -at[..., 0], -at[..., 1]
    rows[..., 1, 1], rows[..., 1, 2] = -at[..., 0], -at[..., 1]
    for target in range(targets):
        rows[:, target, 0, 3 + 2 * target] = rows[:, target, 1, 4 + 2 * target] = 1
    if not count or not np.isfinite(weights).all():
        return None
    found, _, rank, _ = np.linalg.lstsq(rows.reshape(-1, rows.shape[-1]), moved.reshape(-1), rcond=1e-6)
    curvature = np.array([[found[0], found[1]], [found[1], found[2]]])
    if rank < rows.shape[-1] or np.linalg.eigvalsh(curvature)[0] <= 0:
        return None
    return Bowl(curvature, np.linalg.solve(curvature, found[3:5]))


def compute(runs: Runs) -> Sheet:
    """Every setting whose runs store the weights of a layer of two inputs, with a column for each arm."""
    paths = _paths(runs)
    found = drawn_settings(
        runs,
        arms=arms(runs),
        free=(RATE,),
        where=lambda setting: bool(set(paths) & set(setting.runs.each.index)),
        most=2,
    )
    columns = [
        Column(setting.only([arm]), (_panel(setting, arm, paths),), arm)
        for setting in found.drawn
        for arm in sorted(setting.names, key=ORDER.index if set(setting.names) <= set(ORDER) else None)
    ]
    return found.sheet(columns, "no weights of a layer of two inputs\nare stored (probes.use.dynamics.values=true)")


def _paths(runs: Runs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Run -> probed steps, and weights [steps, units, 2] of its first layer, where that has two inputs."""
    rows = runs.records("weight_norm", "train")
    found = {}
    for run, own in rows.groupby(rows["run"].astype(str), observed=True):
        layers = [str(layer) for layer in own["layer"].dropna().unique()[:1]]
        for array in runs.arrays(METRIC, [str(run)], "train", layers).values():
            values = array.to_numpy().astype(float)
            if values.ndim == 3 and values.shape[2] == 2 and len(values):
                found[str(run)] = array["step"].to_numpy(), values
    return found


def _panel(setting: Setting, arm: str, paths: Paths) -> Panel:
    own = setting.runs.only([run for run in setting.of[arm] if run in paths])
    alone, name = setting.only([arm]), "second weight"
    if not len(own.each):
        return panel(name, alone, over=FIRST)
    lowest = own.only(own.each.index[own.each["seed"] == own.each["seed"].min()])
    losses = lowest.records("data_loss", "train")
    average = losses.groupby(losses["run"].astype(str))["value"].mean().reindex(lowest.each.index)
    run = str(average.replace(np.inf, np.nan).fillna(np.finfo(float).max).idxmin())
    steps, weights = paths[run]
    path = weights[np.isfinite(weights[:, 0]).all(axis=1), 0]
    first, second = path.T
    drawn = Curve(arm, first, second, second, second, (run,), second[None])  # in the order of the steps
    loss = bowl(weights) if len(steps) > 1 and bool((np.diff(steps) == 1).all()) else None
    expected = () if loss is None else tuple(_contour(loss, path[0], share, told) for share, told in CONTOURS)
    notes = (f"learning rate {plain(own.value(run, RATE))}",)
    return in_shades(panel(name, alone, over=FIRST, curves=(drawn,), expected=expected, closed=True, notes=notes))


def _contour(loss: Bowl, start: np.ndarray, share: float, told: str) -> Expected:
    points = loss.contour(share * loss.above(start))
    return Expected(told, points[:, 0], points[:, 1])


def draw(data: Sheet, figure: Figure) -> None:
    """One column per arm on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, tall=1.5)
    for axes in figure.axes:  # one length for both weights, so that a round contour is round
        axes.set_aspect("equal", adjustable="box")
