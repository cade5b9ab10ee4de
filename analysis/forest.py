"""A comparison of the ledger as words, and as a small picture: its seeds, its interval, the region it was held to."""

from __future__ import annotations

import math

import numpy as np

from analysis.claims.decide import LARGEST_RATIO, Outcome
from analysis.claims.engine import Part
from analysis.claims.model import Scale

WIDTH, HEIGHT, MARGIN = 170, 28, 6


def number(value: float, scale: Scale) -> str:
    """6.3×, +0.196, 0.785; nothing for NaN."""
    if math.isnan(value):
        return ""
    if scale == "ratio":
        if value >= LARGEST_RATIO * 0.999:
            return f"≥ {LARGEST_RATIO:g}×"
        return f"≤ 1/{LARGEST_RATIO:g}×" if value <= 1.001 / LARGEST_RATIO else f"{value:.3g}×"
    sign = "+" if scale == "difference" else ""
    digits = f"{value:{sign}.3f}" if 0.001 <= abs(value) < 10 or value == 0 else f"{value:{sign}.3g}"
    return digits.replace("-", "−")


def interval(low: float, high: float, scale: Scale) -> str:
    """From the low to the high end; nothing without an interval."""
    return f"{number(low, scale)} to {number(high, scale)}" if not math.isnan(low) else ""


def region(part: Part) -> str:
    """The region of a comparison, in words."""
    return part.comparison.region.says() + ("×" if part.comparison.scale == "ratio" else "")


def picture(part: Part) -> str:
    """Inline SVG: the region that the claim predicts (shaded), the interval over seeds (bar), every seed (dots).

    Ratios are drawn on a logarithmic axis. Empty where no seed has a number. The colours are those of the page.
    """
    outcome, scale = part.outcome, part.comparison.scale
    if not outcome.each:
        return ""
    seeds, ends, edges = (_place(values, scale) for values in (outcome.each, _ends(outcome), _edges(part)))
    inner = np.concatenate([seeds, edges[np.isfinite(edges)], [0.0]])
    least, most = float(inner.min()), float(inner.max())
    room = max(most - least, 1e-3 * max(abs(least), abs(most)), 1e-9)
    # a wide interval is cut before it squeezes the seeds
    least, most = max(min(least, ends[0]), least - room), min(max(most, ends[1]), most + room)
    least, most = least - 0.06 * room, most + 0.06 * room

    def x(value: float) -> float:
        share = (min(max(value, least), most) - least) / (most - least)
        return MARGIN + share * (WIDTH - 2 * MARGIN)

    middle = HEIGHT / 2
    left, right = x(edges[0]), x(edges[1])
    drawn = [f'<rect class="region" x="{left:.1f}" y="3" width="{max(right - left, 0):.1f}" height="{HEIGHT - 6}"/>']
    drawn += [
        f'<line class="edge" x1="{x(e):.1f}" x2="{x(e):.1f}" y1="3" y2="{HEIGHT - 3}"/>'
        for e in edges
        if math.isfinite(e)
    ]
    if not any(abs(x(0.0) - x(e)) < 1 for e in edges):
        drawn.append(f'<line class="zero" x1="{x(0.0):.1f}" x2="{x(0.0):.1f}" y1="3" y2="{HEIGHT - 3}"/>')
    if not math.isnan(outcome.low):
        drawn.append(f'<line class="bar" x1="{x(ends[0]):.1f}" x2="{x(ends[1]):.1f}" y1="{middle}" y2="{middle}"/>')
    drawn += [f'<circle class="seed" cx="{x(seed):.1f}" cy="{middle}" r="3.2"/>' for seed in seeds]
    said = f"effect {number(outcome.effect, scale)}, {outcome.seeds} seeds, predicted {region(part)}"
    opening = f'<svg class="forest" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"'
    return f'{opening} aria-label="{said}">{"".join(drawn)}</svg>'


def _place(values: tuple[float, ...], scale: Scale) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(values, 0.0)) if scale == "ratio" else np.array(values, dtype=float)


def _ends(outcome: Outcome) -> tuple[float, float]:
    return (outcome.effect, outcome.effect) if math.isnan(outcome.low) else (outcome.low, outcome.high)


def _edges(part: Part) -> tuple[float, float]:
    return part.comparison.region.low, part.comparison.region.high
