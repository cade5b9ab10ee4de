"""Drawing one panel on axes: its curves and bands, what stands around them, and its legend."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from analysis import statistics
from analysis.drawing.axes import ABOVE, EARLY, LEVELS, NOTE, early_ticks, in_series, log_ticks, say, short
from analysis.drawing.cells import draw_cells
from analysis.drawing.panel import TRAINING, Band, Curve, Panel, drawable
from analysis.measures import learnt_share
from analysis.select import Setting
from analysis.style import in_order, norm_style

THEORY: dict[str, Any] = {"color": "#777777", "linestyle": (0, (2, 2)), "linewidth": 0.9, "zorder": 1.5}
TRAINS = 0.5  # of what there is to learn of the training accuracy
FEWEST = 8  # points of a curve that may choose the axis
MOST = 10  # with at most so many runs each is drawn too
OFF: dict[str, Any] = {"markersize": 4, "clip_on": False, "linestyle": "", "zorder": 4}


def _cross(norm: str) -> dict[str, Any]:
    return {"marker": "X", "markersize": 7, "color": norm_style(norm).colour, "markeredgecolor": "white"}


def draw_panel(panel: Panel, axes: Axes) -> None:
    """Draws what a panel shows, or says what is missing."""
    unit = panel.unit.partition(", ")[0].replace("^2", "²").replace("^3", "³").replace("^4", "⁴")
    lines = [line for part in re.split(r", (?![^(]*\))", panel.name) for line in textwrap.wrap(part, 24)]
    if panel.scale not in ("accuracy", "cosine") and unit not in ("", "1", "fraction"):
        lines.append(f"({unit})")
    if panel.cells:
        lines.append(f"(over {panel.cells.label})")
    axes.set_ylabel("\n".join(lines), linespacing=1.05, fontsize=7.5 if len(lines) > 1 else 8)
    if panel.missing:
        say(axes, panel.missing)
        return
    if panel.cells:
        draw_cells(panel.cells, axes)
        return
    if panel.log:
        axes.set_yscale("log")
    limits = _limits(panel)
    for norm, start, end in panel.windows:
        axes.axvspan(start, end, color=norm_style(norm).colour, alpha=0.07, linewidth=0, zorder=0)
    for band in panel.bands:
        _draw_band(band, panel, axes, limits)
    for order, curve in enumerate(panel.curves):
        _draw_curve(curve, panel, axes, order, limits)
    for one in panel.published:
        style: dict[str, Any] = {
            "color": norm_style(one.curve.norm).colour,
            "linestyle": ":",
            "linewidth": 1.0,
            "zorder": 2.5,
        }
        for values in (one.curve.low, one.curve.high)[: len(one.distances)]:
            axes.plot(one.curve.steps, np.where(drawable(values, panel.log), values, np.nan), **style)
    for line in panel.expected:
        axes.plot(line.steps, np.where(drawable(line.values, panel.log), line.values, np.nan), **THEORY)
    for i, (_, value) in enumerate(panel.levels):
        axes.axhline(value, color="#444444", linestyle=LEVELS[i % len(LEVELS)], linewidth=0.9, zorder=1.5)
    axes.set_ylim(*limits)
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


def on_axes(values: np.ndarray, panel: Panel, ends: tuple[float, float]) -> np.ndarray:
    """Values as they are drawn: what is beyond the axis lies at its edge, NaN is left out.

    Beyond are infinities, as which the ledger counts a point without a number, and on logarithmic axes 0 and less.
    """
    low, high = ends
    below = (values <= 0) if panel.log else np.isneginf(values)
    return np.where(below, low, np.where(np.isposinf(values), high, values))


def _beyond(curve: Curve, log: bool) -> np.ndarray:
    """Which values [R, S] are beyond the axis; what a run leaves behind that diverges has a cross of its own."""
    ended = np.isin(curve.runs, [divergence.run for divergence in curve.diverged])
    return ~drawable(curve.each, log) & ~np.isnan(curve.each) & ~ended[:, None]


def _mark(curve: Curve, panel: Panel, axes: Axes, ends: tuple[float, float]) -> None:
    """Marks at the edge the steps at which a run is beyond the axis."""
    drawn = on_axes(curve.each, panel, ends)
    for edge, marker in zip(ends, ("v", "^"), strict=True):
        beyond = ((drawn == edge) & _beyond(curve, panel.log)).any(axis=0)
        if beyond.any():
            steps = curve.steps[beyond]
            colour = norm_style(curve.norm).colour
            axes.plot(steps, np.full(len(steps), edge), marker=marker, color=colour, **OFF)


def _draw_curve(curve: Curve, panel: Panel, axes: Axes, order: int, ends: tuple[float, float]) -> None:
    style = norm_style(curve.norm)
    line = style.line() if curve.shade is None else in_series(curve.shade)
    centre, low, high, each = (on_axes(v, panel, ends) for v in (curve.median, curve.least, curve.greatest, curve.each))
    if len(curve.runs) > 1:
        if curve.shade is None:  # many bands over each other would hide the lines
            # Of many seeds the band has an edge, so that bands that overlap stay apart; few are lines of their own.
            face, edge = (line["color"], 0.13), (line["color"], 0.6)
            width = 0.5 if len(curve.runs) > MOST else 0.0
            axes.fill_between(curve.steps, low, high, facecolor=face, edgecolor=edge, linewidth=width)
        if len(curve.runs) <= MOST:
            axes.plot(curve.steps, each.T, color=line["color"], linewidth=0.5, alpha=0.45)
    every = max(1, len(curve.steps) // 6)
    # Markers of different lines stand at different steps, so that none hides another.
    start = order * every // max(1, len(panel.curves)) if len(curve.steps) > 6 else 0
    axes.plot(curve.steps, centre, **line, markevery=(start, every), markeredgecolor="white")
    _mark(curve, panel, axes, ends)


def _draw_band(band: Band, panel: Panel, axes: Axes, ends: tuple[float, float]) -> None:
    """Each seed from its own least to its own greatest; with many seeds, from the median of the one to the other's."""
    style, steps = norm_style(band.low.norm), band.low.steps
    alone = {"marker": style.marker} if len(steps) < 2 else {}
    low, high = (on_axes(end.median, panel, ends) for end in (band.low, band.high))
    seeds = len(band.low.runs)
    if 1 < seeds <= MOST and band.low.runs == band.high.runs:
        for one, other in zip(*(on_axes(end.each, panel, ends) for end in (band.low, band.high)), strict=True):
            axes.fill_between(steps, one, other, color=style.colour, alpha=0.22 / seeds**0.7, linewidth=0)
            for values in (one, other):
                axes.plot(steps, values, color=style.colour, linewidth=0.4, alpha=0.4)
    else:
        axes.fill_between(steps, low, high, color=style.colour, alpha=0.2, linewidth=0)
    for end, values in ((band.low, low), (band.high, high)):
        axes.plot(steps, values, **{**style.line(), "marker": "", **alone}, linewidth=1.0)
        _mark(end, panel, axes, ends)


