"""A fraction of a gap that is recovered: (a - b) / (c - b) above f, judged without a quotient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.decide.kinds import typical
from analysis.decide.outcome import LEANS, SEEDS, Outcome, Region, Unit, Word
from analysis.decide.typical import ALPHA, Ends, least, quantile


@dataclass(frozen=True)
class Fraction:
    """Of the terms a, b, c: whether a recovers more than the fraction f of the gap from b to c.

    Judged by the contrast (a - b) - f (c - b) of the typical seed, once c - b lies above 0: before that there is
    nothing to recover. The fraction itself, a ratio of means with Fieller's interval, is only shown.
    """

    seeds: int = SEEDS
    unit: Unit = "fraction"
    none: float = math.nan
    smallest: float | None = None
    paired: bool = True

    def line(self, measures: Sequence[str], arms: Sequence[str], outcome: Outcome) -> str:
        share = f"{100 * outcome.effect:.0f} %".replace("-", "−")
        return f"{measures[0]}: {arms[0]} lies {share} of the way from {arms[1]} to {arms[2]}"

    @property
    def says(self) -> str:
        return "in pairs of one seed, by the contrast (a - b) - f (c - b), where c - b lies above 0"

    def decide(
        self, terms: Sequence[pd.DataFrame], region: Region, smallest: float | None = None, together: int = 1
    ) -> Outcome:
        both = pd.concat([term["number"] for term in terms], axis=1, join="inner").sort_index()
        a, b, c = both.dropna().to_numpy(float).T
        gained, gap = a - b, c - b
        seeds, without = len(gap), len(both) - len(gap)
        if seeds < LEANS:
            return Outcome(
                "undecided", seeds, reason=f"{seeds} seeds: {LEANS} lean, {self.seeds} decide", without=without
            )
        with np.errstate(all="ignore"):
            each = tuple(map(float, gained / gap))
        effect, (low, high) = float(gained.mean() / gap.mean()), fieller(gained, gap)
        if not least(gap) > 0:
            said = f"no gap to measure in: it is {np.median(gap):.3g} in the median seed and not above 0"
            return Outcome("undecided", seeds, effect, low, high, each, said, without=without)
        ends = [(f, side) for f, side in ((region.low, 1.0), (region.high, -1.0)) if math.isfinite(f)]
        parts = []
        for f, side in ends:
            contrast = side * (gained - f * gap)
            parts.append(typical(Ends.exact(contrast), contrast, Region(low=0.0), None, together, self.seeds))
        words = [part.word for part in parts]
        failed = next((part for part in parts if part.word == "contradicted"), None)
        held = all(word == "supported" for word in words)
        chosen = failed or next((part for part in parts if part.word == "undecided"), parts[0])
        word: Word = "contradicted" if failed else "supported" if held else "undecided"
        p = failed.p if failed else max(part.p for part in parts)
        return Outcome(
            word, seeds, effect, low, high, each, chosen.reason, p, chosen.enough, chosen.shared, without
        )  # fmt: skip


def fieller(above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """Fieller's 96 % interval of mean(above) / mean(below), paired; NaN where it is not one stretch."""
    n = len(above)
    covariance = np.cov(above, below) / n
    t = quantile(ALPHA, n) ** 2
    x, y = float(above.mean()), float(below.mean())
    a = y * y - t * covariance[1, 1]
    b = x * y - t * covariance[0, 1]
    root = b * b - a * (x * x - t * covariance[0, 0])
    if not (a > 0 and root >= 0):
        return math.nan, math.nan
    return (b - math.sqrt(root)) / a, (b + math.sqrt(root)) / a
