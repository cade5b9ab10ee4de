"""The typical seed: an interval for the median over seeds, and what lies beyond it, from numbers that may be bounds.

A number that is read off a grid lies somewhere between two ends; its lower ends are judged for all that is said of the
low side, its upper ends for the high side. Past the end of a grid the upper end is infinite, and only a bound is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special

from analysis.decide.outcome import Region

ALPHA = 0.02
"""How often, to each side, a word may be wrong at the very edge of a region."""
MOST_SEEDS = 100
"""Where more would be needed, another measure is."""
SAME = 1e-12
"""Numbers that differ by a smaller share are equal up to rounding."""


@dataclass(frozen=True)
class Ends:
    """One number per seed, as far as it is known: between `low` and `high`, equal where it is known exactly."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def exact(cls, numbers: np.ndarray) -> Ends:
        """Numbers that are known exactly."""
        return cls(numbers, numbers)

    def there(self) -> np.ndarray:
        """Which seeds have a number."""
        return ~(np.isnan(self.low) | np.isnan(self.high))

    def only(self, chosen: np.ndarray) -> Ends:
        """Some of the seeds."""
        return Ends(self.low[chosen], self.high[chosen])


def _between(ends: Ends) -> np.ndarray:
    """The middle between the ends, the finite one where one is infinite; NaN where nothing is known."""
    low = np.where(np.isfinite(ends.low), ends.low, ends.high)
    high = np.where(np.isfinite(ends.high), ends.high, ends.low)
    with np.errstate(invalid="ignore"):
        return np.asarray((low + high) / 2)


def spread(numbers: np.ndarray) -> float:
    """Standard deviation over seeds; NaN where it has none to go by: an infinite number, or all equal."""
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        return math.nan
    if np.ptp(numbers) <= SAME * max(1.0, float(np.abs(numbers).max())):
        return math.nan
    return float(numbers.std(ddof=1))


@cache
def off_side(seeds: int) -> int:
    """How many seeds may lie beyond an edge that the median does not: the sign test at 98 %, of few seeds none."""
    allowed = 0
    while special.bdtr(allowed + 1, seeds, 0.5) <= ALPHA:
        allowed += 1
    return allowed


@cache
def quantile(alpha: float, seeds: int) -> float:
    """Student's t of so many seeds that is exceeded in a share alpha of cases."""
    return -float(special.stdtrit(seeds - 1, alpha))


def least(numbers: np.ndarray, alpha: float = ALPHA) -> float:
    """The lower end of the interval: the lesser of the t-interval's and that of the order statistics."""
    lowest = float(np.sort(numbers)[off_side(len(numbers))])
    deviation = spread(numbers)
    if math.isnan(deviation):
        return lowest
    half = quantile(alpha, len(numbers)) * deviation / math.sqrt(len(numbers))
    return min(lowest, float(numbers.mean()) - half)


def interval(ends: Ends, alpha: float = ALPHA) -> tuple[float, float]:
    """Both ends of the interval of the typical seed; `alpha`: of the t-interval, to each side."""
    return least(ends.low, alpha), -least(-ends.high, alpha)


def p_beyond(numbers: np.ndarray, edge: float) -> float:
    """The one-sided p of "the typical seed lies at the edge or below": the greater of t and of the sign test."""
    sign = float(special.bdtr(int((numbers <= edge).sum()), len(numbers), 0.5))
    deviation = spread(numbers)
    if math.isnan(deviation) or math.isinf(edge):
        return 0.0 if edge == -math.inf else sign
    t = (float(numbers.mean()) - edge) / deviation * math.sqrt(len(numbers))
    return max(sign, float(special.stdtr(len(numbers) - 1, -t)))


def p_value(ends: Ends, region: Region) -> float:
    """The least level, of both sides, at which these seeds lie inside of the region or outside of it."""
    inside = max(p_beyond(ends.low, region.low), p_beyond(-ends.high, -region.high))
    outside = [p_beyond(-ends.high, -region.low)] if math.isfinite(region.low) else []
    outside += [p_beyond(ends.low, region.high)] if math.isfinite(region.high) else []
    return min(1.0, 2 * min([inside, *outside]))


def seeds_needed(ends: Ends, region: Region, within: Region | None, fewest: int) -> int:
    """How many seeds would decide if they had the mean, the spread and the share beyond each edge that these have.

    Args:
        ends: what is known of the seeds.
        region: where the number must lie.
        within: the smallest effect, to both sides of none.
        fewest: of a verdict.

    Returns:
        0 where the spread is not known, or more seeds than any run has would be needed.
    """
    numbers = _between(ends)
    deviation = spread(numbers)
    if math.isnan(deviation):
        return 0
    wanted = [Region(low=region.high), Region(high=region.low), region, *([within] if within else [])]
    for seeds in range(max(fewest, len(numbers)), MOST_SEEDS + 1):
        half = quantile(ALPHA, seeds) * deviation / math.sqrt(seeds)
        if any(_would(numbers, one, half, off_side(seeds) / seeds) for one in wanted if one != Region()):
            return seeds
    return 0


def _would(numbers: np.ndarray, wanted: Region, half: float, off: float) -> bool:
    """Whether seeds like these would lie there: `half` the width of t, `off` the share that may lie beyond an edge."""
    edges = [(wanted.low, numbers)] if math.isfinite(wanted.low) else []
    edges += [(-wanted.high, -numbers)] if math.isfinite(wanted.high) else []
    held = [own.mean() - edge > half and (own <= edge).mean() <= off + SAME for edge, own in edges]
    return bool(held) and all(held)