def _limits(panel: Panel) -> tuple[float, float]:
    """Accuracy from 0 to 1. A loss that went off before its run diverged does not squeeze the other lines."""
    if panel.scale == "accuracy":
        return 0.0, 1.02
    curves = panel.all_curves()
    tame = [c.each[[run not in {d.run for d in c.diverged} for run in c.runs]].ravel() for c in curves]
    last = max((c.steps[-1] for c in curves if len(c.steps)), default=0)
    beside = [v[p.curve.steps <= last] for p in panel.published for v in (p.curve.low, p.curve.high)]
    lines = [*(line.values for line in panel.expected), *(np.array([value]) for _, value in panel.levels)]
    values = np.concatenate([*tame, *beside, *lines])
    values = values[drawable(values, panel.log)]
    if panel.scale == "cosine":
        return min(-0.05, float(values.min()) - 0.05) if len(values) else -1.05, 1.05
    if not len(values):
        return (0.1, 1.0) if panel.log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if panel.log:
        low = min(max(low, panel.floor), high)
        pad = (high / low) ** 0.06 if high > low else 2.0
        return low / pad, high * pad
    return min(0.0, low * 1.05), high * 1.05 if high > 0 else 1.0


# ----------------------------------------------------------------------------------------------------- around the panel


def draw_alone(panel: Panel, setting: Setting, title: str, bands: str, axes: Axes) -> None:
    """Draws a panel with its title, legend and notes on axes; `title`: in front of the setting's."""
    draw_panel(panel, axes)
    foot([panel], axes)
    words = "\n".join(textwrap.fill(word, 62) for word in (*explained([panel], bands), told(panel)) if word)
    axes.annotate(words, (0, 1), (1, 1), ha="left", linespacing=1.05, **NOTE, **ABOVE)
    axes.set_title(textwrap.fill(": ".join(filter(None, (title, setting.label))), 52), pad=5 + 10 * lines(words))
    if not panel.missing:
        axes.legend(handles=[*handles([panel]), *groups([panel], setting), *divergences([panel], setting)])


