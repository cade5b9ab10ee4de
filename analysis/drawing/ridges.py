"""Histograms of activations over training as ridges: one curve per training step, early ones at the back."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from analysis.drawing.axes import NOTE, say
from analysis.drawing.display import PanelDisplay
from analysis.drawing.draw import draw_sheet
from analysis.drawing.layers import LAYER_NOTE, layers_at
from analysis.drawing.settings import Settings, by_task
from analysis.drawing.sheet import NO_NUMBERS, Sheet
from analysis.runs import Runs
from analysis.style import in_order, norm_style

STEPS = 14  # ridges of a panel
SETTINGS = 2  # rows of panels are drawn for so many settings
RIDGE_WIDTH, RIDGE_HEIGHT = 1.75, 1.5
NORMS = 5  # side by side


@dataclass(frozen=True)
class Ridge:
    """One layer of one run: steps [S], edges [B + 1], density [S, B], share outside the edges [S]."""

    setting: str
    norm: str
    layer: str
    seed: int
    steps: np.ndarray
    edges: np.ndarray
    density: np.ndarray
    outside: np.ndarray


@dataclass(frozen=True)
class Ridges:
    """Rows of panels (setting and layer), columns of normalisations; `nothing`: what to say where there is none."""

    ridges: tuple[Ridge, ...]
    rows: tuple[tuple[str, str], ...]
    norms: tuple[str, ...]
    nothing: str
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> str:
        """What is missing where there is nothing to draw; else nothing."""
        return "" if self.ridges else " ".join(self.nothing.split())

    def panels(self) -> list[PanelDisplay]:
        """Every panel, to be had alone."""
        return [
            PanelDisplay(r.setting, f"{r.layer}, {r.norm}", partial(_draw_alone, r), partial(_table, (r,)))
            for r in self.ridges
        ]

    def table(self) -> pd.DataFrame:
        """Long form: setting, norm, layer, seed, step, low and high edge of the bin, density; share outside."""
        return _table(self.ridges)


def _table(ridges: Sequence[Ridge]) -> pd.DataFrame:
    rows = [
        pd.DataFrame(
            {
                "setting": r.setting,
                "quantity": "density of activations",
                "norm": r.norm,
                "layer": r.layer,
                "seed": r.seed,
                "step": np.repeat(r.steps, len(r.edges) - 1),
                "low": np.tile(r.edges[:-1], len(r.steps)),
                "high": np.tile(r.edges[1:], len(r.steps)),
                "density": r.density.ravel(),
                "outside": np.repeat(r.outside, len(r.edges) - 1),
            }
        )
        for r in ridges
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=NO_NUMBERS)


@dataclass(frozen=True)
class SheetAndRidges:
    """Curves and, below them, ridges."""

    sheet: Sheet
    ridges: Ridges

    @property
    def empty(self) -> str:
        """What is missing where there is nothing to draw in either; else nothing."""
        return self.sheet.empty if self.ridges.empty else ""

    def beside(self) -> list[dict[str, object]]:
        """How far the sheet's curves lie from published ones."""
        return self.sheet.beside()

    def panels(self) -> list[PanelDisplay]:
        """Every panel of both, to be had alone."""
        return [*self.sheet.panels(), *self.ridges.panels()]

    def table(self) -> pd.DataFrame:
        """The tables of both, one after the other."""
        parts = [part for part in (self.sheet.table(), self.ridges.table()) if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else self.sheet.table()


# -------------------------------------------------------------------------------------------------------------- compute


def densities(counts: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density [S, B] within the edges and share outside [S], of counts [S, B + 2]: below, in each bin, above.

    The density is that of all values: it integrates to 1 minus the share outside.
    """
    total = counts.sum(axis=1)
    total = np.where(total > 0, total, np.nan)
    return counts[:, 1:-1] / total[:, None] / np.diff(edges), (counts[:, 0] + counts[:, -1]) / total


def shown_steps(steps: np.ndarray, most: int = STEPS) -> np.ndarray:
    """Places of at most so many steps, evenly over those that there are, the first and the last among them."""
    if len(steps) <= most:
        return np.arange(len(steps))
    return np.unique(np.round(np.linspace(0, len(steps) - 1, most)).astype(int))


def ridges(
    runs: Runs, found: Settings, wanted: Sequence[str], numbers: Sequence[int], depth: Mapping[str, int]
) -> Ridges:
    """Ridges of the layers at the depth of `numbers`, of the lowest seeds' runs, in the settings with most of `wanted`.

    depth: the number of layers that a publication counts, by task.
    """
    made: list[Ridge] = []
    rows: list[tuple[str, str]] = []
    most = max((len(set(wanted) & set(setting.names)) for setting in found.drawn), default=0)
    best = [setting for setting in found.drawn if len(set(wanted) & set(setting.names)) == most][:SETTINGS]
    for setting in best:
        names = {norm: run for norm in setting.names if (run := setting.lowest_seed(norm)) is not None}
        recorded = runs.records("mean_before_normalisation", "train")
        own = recorded[recorded["run"].isin([run["run"] for run in names.values()])]
        layers = layers_at(own["layer"].dropna().unique(), numbers, by_task(depth, setting))
        chosen = [str(run["run"]) for run in names.values()]
        arrays = runs.arrays("histogram_before_normalisation", chosen, "train", [layer.name for layer in layers])
        arrays |= runs.arrays("histogram_after_normalisation", chosen, "train", [layer.name for layer in layers])
        for layer in layers:
            rows.append((setting.label, layer.label))
            for norm, run in names.items():
                array = arrays.get((str(run["run"]), layer.name))
                if array is None or not array.sizes["step"]:
                    continue
                places = shown_steps(array["step"].to_numpy())
                edges = np.asarray(array.attrs["x"], dtype=float)
                density, outside = densities(array.to_numpy()[places], edges)
                if not np.isfinite(density).any():  # nothing was counted
                    continue
                steps = array["step"].to_numpy()[places]
                made.append(Ridge(setting.label, norm, layer.label, int(run["seed"]), steps, edges, density, outside))
    norms = in_order(norm for setting in best for norm in (*setting.names, *wanted))
    rows = [row for row in rows if any((r.setting, r.layer) == row for r in made)]
    nothing = (
        "no histograms of activations\nare recorded in these runs"
        if found.drawn
        else "no runs of this figure\nare among these"
    )
    seen = {ridge.setting for ridge in made}
    notes = [f"histograms not drawn: {s.label}" for s in found.drawn if made and s.label not in seen]
    return Ridges(tuple(made), tuple(rows), tuple(norms), nothing, (*notes, *found.notes))


# ----------------------------------------------------------------------------------------------------------------- draw


def draw_ridges(data: Ridges, figure: Figure | SubFigure, told: Sequence[str] = ()) -> tuple[float, float]:
    """Draws the panels on an empty figure; gives the size it needs, in inches. `told`: notes that stand elsewhere."""
    if not data.ridges:
        say(figure.subplots(), data.nothing)
        return 4.6, 1.5
    width = max(4.2, RIDGE_WIDTH * len(data.norms) + 0.4)
    axes = figure.subplots(len(data.rows), len(data.norms), squeeze=False)
    found = {(r.setting, r.layer, r.norm): r for r in data.ridges}
    settings = list(dict.fromkeys(setting for setting, _ in data.rows))
    for i, (setting, layer) in enumerate(data.rows):
        row = [found.get((setting, layer, norm)) for norm in data.norms]
        limits = _limits([r for r in row if r is not None])
        for j, (norm, ridge) in enumerate(zip(data.norms, row, strict=True)):
            axis = axes[i, j]
            if ridge is None:
                say(axis, f"no histogram\nof {norm} here")
            else:
                _draw_ridge(ridge, axis, limits, labels=j == 0 or row[j - 1] is None)
            if i == 0:
                axis.set_title(norm, color=norm_style(norm).colour)
            if j == 0:
                axis.set_ylabel(layer, fontweight="bold")
            if i == len(data.rows) - 1 and ridge is not None:
                axis.set_xlabel("value")
        if len(settings) > 1 and (i == 0 or data.rows[i - 1][0] != setting):
            axes[i, 0].annotate(
                setting, (0, 1), (0, 19 if i == 0 else 4), "axes fraction", textcoords="offset points", **NOTE
            )
    words = ["height: density over its greatest; labels: training step; one run each, the lowest seed"]
    words += settings if len(settings) == 1 else []
    words += [LAYER_NOTE] if any("(for " in layer for _, layer in data.rows) else []
    words += [note for note in data.notes if note not in told]
    below = "\n".join(textwrap.fill(word, int(width * 14)) for word in words)
    figure.supxlabel(below, fontsize=8)
    return width, RIDGE_HEIGHT * len(data.rows) + 0.45 + 0.17 * (below.count("\n") + 1)


def _limits(row: Sequence[Ridge]) -> tuple[float, float]:
    """From where to where anything of a row is seen: bins with more than a hundredth of a ridge's greatest density."""
    lows, highs = [], []
    for ridge in row:
        tops = np.nanmax(ridge.density, axis=1, initial=0.0, keepdims=True)
        seen = (ridge.density > 0.01 * tops).any(axis=0)
        if seen.any():
            lows.append(ridge.edges[:-1][seen][0])
            highs.append(ridge.edges[1:][seen][-1])
    return (min(lows), max(highs)) if lows else (float(row[0].edges[0]), float(row[0].edges[-1]))


def _draw_alone(ridge: Ridge, axes: Axes) -> None:
    _draw_ridge(ridge, axes, _limits([ridge]), labels=True)
    axes.set(title=f"{ridge.layer}, {ridge.norm}\n{ridge.setting}", xlabel="value", ylabel="training step")


def _draw_ridge(ridge: Ridge, axes: Axes, limits: tuple[float, float], *, labels: bool) -> None:
    """The first step at the back, on top; each ridge is as high as its density against its own greatest."""
    colour = np.array(mcolors.to_rgb(norm_style(ridge.norm).colour))
    middles = (ridge.edges[:-1] + ridge.edges[1:]) / 2
    count = len(ridge.steps)
    for place in range(count):
        base = count - 1 - place
        density = np.nan_to_num(ridge.density[place])
        heights = base + 2.4 * density / (density.max() or 1.0)
        light = 0.75 - 0.6 * place / max(1, count - 1)  # later steps darker
        fill = tuple(colour + (1 - colour) * light)
        axes.fill_between(middles, base, heights, color=fill, linewidth=0, zorder=place + 2)
        outline = np.where(heights > base + 0.02, heights, np.nan)
        axes.plot(middles, outline, color="white", linewidth=0.6, zorder=place + 2)
    axes.set_xlim(*limits)
    axes.set_ylim(-0.25, count + 2.0)
    axes.grid(False)
    axes.spines[["left"]].set_visible(False)
    axes.tick_params(left=False)
    shown = sorted({0, count // 2, count - 1})
    axes.set_yticks([count - 1 - i for i in shown], [f"{ridge.steps[i]:,}" if labels else "" for i in shown])
    outside = float(np.nanmax(ridge.outside, initial=0.0))
    if outside > 0.01:
        where = (
            f"up to {outside:.0%} beyond ±{ridge.edges[-1]:g}"
            if ridge.edges[0] == -ridge.edges[-1]
            else f"up to {outside:.0%} outside"
        )
        axes.text(0.99, 0.99, where, transform=axes.transAxes, ha="right", va="top", **NOTE)


def draw_both(data: SheetAndRidges, figure: Figure) -> None:
    """Curves above, ridges below; sets the figure's size."""
    parts: Any = figure.subfigures(2, 1)
    upper, lower = parts
    sizes = np.array([draw_sheet(data.sheet, upper), draw_ridges(data.ridges, lower, data.sheet.notes)])
    # The heights are known only when both are drawn; the sub-figures' grid is told then.
    upper._subplotspec.get_gridspec().set_height_ratios(sizes[:, 1])
    figure.set_size_inches(sizes[:, 0].max(), sizes[:, 1].sum())
