"""Axes: words in place of a picture, ticks of logarithmic axes, colours and markers of things in an order."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

NOTE: dict[str, Any] = {"color": "#666666", "fontsize": 8}
"""Of all notes: 8 points as printed, like the text beside them."""
ABOVE: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
# Without viridis' last, palest part.
MAP = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.02, 0.85, 256)))
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
EARLY = 10
"""Steps that stand evenly on an axis that shows the early ones."""
MARKERS = ("o", "s", "^", "D", "v", "P")
LEVELS = ((0, (1, 1)), (0, (4, 1.5)), (0, (7, 1.5, 1.2, 1.5)), (0, (2, 2)))


def shaded(shade: float) -> str:
    """A colour of the sequential map, for things in an order; dark to light, readable in grey."""
    return to_hex(MAP(shade))


def in_series(shade: float) -> dict[str, Any]:
    """Keyword arguments for a line among things in an order: its colour, and a marker for readers of grey."""
    return {"color": shaded(shade), "marker": MARKERS[round(shade * (len(MARKERS) - 1))]}


def early_ticks(axis: Axis, end: float) -> None:
    """An axis of steps that is even up to `EARLY` and logarithmic beyond: 0, 10, 30, 100, ... up to its end."""
    decades = math.log10(max(end, EARLY) / EARLY)
    factors = (1, 3) if decades < 2.5 else (1,)
    steps = [EARLY * factor * 10**power for power in range(math.floor(decades) + 1) for factor in factors]
    axis.set_major_locator(FixedLocator([0, *(step for step in steps if step <= end)]))
    axis.set_minor_locator(NullLocator())


def log_ticks(axis: Axis) -> None:
    """Powers of ten; steps between them where there are few. No mathematical typesetting, which is slow."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_minor_locator(NullLocator())
    if decades > 2.2:
        axis.set_major_locator(LogLocator(numticks=5))
    elif decades > 0.15:
        subs = (1.0, 3.0) if decades > 1.3 else (1.0, 2.0, 5.0) if decades > 0.5 else tuple(np.arange(1.0, 10.0, 1.0))
        axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    else:
        axis.set_major_locator(MaxNLocator(3))
    axis.set_major_formatter(FuncFormatter(short))


def short(value: float, _: object = None) -> str:
    """A number on an axis, powers of ten as such: 0.05, 200, 3·10⁴, 10⁻⁶."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    factor = f"{value / 10**exponent:.3g}"
    power = f"10{str(exponent).translate(SUPERSCRIPT)}"
    return power if factor == "1" else f"{factor}·{power}"


def say(axes: Axes, text: str) -> None:
    """Words in place of a picture."""
    axes.set_facecolor("#f7f7f7")
    axes.set_yticks([])
    axes.tick_params(bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    wrapped = "\n".join(textwrap.fill(line, 40) for line in text.splitlines())
    axes.text(0.5, 0.5, wrapped, transform=axes.transAxes, ha="center", va="center", color="#666666", style="italic")
