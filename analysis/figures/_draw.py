"""Drawing a sheet: columns of panels on a given figure, notes and legends outside the data."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from matplotlib.transforms import ScaledTranslation

from analysis import statistics
from analysis.figures._sheet import Band, Column, Curve, Panel, Sheet, drawable
from analysis.style import in_order, norm_style

FEW = 5  # with fewer runs than this, each is drawn too
WIDTH, HEIGHT = 3.1, 1.65  # of a panel, inches
ACROSS = 4  # columns side by side; more go below
ENTRY = 1.03  # of the legend, inches
NOTE: dict[str, Any] = {"color": "#777777", "fontsize": "x-small"}
ABOVE: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
# Without viridis' last, palest part.
MAP = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.02, 0.85, 256)))
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MARKERS = ("o", "s", "^", "D", "v", "P")
LEVELS = ((0, (1, 1)), (0, (4, 1.5)), (0, (7, 1.5, 1.2, 1.5)), (0, (2, 2)))


def draw_sheet(
    sheet: Sheet, figure: Figure | SubFigure, *, across: int = ACROSS, bands: str = "", tall: float = 1.0
) -> tuple[float, float]:
    """Draws every column on an empty figure with constrained layout; gives the size it needs, in inches.

    bands: what a band between two ends is, for the legend; tall: height of a panel, in those of a usual one.
    """
    if not sheet.columns:
        say(figure.subplots(), sheet.nothing)
        return WIDTH * 1.5, HEIGHT
    rows_of = math.ceil(len(sheet.columns) / across)
    columns = math.ceil(len(sheet.columns) / rows_of)
    panels = max(len(column.panels) for column in sheet.columns)
    fine = math.lcm(*(len(column.panels) for column in sheet.columns))
    grid = figure.add_gridspec(fine * rows_of, columns)
    for i, column in enumerate(sheet.columns):
        height = fine // len(column.panels)
        top = fine * (i // columns)
        axes: list[Axes] = []
        for row, panel in enumerate(column.panels):
            place = grid[top + row * height : top + (row + 1) * height, i % columns]
            axes.append(figure.add_subplot(place, sharex=axes[0] if axes else None))
            _draw_panel(panel, axes[-1], len(column.setting.runs))
            axes[-1].tick_params(labelbottom=row == len(column.panels) - 1)
        _head(column, axes, beside=sheet.columns[i - i % columns : i - i % columns + columns])
        _foot(column, axes[-1])
    width = max(WIDTH * columns, 3.6)
    _legend(sheet, figure, width, bands)
    return width, (HEIGHT * tall * panels + 0.55) * rows_of + 0.45 + 0.13 * len(sheet.notes)


def sized(sheet: Sheet, figure: Figure, **options: Any) -> None:
    """Draws a sheet alone on a figure and sets the figure's size; options of `draw_sheet`."""
    figure.set_size_inches(*draw_sheet(sheet, figure, **options))


# --------------------------------------------------------------------------------------------------- around the columns


def _head(column: Column, axes: Sequence[Axes], beside: Sequence[Column]) -> None:
    # Titles of columns side by side stand at one height, whatever the notes under them.
    gap = 5 + 7 * max(_lines(_told(other.panels[0])) for other in beside)
    heads = [_titles(other) for other in beside]
    title, subtitle = _titles(column)
    axes[0].set_title(title, pad=gap + 2 + 10 * max(_lines(below) for _, below in heads))
    axes[0].annotate(subtitle, (0.5, 1), (0, gap), ha="center", **ABOVE)
    for axis, panel in zip(axes, column.panels, strict=True):
        axis.annotate(_told(panel), (0, 1), (1, 1), ha="left", linespacing=1.05, **NOTE, **ABOVE)


def _titles(column: Column) -> tuple[str, str]:
    setting = column.setting
    if column.title:
        return column.title, textwrap.fill(setting.label, 46)
    return setting.title, textwrap.fill(setting.subtitle, 44)


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _told(panel: Panel) -> str:
    return textwrap.fill("; ".join(_notes(panel)), 62)


def _notes(panel: Panel) -> list[str]:
    """What the unit says after its name, such as over what a loss is a mean, and what else the panel has to say."""
    return [*filter(None, (panel.unit.partition(", ")[2],)), *panel.notes]