def lines(text: str) -> int:
    """How many lines a text has."""
    return text.count("\n") + 1 if text else 0


def told(panel: Panel, width: int = 62) -> str:
    """What the unit says after its name, such as over what a loss is a mean, and what else the panel has to say.

    width: of a line, in letters.
    """
    return textwrap.fill("; ".join([*filter(None, (panel.unit.partition(", ")[2],)), *panel.notes]), width)


def foot(panels: Sequence[Panel], last: Axes) -> None:
    """The axis of training steps, or of what else they are over, under some panels."""
    last.set_xlabel(panels[-1].over.label)
    if panels[-1].cells:
        return
    steps = [c.steps for panel in panels for c in panel.all_curves() if len(c.steps)]
    steps += [line.steps for panel in panels for line in panel.expected if panel.closed]
    first, end = min((s.min() for s in steps), default=0), max((s.max() for s in steps), default=1)
    if panels[-1].over.log and first > 0:
        pad = (end / first) ** 0.025 if end > first else 2.0
        last.set_xscale("log")
        last.set_xlim(first / pad, end * pad)
        log_ticks(last.xaxis)
        return
    if panels[-1].over == TRAINING and first >= 0 and end > 4 * EARLY and any(map(_early, steps)):
        last.set_xscale("symlog", linthresh=EARLY, linscale=0.8)
        early_ticks(last.xaxis, end)
        last.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        last.set_xlim(first - 0.04 * EARLY, end * 1.08)
        return
    whole = all((own == np.round(own)).all() for own in steps)  # as steps are, and radii of attacks are not
    last.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
    last.xaxis.set_major_formatter(FuncFormatter((lambda step, _: f"{step:,.0f}") if whole else short))
    if steps:  # a published curve that goes on beyond our last step does not squeeze ours
        pad = 0.025 * (end - first) or 1
        last.set_xlim(first - pad, end + pad)


def _early(steps: np.ndarray) -> bool:
    """Whether most of a curve's points lie in the first fifth, as where a network is looked at by its progress."""
    return len(steps) >= FEWEST and float(np.median(steps)) < 0.2 * float(steps[-1])


def groups(panels: Sequence[Panel], setting: Setting) -> list[Line2D]:
    """Of the legend: how many seeds of an arm train, where some do and some do not."""
    drawn = {curve.norm for panel in panels for curve in panel.all_curves()}
    learnt = learnt_share().of(setting.runs)
    found = []
    for norm in in_order(drawn):
        own = learnt.reindex(list(setting.of.get(norm, ()))).dropna()
        if 0 < (count := int((own > TRAINS).sum())) < len(own):
            label = f"{norm}: {count} of {len(own)} train{'s' if count == 1 else ''}"
            found.append(Line2D([], [], label=label, **norm_style(norm).line()))
    return found


