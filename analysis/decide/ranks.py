"""Rank correlation over normalisations: the points are arms, not seeds, and arms of one family are no two points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.decide.kinds import plain
from analysis.decide.outcome import Outcome, Region, Unit, Word
from analysis.decide.typical import ALPHA

FAMILIES = 5
"""Fewer have too few orders: of four, the least p is 1 in 24."""


@dataclass(frozen=True)
class RankOverFamilies:
    """Spearman's rank correlation of two measures over arms, each averaged over its seeds.

    Decided where an exact permutation of the families (their mean ranks) has a p of 2 % at most and the correlation
    stays in the region with each family left out. One correlation per seed and a t-interval would be wrong in 59 to
    76 % of cases.

    Args:
        families: of each arm, in the order of the arms; the terms are x and y of the first arm, x and y of the second.
    """

    families: tuple[str, ...]
    seeds: int = 1
    unit: Unit = "value"
    none: float = 0.0
    smallest: float | None = None
    paired: bool = False

    def line(self, measures: Sequence[str], arms: Sequence[str], outcome: Outcome) -> str:
        return (
            f"rank correlation of {measures[1]} with {measures[0]}: {plain(outcome.effect)} over {len(arms) // 2} arms"
        )

    @property
    def says(self) -> str:
        return "over arms, by an exact permutation of their families; it must hold with each family left out"

    def decide(
        self, terms: Sequence[pd.DataFrame], region: Region, smallest: float | None = None, together: int = 1
    ) -> Outcome:
        means = np.array([float(term["number"].median()) for term in terms])
        x, y = means[::2], means[1::2]
        seeds = min((int(term["number"].count()) for term in terms), default=0)
        names = sorted(set(self.families))
        if len(names) < FAMILIES:
            return Outcome("undecided", seeds, reason=f"{len(names)} families, {FAMILIES} are needed")
        if not np.isfinite(means).all():
            return Outcome("undecided", seeds, reason="an arm has no finite number")
        own = np.array(self.families)
        point = spearman(x, y)
        left = [spearman(x[own != name], y[own != name]) for name in names]
        up = p_permuted(x, y, own)
        down = p_permuted(x, -y, own)
        word: Word = "undecided"
        reason = f"p = {min(1.0, 2 * min(up, down)):.2g}; {min(left):.2f} to {max(left):.2f} with a family left out"
        if min(up, down) <= ALPHA:
            if all(region.holds(one) for one in (point, *left)):
                word = "supported"
            elif not any(region.low <= one <= region.high for one in (point, *left)):
                word = "contradicted"
        shared = word == "contradicted" and min(up, down) <= ALPHA / together
        return Outcome(
            word, seeds, point, min(left), max(left), tuple(left), reason, min(1.0, 2 * min(up, down)), shared=shared
        )


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """NaN where one of the two has no order."""
    return float(stats.spearmanr(x, y).statistic) if np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan


def p_permuted(x: np.ndarray, y: np.ndarray, families: np.ndarray) -> float:
    """Share of all orders of the families, by their mean ranks, that agree at least as well as the one seen."""
    names = sorted(set(families))
    ranks = [stats.rankdata(values) for values in (x, y)]
    a, b = (np.array([own[families == name].mean() for name in names]) for own in ranks)
    seen = float(a @ b)
    orders = [float(a @ b[list(order)]) for order in itertools.permutations(range(len(names)))]
    return float(np.mean(np.array(orders) >= seen - 1e-9))