def _foot(column: Column, last: Axes) -> None:
    last.set_xlabel("training step")
    last.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    last.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    steps = [c.steps for panel in column.panels for c in panel.all_curves() if len(c.steps)]
    if steps:  # a published curve that goes on beyond our last step does not squeeze ours
        first, end = min(s.min() for s in steps), max(s.max() for s in steps)
        pad = 0.025 * (end - first) or 1
        last.set_xlim(first - pad, end + pad)
    drawn = {curve.norm for panel in column.panels for curve in panel.all_curves()}
    diverged = {norm: steps for norm, steps in column.setting.diverged.items() if norm in drawn or not drawn}
    if diverged:
        counts = column.setting.counts
        handles = [
            Line2D([], [], linestyle="", label=_divergence(norm, steps, counts[norm]), **_cross(norm))
            for norm, steps in diverged.items()
        ]
        below = last.legend(handles=handles, loc="upper center", handlelength=1.2, borderaxespad=0)
        # 30 points below the axis, under the ticks' and the axis' labels, whatever the height of the panel.
        shift = ScaledTranslation(0, -30 / 72, last.get_figure(root=True).dpi_scale_trans)  # type: ignore[union-attr]
        below.set_bbox_to_anchor((0.5, 0), last.transAxes + shift)


def _divergence(norm: str, steps: tuple[float, ...], runs: int) -> str:
    first = f"{'first ' if len(steps) > 1 else ''}at step {min(steps):,.0f}"
    return f"{norm}: {len(steps)} of {runs} diverged, {first}"


def _legend(sheet: Sheet, figure: Figure | SubFigure, width: float, bands: str) -> None:
    panels = [panel for column in sheet.columns for panel in column.panels]
    curves = [curve for panel in panels for curve in panel.all_curves()]
    norms = in_order(
        {curve.norm for curve in curves} or {norm for column in sheet.columns for norm in column.setting.norms}
    )
    handles = [Line2D([], [], label=norm, **norm_style(norm).line()) for norm in norms]
    seen: dict[str, float] = {c.label: c.shade for c in curves if c.label and c.shade is not None}
    handles += [Line2D([], [], label=label, **in_series(shade)) for label, shade in seen.items()]
    if seen and all(c.shade is not None for c in curves):
        handles = handles[len(norms) :]
    if any(panel.published for panel in panels):
        handles.append(Line2D([], [], label="published", color="#555555", linestyle=":", linewidth=1.1))
    levels = list(dict.fromkeys(label for panel in panels for label, _ in panel.levels))
    handles += [
        Line2D([], [], label=label, color="#444444", linestyle=LEVELS[i % len(LEVELS)], linewidth=0.9)
        for i, label in enumerate(levels)
    ]
    entry = max(ENTRY, 0.55 + 0.062 * max((len(str(h.get_label())) for h in handles), default=0))
    rows = max(1, math.ceil(len(handles) * entry / width))
    words = [*explained(sheet, bands), *sheet.notes]
    if sheet.left_out:
        words.append(f"{sheet.left_out} more settings are not drawn: give fewer runs to see them")
    title = "\n".join(textwrap.fill(word, int(width * 19)) for word in words)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=max(1, math.ceil(len(handles) / rows)), title=title
    )


def explained(sheet: Sheet, bands: str) -> list[str]:
    """What lines and bands are, and over how many seeds."""
    panels = [panel for column in sheet.columns for panel in column.panels]
    curves = [curve for panel in panels for curve in panel.all_curves()]
    counts = {len(curve.runs) for curve in curves} or {0}
    across = any(panel.bands for panel in panels)
    if max(counts) <= 1:
        return [f"one run each{f'; {bands}' if across else ''}"]
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    thin = "; thin: each seed" if min(counts) < FEW else ""
    said = [f"{bands}, medians over seeds of both ends ({seeds} seeds){thin}"] if across else []
    if any(curve.shade is not None for curve in curves) and max(counts) < FEW:
        said.append(f"line: median over seeds ({seeds} seeds){thin}")
    elif any(panel.curves for panel in panels):
        said.append(statistics.describe() + (f" ({seeds} seeds){thin}" if not across else " (panels of single lines)"))
    return said


# --------------------------------------------------------------------------------------------------------- in the panel


def _cross(norm: str) -> dict[str, Any]:
    return {"marker": "X", "markersize": 7, "color": norm_style(norm).colour, "markeredgecolor": "white"}


def shaded(shade: float) -> str:
    """A colour of the sequential map, for things in an order; dark to light, readable in grey."""
    return to_hex(MAP(shade))


def in_series(shade: float) -> dict[str, Any]:
    """Keyword arguments for a line among things in an order: its colour, and a marker for readers of grey."""
    return {"color": shaded(shade), "marker": MARKERS[round(shade * (len(MARKERS) - 1))]}


