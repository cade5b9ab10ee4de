"""How much an arm's numbers spread over seeds, against another's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.decide.kinds import plain
from analysis.decide.outcome import Outcome, Region, Unit, Word
from analysis.decide.typical import ALPHA


@dataclass(frozen=True)
class Spread:
    """Mean distance from the median, of a / of b: Brown and Forsythe's test, with twenty seeds or more.

    A quotient of variances (the F test) would be wrong in 12 to 27 % of cases. Seeds are not paired.
    """

    seeds: int = 20
    unit: Unit = "ratio"
    none: float = 1.0
    smallest: float | None = None
    paired: bool = False
    says: str = "by Brown and Forsythe's test of distances from the median, twenty seeds or more"

    def line(self, measures: Sequence[str], arms: Sequence[str], outcome: Outcome) -> str:
        return f"spread over seeds of {measures[0]}: {arms[0]} {plain(outcome.effect)} times {arms[1]}"

    def decide(
        self, terms: Sequence[pd.DataFrame], region: Region, smallest: float | None = None, together: int = 1
    ) -> Outcome:
        a, b = (term["number"].dropna().to_numpy(float) for term in terms)
        seeds, without = min(len(a), len(b)), sum(map(len, terms)) - len(a) - len(b)
        if seeds < self.seeds:
            return Outcome("undecided", seeds, reason=f"{seeds} seeds, {self.seeds} are needed", without=without)
        da, db = np.abs(a - np.median(a)), np.abs(b - np.median(b))
        if not (np.isfinite(da).all() and np.isfinite(db).all() and da.any() and db.any()):
            return Outcome("undecided", seeds, reason="an arm has infinite numbers, or no spread", without=without)
        effect = float(da.mean() / db.mean())
        above = {edge: p_above(da, db, edge) for edge in (region.low, region.high) if math.isfinite(edge) and edge > 0}
        low, high = above.get(region.low, 0.0), 1 - above.get(region.high, 1.0)
        inside = max(low, high)
        outside = min([1 - above[e] if e == region.low else above[e] for e in above], default=1.0)
        word: Word = "supported" if inside <= ALPHA else "contradicted" if outside <= ALPHA else "undecided"
        shared = word == "contradicted" and outside <= ALPHA / together
        p = min(1.0, 2 * min(inside, outside))
        return Outcome(word, seeds, effect, p=p, reason=f"p = {p:.2g}", shared=shared, without=without)


def p_above(da: np.ndarray, db: np.ndarray, edge: float) -> float:
    """One-sided p of "the distances of a are at most `edge` times those of b" (Brown & Forsythe 1974)."""
    return float(stats.ttest_ind(da, edge * db, alternative="greater").pvalue)
