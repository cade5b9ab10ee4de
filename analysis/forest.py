"""A comparison of the ledger as words, and as a small picture: its seeds, its interval, the region it was held to."""

from __future__ import annotations

import math

import numpy as np

from analysis.decide import Outcome, Unit
from analysis.ledger import Part

WIDTH, HEIGHT, MARGIN = 170, 28, 6


def number(value: float, unit: Unit) -> str:
    """6.3×, +0.196, 0.785, 50 %; nothing for NaN."""
    if math.isnan(value):
        return ""
    if unit == "ratio":
        return f"{value:.3g}×".replace("inf", "∞")
    if unit in ("count", "fraction"):
        return f"{100 * value:.0f} %".replace("-", "−").replace("inf", "∞")
    sign = "+" if unit == "difference" else ""
    digits = f"{value:{sign}.3f}" if 0.001 <= abs(value) < 10 or value == 0 else f"{value:{sign}.3g}"
    return digits.replace("-", "−").replace("inf", "∞")


def interval(low: float, high: float, unit: Unit) -> str:
    """From the low to the high end, or the one that is known; nothing without an interval."""
    if math.isnan(low):
        return ""
    if math.isinf(high):
        return "not known" if math.isinf(low) or (unit == "ratio" and not low) else f"above {number(low, unit)}"
    if math.isinf(low) or (unit == "ratio" and not low):
        return f"below {number(high, unit)}"
    return f"{number(low, unit)} to {number(high, unit)}"


def effect(part: Part) -> str:
    """The effect of a comparison; nothing where there is none."""
    return number(part.outcome.effect, part.comparison.kind.unit)


def medians(part: Part, first: str = "") -> str:
    """The median of each arm over the seeds that count: `none 40, batch 8`; the arm named `first` in front."""
    terms = part.comparison.terms
    told = [(term.arm.name, value(x)) for term, x in zip(terms, part.medians, strict=False)]
    if len({name for name, _ in told}) < len(told):
        return ", ".join(x for _, x in told)
    return ", ".join(f"{name} {x}" for name, x in sorted(told, key=lambda one: one[0] != first))


def value(x: float) -> str:
    """A measured number, in four digits or as a whole number."""
    text = f"{x:.0f}" if 1e4 <= abs(x) < 1e7 else f"{x:.4g}"
    return text.replace("-", "−").replace("inf", "∞")


def seeds(few: int, many: int) -> str:
    """3 seeds, 1 to 3 seeds; nothing without one."""
    if not many:
        return ""
    return f"{few} to {many} seeds" if few != many else f"{many} seed{'s' if many > 1 else ''}"


def picture(part: Part) -> str:
    """Inline SVG: the region that the claim predicts (shaded), the interval over seeds (bar), every seed (dots).

    Ratios are drawn on a logarithmic axis. Empty where no seed has a number. The colours are those of the page.
    """
    outcome, unit = part.outcome, part.comparison.kind.unit
    if not outcome.each:
        return ""
    seeds, ends, edges = (_place(values, unit) for values in (outcome.each, _ends(outcome), _edges(part)))
    inner = np.concatenate([seeds[np.isfinite(seeds)], edges[np.isfinite(edges)], [0.0]])
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
    said = f"effect {number(outcome.effect, unit)}, {outcome.seeds} seeds, predicted {part.comparison.predicted}"
    opening = f'<svg class="forest" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"'
    return f'{opening} aria-label="{said}">{"".join(drawn)}</svg>'


def _place(values: tuple[float, ...], unit: Unit) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(values, 0.0)) if unit == "ratio" else np.array(values, dtype=float)


def _ends(outcome: Outcome) -> tuple[float, float]:
    return (outcome.effect, outcome.effect) if math.isnan(outcome.low) else (outcome.low, outcome.high)


def _edges(part: Part) -> tuple[float, float]:
    return part.comparison.region.low, part.comparison.region.high