def _draw_panel(panel: Panel, axes: Axes, runs: int) -> None:
    unit = panel.unit.partition(", ")[0].replace("^2", "²").replace("^3", "³").replace("^4", "⁴")
    lines = [line for part in re.split(r", (?![^(]*\))", panel.name) for line in textwrap.wrap(part, 24)]
    if panel.scale not in ("accuracy", "cosine") and unit not in ("", "1", "fraction"):
        lines.append(f"({unit})")
    axes.set_ylabel("\n".join(lines), linespacing=1.05, fontsize=7.5 if len(lines) > 1 else 8)
    if panel.missing:
        say(axes, panel.missing)
        return
    if panel.log:
        axes.set_yscale("log")
    for band in panel.bands:
        _draw_band(band, panel, axes)
    for order, curve in enumerate(panel.curves):
        _draw_curve(curve, panel, axes, order)
    for one in panel.published:
        style: dict[str, Any] = {
            "color": norm_style(one.curve.norm).colour,
            "linestyle": ":",
            "linewidth": 1.0,
            "zorder": 2.5,
        }
        for values in (one.curve.low, one.curve.high)[: len(one.distances)]:
            axes.plot(one.curve.steps, np.where(drawable(values, panel.log), values, np.nan), **style)
    for i, (_, value) in enumerate(panel.levels):
        axes.axhline(value, color="#444444", linestyle=LEVELS[i % len(LEVELS)], linewidth=0.9, zorder=1.5)
    axes.set_ylim(*_limits(panel))
    if panel.log:
        log_ticks(axes.yaxis)
    bottom, top = axes.get_ylim()
    for curve in panel.all_curves():
        for divergence in curve.diverged:
            fallback = bottom if panel.scale in ("accuracy", "cosine") else top
            value = divergence.value if drawable(np.array(divergence.value), panel.log) else fallback
            axes.plot(divergence.step, min(max(value, bottom), top), **_cross(curve.norm), clip_on=False, zorder=5)
    if panel.scale == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _draw_curve(curve: Curve, panel: Panel, axes: Axes, order: int) -> None:
    style = norm_style(curve.norm)
    line = style.line() if curve.shade is None else in_series(curve.shade)
    centre, low, high = (
        np.where(drawable(v, panel.log), v, np.nan) for v in (curve.median, curve.least, curve.greatest)
    )
    if len(curve.runs) > 1:
        if curve.shade is None or len(curve.runs) >= FEW:  # many bands over each other would hide the lines
            axes.fill_between(curve.steps, low, high, color=line["color"], alpha=0.13, linewidth=0)
        if len(curve.runs) < FEW:
            each = np.where(drawable(curve.each, panel.log), curve.each, np.nan)
            axes.plot(curve.steps, each.T, color=line["color"], linewidth=0.5, alpha=0.45)
    every = max(1, len(curve.steps) // 6)
    # Markers of different lines stand at different steps, so that none hides another.
    start = order * every // max(1, len(panel.curves)) if len(curve.steps) > 6 else 0
    axes.plot(curve.steps, centre, **line, markevery=(start, every), markeredgecolor="white")


def _draw_band(band: Band, panel: Panel, axes: Axes) -> None:
    style, steps = norm_style(band.low.norm), band.low.steps
    low, high = (np.where(drawable(c.median, panel.log), c.median, np.nan) for c in (band.low, band.high))
    # Where the lower end cannot be drawn (0 on a logarithmic axis) the band goes down to the axis.
    floor = np.where(np.isnan(low) & ~np.isnan(high), np.nanmin(low) if not np.isnan(low).all() else high, low)
    alone = {"marker": style.marker} if len(steps) < 2 else {}
    axes.fill_between(steps, floor, high, color=style.colour, alpha=0.2, linewidth=0)
    for end, values in ((band.low, low), (band.high, high)):
        if 1 < len(end.runs) < FEW:
            each = np.where(drawable(end.each, panel.log), end.each, np.nan)
            axes.plot(steps, each.T, color=style.colour, linewidth=0.4, alpha=0.4)
        axes.plot(steps, values, **{**style.line(), "marker": "", **alone}, linewidth=1.0)


def _limits(panel: Panel) -> tuple[float | None, float | None]:
    """Accuracy from 0 to 1. A loss that went off before its run diverged does not squeeze the other lines."""
    if panel.scale == "accuracy":
        return 0.0, 1.02
    curves = panel.all_curves()
    tame = [c.each[[run not in {d.run for d in c.diverged} for run in c.runs]].ravel() for c in curves]
    last = max((c.steps[-1] for c in curves if len(c.steps)), default=0)
    beside = [v[p.curve.steps <= last] for p in panel.published for v in (p.curve.low, p.curve.high)]
    values = np.concatenate([*tame, *beside, *(np.array([value]) for _, value in panel.levels)])
    values = values[drawable(values, panel.log)]
    if panel.scale == "cosine":
        return min(-0.05, float(values.min()) - 0.05) if len(values) else -1.05, 1.05
    if not len(values):
        return None, None
    low, high = float(values.min()), float(values.max())
    if panel.log:
        low = min(max(low, panel.floor), high)
        pad = (high / low) ** 0.06 if high > low else 2.0
        return low / pad, high * pad
    return min(0.0, low * 1.05), high * 1.05 if high > 0 else 1.0


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
