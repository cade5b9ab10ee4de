"""From one number per seed to a verdict, with a known rate of wrong ones.

The numbers of a comparison (on ratios: their logarithms) get a two-sided t-interval over seeds. The comparison is
**supported** where the interval lies inside the region that was fixed beforehand, **contradicted** where it lies
outside, else **inconclusive**; and always inconclusive with fewer than three seeds.

Confidence: 96 % where two normalisations are compared (paired by seed), 99.2 % where one is held against a threshold,
whose spread over seeds may be skewed. Why a t-interval and these levels: over 40,000 random draws (200,000 for one
number) without an effect, at the very edge of the region, a verdict, which is then wrong, came out in

    three / five seeds         paired, 96 % t     95 % percentile bootstrap
    normal                     3.9 / 3.8 %        26 / 16 %
    uniform                    4.0 / 4.3 %
    log-normal                 2.0 / 1.8 %
    Laplace                    2.6 / 2.6 %
    one number, 99.2 % t: normal 0.8 / 0.8 %, exponential 3.1 / 4.4 %

so that the rate of wrong verdicts of a comparison stays below 5 %. A bootstrap of three numbers has only ten different
samples and is far too sure; its interval is given beside the verdict and does not decide. A claim of several
comparisons is supported where all are, each at its level (which makes it rarer still); it is contradicted where one is
contradicted at the level that all share (Bonferroni), so that its rate stays below 5 % too.

A number that is read off a grid of steps is no surer than the grid: the standard deviation over seeds is taken as at
least half a grid step.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from analysis.claims.model import Region, Scale

Word = Literal["supported", "contradicted", "inconclusive", "not run", "not testable"]

SEEDS = 3
CONFIDENCE_PAIRED, CONFIDENCE_SINGLE = 0.96, 0.992
BOOTSTRAP_CONFIDENCE = 0.95
LARGEST_RATIO = 1000.0  # ratios beyond it, and infinite ones, count as it


@dataclass(frozen=True)
class Outcome:
    """What the seeds say of one comparison. Numbers in natural units (on a ratio, the ratio); NaN: there is none."""

    word: Word
    seeds: int = 0
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    bootstrap_low: float = math.nan
    bootstrap_high: float = math.nan
    each: tuple[float, ...] = ()
    reason: str = ""


def combine(a: np.ndarray, b: np.ndarray | None, scale: Scale) -> np.ndarray:
    """The number of each seed, logarithms for ratios; NaN where there is none (0/0, inf - inf, ...)."""
    with np.errstate(all="ignore"):
        if scale == "ratio":
            assert b is not None
            bound = math.log(LARGEST_RATIO)
            made = np.clip(np.log(a) - np.log(b), -bound, bound)
            return np.where((a < 0) | (b < 0), np.nan, made)
        made = a if b is None else a - b
        return np.where(np.isfinite(made), made, np.nan)


def decide(
    numbers: np.ndarray, region: Region, scale: Scale, *, paired: bool, together: int = 1, resolution: float = 0.0
) -> Outcome:
    """The verdict of `numbers` [seeds] (as `combine` gives them) on one comparison.

    together: how many comparisons share the claim; resolution: coarseness of the numbers, in their units.
    """
    numbers = numbers[~np.isnan(numbers)]
    seeds = len(numbers)
    natural = np.exp if scale == "ratio" else (lambda value: value)
    each = tuple(float(natural(number)) for number in numbers)
    if not seeds:
        return Outcome("inconclusive", reason="no seed has a number")
    effect = float(natural(numbers.mean()))
    if seeds < SEEDS:
        reason = f"{seeds} seed{'s' if seeds > 1 else ''}, {SEEDS} are needed"
        return Outcome("inconclusive", seeds, effect, each=each, reason=reason)
    confidence = CONFIDENCE_PAIRED if paired else CONFIDENCE_SINGLE
    low, high = _interval(numbers, confidence, resolution)
    wide_low, wide_high = _interval(numbers, 1 - (1 - confidence) / together, resolution)
    ends = np.array([region.low, region.high])
    if scale == "ratio":
        with np.errstate(divide="ignore"):
            ends = np.log(np.maximum(ends, 0.0))
    word: Word = "inconclusive"
    if low > ends[0] and high < ends[1]:
        word = "supported"
    elif wide_high < ends[0] or wide_low > ends[1]:
        word = "contradicted"
    bootstrap = _bootstrap(numbers)
    low, high, bootstrap_low, bootstrap_high = (float(natural(end)) for end in (low, high, *bootstrap))
    return Outcome(word, seeds, effect, low, high, bootstrap_low, bootstrap_high, each)


def _interval(numbers: np.ndarray, confidence: float, resolution: float) -> tuple[float, float]:
    deviation = max(float(numbers.std(ddof=1)), resolution / 2)
    half = float(stats.t.ppf((1 + confidence) / 2, len(numbers) - 1)) * deviation / math.sqrt(len(numbers))
    return float(numbers.mean()) - half, float(numbers.mean()) + half


def _bootstrap(numbers: np.ndarray) -> tuple[float, float]:
    """Interval of the mean, BCa where it exists, else percentile."""
    if np.ptp(numbers) <= 1e-12 * max(1.0, abs(float(numbers.mean()))):
        return float(numbers.mean()), float(numbers.mean())
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            interval = stats.bootstrap(
                (numbers,),
                np.mean,
                n_resamples=1000,
                confidence_level=BOOTSTRAP_CONFIDENCE,
                method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            break
    return float(interval.low), float(interval.high)


def worst(words: list[Word]) -> Word:
    """The verdict of a claim from those of its deciding comparisons."""
    for word in ("contradicted", "not testable", "not run", "inconclusive"):
        if word in words:
            return word
    return "supported"
