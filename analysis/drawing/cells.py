"""A map: a number for each pair of values of two keys, as colour and as figures in the cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb

from analysis.drawing.axes import MAP, short


@dataclass(frozen=True)
class Cells:
    """One arm's shares in [0, 1]: across [X], up [Y], both ascending; median, least, greatest and seeds [Y, X].

    NaN: there is no run. label: what goes up.
    """

    norm: str
    label: str
    across: np.ndarray
    up: np.ndarray
    median: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    seeds: np.ndarray


def cells(norm: str, label: str, frame: pd.DataFrame) -> Cells:
    """The map of a frame (across, up, value), one row for each run."""
    grouped = frame.dropna(subset="value").groupby(["up", "across"])["value"]
    tables = [getattr(grouped, name)().unstack() for name in ("median", "min", "max", "count")]  # noqa: PD010
    median, least, greatest, seeds = (table.sort_index().sort_index(axis=1) for table in tables)
    return Cells(
        norm,
        label,
        median.columns.to_numpy(float),
        median.index.to_numpy(float),
        median.to_numpy(float),
        least.to_numpy(float),
        greatest.to_numpy(float),
        seeds.fillna(0).to_numpy(int),
    )


def draw_cells(made: Cells, axes: Axes) -> None:
    """Draws a map; white: not run."""
    rows, columns = made.median.shape
    corners = [
        [(x - 0.5, y - 0.5), (x + 0.5, y - 0.5), (x + 0.5, y + 0.5), (x - 0.5, y + 0.5)]
        for y in range(rows)
        for x in range(columns)
    ]
    shares = made.median.ravel()
    colours = [MAP(share) if math.isfinite(share) else (1.0, 1.0, 1.0, 1.0) for share in shares]
    axes.add_collection(PolyCollection(corners, facecolors=colours, edgecolors="white", linewidths=0.8))
    for place, (share, colour) in enumerate(zip(shares, colours, strict=True)):
        red, green, blue = to_rgb(colour)
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
        said = f"{100 * share:.0f}" if math.isfinite(share) else "–"
        style: dict[str, Any] = {"color": "white" if dark and math.isfinite(share) else "black", "fontsize": "x-small"}
        axes.text(place % columns, place // columns, said, ha="center", va="center", **style)
    axes.grid(False)
    axes.set_xticks(range(columns), [short(value) for value in made.across])
    axes.set_yticks(range(rows), [short(value) for value in made.up])
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
