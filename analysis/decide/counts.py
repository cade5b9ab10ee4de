"""Kinds that count: how many seeds do something (train, diverge), and identities that must hold in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.decide.kinds import plain
from analysis.decide.outcome import LEANS, SEEDS, Outcome, Region, Unit, Word
from analysis.decide.typical import ALPHA, MOST_SEEDS


@dataclass(frozen=True)
class Count:
    """The share of all seeds in which a measure lies above a level, from k of n: exact binomial, 98 % to each side.

    A t-interval on zeros and ones would be wrong in 25 to 51 % of cases. Several counts of one claim share no level: of
    six seeds that agree each is wrong in 1.6 %, so that three of them stay below 5 %.

    Args:
        above: the level.
        does: what a seed does that lies above it: "trains".
    """

    above: float
    does: str
    seeds: int = SEEDS
    unit: Unit = "count"
    none: float = math.nan
    smallest: float | None = None
    paired: bool = False

    def line(self, measures: Sequence[str], arms: Sequence[str], outcome: Outcome) -> str:
        return f"{arms[0]} {self.does} in {sum(map(bool, outcome.each))} of {outcome.seeds} seeds"

    @property
    def says(self) -> str:
        return f"by exact binomial intervals, 98 % to each side; a seed {self.does} where it lies above {self.above:g}"

    def decide(
        self, terms: Sequence[pd.DataFrame], region: Region, smallest: float | None = None, together: int = 1
    ) -> Outcome:
        (term,) = terms
        numbers = term["number"].to_numpy(float)
        does = numbers[~np.isnan(numbers)] > self.above
        n, k = len(does), int(does.sum())
        if not n:
            return Outcome("undecided", reason="no seed has a number", without=len(numbers))
        low, high = binomial(k, n)
        word = _word(low, high, region)
        enough, reason = 0, ""
        if LEANS <= n < self.seeds and k in (0, n):  # few seeds that agree lean
            word = "supported" if region.holds(k / n) else "contradicted"
        if word == "undecided":
            enough = next((m for m in range(n + 1, MOST_SEEDS + 1) if _decides(k / n, m, region)), 0)
            reason = f"{enough or f'not even {MOST_SEEDS}'} seeds would decide at this share"
        each = tuple(float(x) for x in does)
        p = _p_value(k, n, region)
        return Outcome(word, n, k / n, low, high, each, reason, p, enough, word == "contradicted", len(numbers) - n)


def binomial(k: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """The exact interval (Clopper and Pearson) of a share, `alpha` to each side."""
    low = float(special.betaincinv(k, n - k + 1, alpha)) if k else 0.0
    return low, float(special.betaincinv(k + 1, n - k, 1 - alpha)) if k < n else 1.0


def _word(low: float, high: float, region: Region) -> Word:
    return "supported" if region.spans(low, high) else "contradicted" if region.beside(low, high) else "undecided"


def _decides(share: float, n: int, region: Region) -> bool:
    return _word(*binomial(round(share * n), n), region) != "undecided"


def _p_value(k: int, n: int, region: Region) -> float:
    """The least level, of both sides, at which k of n lies inside of the region or outside of it."""
    low, high = max(region.low, 0.0), min(region.high, 1.0)
    above = {edge: float(special.bdtrc(k - 1, n, edge)) if k else 1.0 for edge in (low, high)}  # "at it or below"
    below = {edge: float(special.bdtr(k, n, edge)) for edge in (low, high)}
    inside = max(above[low] if region.low >= 0 else 0.0, below[high] if region.high <= 1 else 0.0)
    outside = [below[low]] if region.low >= 0 else []
    outside += [above[high]] if region.high <= 1 else []
    return min(1.0, 2 * min([inside, *outside]))


@dataclass(frozen=True)
class Identity:
    """An equation of a theorem, by its relative error: it holds where no seed's is above the tolerance, or fails.

    Undecided where no known seed fails and one has no number.

    There is no verdict on the size of its terms, which is told beside it.
    """

    seeds: int = 1
    unit: Unit = "value"
    none: float = math.nan
    smallest: float | None = None
    paired: bool = False
    says: str = "by the relative error of every seed, which must lie in the region"

    def line(self, measures: Sequence[str], arms: Sequence[str], outcome: Outcome) -> str:
        return f"{measures[0]} of {arms[0]}: {plain(outcome.effect)} in the median seed"

    def decide(
        self, terms: Sequence[pd.DataFrame], region: Region, smallest: float | None = None, together: int = 1
    ) -> Outcome:
        (term,) = terms
        numbers = term["number"].dropna().to_numpy(float)
        without = len(term) - len(numbers)
        if not len(numbers):
            return Outcome("undecided", reason="no seed has a number", without=without)
        word: Word = "identity holds" if all(region.holds(number) for number in numbers) else "identity fails"
        reason = ""
        if without and word == "identity holds":  # of the others it is not known; one that fails is enough
            word, reason = "undecided", f"{without} of {len(term)} seeds have no number"
        return Outcome(
            word, len(numbers), float(np.median(numbers)), each=tuple(numbers), without=without, reason=reason
        )
