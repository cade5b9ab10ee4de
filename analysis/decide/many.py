"""What is said of many verdicts: how many are expected wrong, a q-value each, and one number for each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from analysis.decide.typical import ALPHA

SETTINGS = 5
"""Of which an interval over settings speaks; fewer are listed."""


def expected_wrong(verdicts: int) -> int:
    """At most how many of so many verdicts are expected wrong from the noise of seeds: 4 % of them, rounded up."""
    return math.ceil(2 * ALPHA * verdicts)


def q_values(p: Sequence[float]) -> np.ndarray:
    """The rate of false discoveries (Benjamini and Hochberg) at which each would just be one; NaN for no p."""
    found = np.full(len(p), math.nan)
    there = ~np.isnan(np.asarray(p, dtype=float))
    if there.any():
        found[there] = stats.false_discovery_control(np.asarray(p, dtype=float)[there])
    return found


def over_settings(effects: Sequence[float], *, log: bool) -> tuple[float, float]:
    """The 96 % t-interval over settings, each with one number; NaN for fewer than five, which are listed instead.

    Seeds of several settings are never pooled: that would be wrong in 24 to 44 % of cases.
    """
    numbers = np.asarray(effects, dtype=float)
    with np.errstate(all="ignore"):
        numbers = np.log(numbers) if log else numbers
    if len(numbers) < SETTINGS or not np.isfinite(numbers).all() or np.ptp(numbers) == 0:
        return math.nan, math.nan
    low, high = stats.t.interval(1 - 2 * ALPHA, len(numbers) - 1, numbers.mean(), stats.sem(numbers))
    return (math.exp(low), math.exp(high)) if log else (float(low), float(high))