def divergences(panels: Sequence[Panel], setting: Setting) -> list[Line2D]:
    """Of the legend: a cross for each arm of which runs diverged."""
    if any(panel.over != TRAINING for panel in panels):  # it has no place there
        return []
    drawn = {curve.norm for panel in panels for curve in panel.all_curves()}
    diverged = {norm: steps for norm, steps in setting.diverged.items() if norm in drawn or not drawn}
    return [
        Line2D([], [], linestyle="", label=_divergence(norm, steps, setting.counts[norm]), **_cross(norm))
        for norm, steps in diverged.items()
    ]


def _divergence(norm: str, steps: tuple[float, ...], runs: int) -> str:
    first = f"{'first ' if len(steps) > 1 else ''}at step {min(steps):,.0f}"
    return f"{norm}: {len(steps)} of {runs} diverged, {first}"


def handles(panels: Sequence[Panel], otherwise: Iterable[str] = ()) -> list[Line2D]:
    """Of the legend: arms (`otherwise`: where no panel has curves), things in an order, published curves, levels."""
    curves = [curve for panel in panels for curve in panel.all_curves()]
    if any(panel.cells for panel in panels):  # whose they are is said beside them
        return []
    norms = in_order({curve.norm for curve in curves} or otherwise)
    seeds = {norm: sorted({len(curve.runs) for curve in curves if curve.norm == norm}) for norm in norms}
    told = {
        norm: f" ({'/'.join(map(str, own))} seed{'' if own == [1] else 's'})"
        if len({*map(tuple, seeds.values())}) > 1
        else ""
        for norm, own in seeds.items()
    }
    made = [Line2D([], [], label=f"{norm}{told[norm]}", **norm_style(norm).line()) for norm in norms]
    seen: dict[str, float] = {c.label: c.shade for c in curves if c.label and c.shade is not None}
    made += [Line2D([], [], label=label, **in_series(shade)) for label, shade in seen.items()]
    if seen and all(c.shade is not None for c in curves):
        made = made[len(norms) :]
    if any(panel.published for panel in panels):
        made.append(Line2D([], [], label="published", color="#555555", linestyle=":", linewidth=1.1))
    theories = dict.fromkeys(line.label for panel in panels for line in panel.expected)
    made += [Line2D([], [], label=label, **THEORY) for label in theories]
    levels = list(dict.fromkeys(label for panel in panels for label, _ in panel.levels))
    made += [
        Line2D([], [], label=label, color="#444444", linestyle=LEVELS[i % len(LEVELS)], linewidth=0.9)
        for i, label in enumerate(levels)
    ]
    return made


def explained(panels: Sequence[Panel], bands: str) -> list[str]:
    """What lines and bands are, and over how many seeds."""
    curves = [curve for panel in panels for curve in panel.all_curves()]
    maps = [panel.cells.seeds for panel in panels if panel.cells]
    if maps and not curves:
        fewest, most = (int(end(np.concatenate([m[m > 0] for m in maps]))) for end in (np.min, np.max))
        return [f"in each cell: median over seeds, in % ({f'{fewest} to ' if fewest < most else ''}{most} seeds)"]
    counts = {len(curve.runs) for curve in curves} or {0}
    across = any(panel.bands for panel in panels)
    if max(counts) <= 1:
        return [f"one run each{f'; {bands}' if across else ''}"]
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    thin = "; thin: each seed" if min(counts) <= MOST else ""
    said = [f"{bands}, medians over seeds of both ends ({seeds} seeds){thin}"] if across else []
    if all(curve.shade is not None for curve in curves):
        said.append(f"line: median over seeds ({seeds} seeds){thin}")
    elif any(panel.curves for panel in panels):
        said.append(statistics.DESCRIBED + (f" ({seeds} seeds){thin}" if not across else " (panels of single lines)"))
    if any(_beyond(curve, panel.log).any() for panel in panels for curve in panel.all_curves()):
        said.append("▲ ▼ at the edge: beyond the axis (infinite, or without a number at a point; 0)")
    return said
