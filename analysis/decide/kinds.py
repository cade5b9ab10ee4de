"""Kinds that compare the typical seed: ratios, differences, one arm against a threshold; read off a grid or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from analysis.decide.outcome import LEANS, SEEDS, Outcome, Region, Unit, Word
from analysis.decide.typical import ALPHA, MOST_SEEDS, Ends, interval, p_value, seeds_needed, spread


class Kind(Protocol):
    """What is done with the numbers of a comparison's terms."""

    @property
    def unit(self) -> Unit:
        """How its numbers are written."""

    @property
    def says(self) -> str:
        """How it is paired, bounded, gated and decided."""

    @property
    def none(self) -> float:
        """The number that means no effect, in natural units; NaN: there is no such number."""

    @property
    def smallest(self) -> float | None:
        """The smallest effect that counts, where a comparison names none; None: equality is never told."""

    @property
    def seeds(self) -> int:
        """The fewest of a verdict."""

    @property
    def paired(self) -> bool:
        """Whether seeds that some of its arms lack are left out."""

    def line(self, measures: Sequence[str], arms: Sequence[str], outcome: Outcome) -> str:
        """What came out, for a person: `loss range: batch 0.5 times none`. Names are those of the terms."""

    def decide(
        self, terms: Sequence[pd.DataFrame], region: Region, smallest: float | None = None, together: int = 1
    ) -> Outcome:
        """The outcome of a comparison.

        Args:
            terms: for each term its numbers by seed, with columns number, low, high (see `analysis.claims.BySeed`).
            region: where the number must lie.
            smallest: the smallest effect that counts, as a factor or a difference; None: the kind's own.
            together: how many deciding comparisons share the claim.
        """


@dataclass(frozen=True)
class Typical:
    """a / b (the mean of the logarithms over several such pairs), a - b, or a itself, of the typical seed.

    Args:
        unit: which of the three.
        smallest: what a comparison's smallest effect is by default: a factor, or a difference.
    """

    unit: Unit
    smallest: float | None = None
    seeds: int = SEEDS
    paired: bool = True

    @property
    def none(self) -> float:
        return {"ratio": 1.0, "difference": 0.0}.get(self.unit, math.nan)

    @property
    def says(self) -> str:
        paired = "in pairs of one seed, " if self.unit != "value" else ""
        logs = "on logarithms, " if self.unit == "ratio" else ""
        return f"{paired}{logs}by the typical seed: all seeds of six, and a 96 % t-interval"

    def line(self, measures: Sequence[str], arms: Sequence[str], outcome: Outcome) -> str:
        x = outcome.effect
        a, b = arms[0], arms[-1]
        if self.unit == "value":
            return f"{measures[0]} of {a}: {plain(x)}"
        size = f"{plain(x)} times" if self.unit == "ratio" else f"{plain(abs(x))} {'below' if x < 0 else 'above'}"
        if a == b:
            return f"{a}: {measures[0]} {size} {measures[-1]}"
        names = list(dict.fromkeys(measures))
        if len(names) > 1 and len(measures) == 2:
            return f"{names[0]} of {a} {size} {names[1]} of {b}"
        return f"{', '.join(names)}{' together' if len(names) > 1 else ''}: {a} {size} {b}"

    def of(self, terms: Sequence[pd.DataFrame]) -> tuple[Ends, pd.Index]:
        """The number of each seed that all terms have, logarithms for ratios; NaN: 0/0, inf - inf, ..."""
        both = pd.concat(list(terms), axis=1, join="inner").sort_index() if len(terms) > 1 else terms[0].sort_index()
        lows = [both.iloc[:, 3 * place + 1].to_numpy(float) for place in range(len(terms))]
        highs = [both.iloc[:, 3 * place + 2].to_numpy(float) for place in range(len(terms))]
        with np.errstate(all="ignore"):
            if self.unit == "value":
                return Ends(lows[0], highs[0]), both.index
            if self.unit == "ratio":
                lows, highs = [np.log(low) for low in lows], [np.log(high) for high in highs]
            pairs = range(0, len(terms), 2)
            low = np.mean([lows[i] - highs[i + 1] for i in pairs], axis=0)
            high = np.mean([highs[i] - lows[i + 1] for i in pairs], axis=0)
        return Ends(low, high), both.index

    def numbers(self, terms: Sequence[pd.DataFrame]) -> np.ndarray:
        """The number of each seed as it was read, without regard to the grid."""
        read = [term.assign(low=term["number"], high=term["number"]) for term in terms]
        return self.of(read)[0].low

    def decide(
        self, terms: Sequence[pd.DataFrame], region: Region, smallest: float | None = None, together: int = 1
    ) -> Outcome:
        ends, _ = self.of(terms)
        read, there = self.numbers(terms), ends.there()
        within = self._within(region, smallest)
        found = typical(ends.only(there), read[there], self._places(region), within, together, self.seeds)
        natural = np.exp if self.unit == "ratio" else np.asarray
        effect, low, high = (float(natural(x)) for x in (found.effect, found.low, found.high))
        each = tuple(float(natural(x)) for x in found.each)
        return Outcome(
            found.word, found.seeds, effect, low, high, each, found.reason, found.p, found.enough, found.shared,
            int((~there).sum()),
        )  # fmt: skip

    def _places(self, region: Region) -> Region:
        """The region where the numbers lie."""
        return Region(_log(region.low), _log(region.high)) if self.unit == "ratio" else region

    def _within(self, region: Region, smallest: float | None) -> Region | None:
        """Both ends of the smallest effect; None where equality lies inside of the region, or is never told."""
        smallest = self.smallest if smallest is None else smallest
        if smallest is None or math.isnan(self.none) or region.holds(self.none):
            return None
        size = math.log(smallest) if self.unit == "ratio" else smallest
        return Region(-size, size)


def plain(x: float) -> str:
    """A number in three digits."""
    told = f"{x:.0f}" if 1000 <= abs(x) < 1e6 else f"{x:.3g}"
    return told.replace("inf", "∞").replace("-", "−")


def _log(number: float) -> float:
    return math.log(number) if number > 0 else -math.inf


def typical(
    ends: Ends,
    read: np.ndarray,
    region: Region,
    within: Region | None,
    together: int = 1,
    fewest: int = SEEDS,
) -> Outcome:
    """The outcome of numbers that all seeds have, in their own units; `read`: the numbers as they were read."""
    seeds = len(read)
    each = tuple(map(float, read))
    if not seeds:
        return Outcome("undecided", reason="no seed has a number")
    effect = float(np.median(read))
    if seeds < LEANS:
        reason = f"{seeds} seed{'s' if seeds > 1 else ''}: {LEANS} lean, {fewest} decide"
        return Outcome("undecided", seeds, effect, each=each, reason=reason, enough=fewest)
    least, most = interval(ends)
    least_of_all, most_of_all = interval(ends, ALPHA / together)
    word: Word = "undecided"
    if within and within.spans(least, most):
        word = "no difference"
    elif region.spans(least, most):
        word = "supported"
    elif region.beside(least, most):
        word = "contradicted"
    shared = word == "contradicted" and region.beside(least_of_all, most_of_all)
    p = p_value(ends, region)
    reason, enough = "", 0
    if not np.isfinite(np.concatenate([ends.low, ends.high])).all():
        bounds = int((np.isfinite(ends.low) != np.isfinite(ends.high)).sum())
        endless = int((np.isinf(ends.low) & np.isinf(ends.high)).sum())
        said = [f"{bounds} of {seeds} seeds are only a bound"] if bounds else []
        reason = "; ".join([*said, *([f"{endless} of {seeds} seeds are infinite"] if endless else [])])
    elif math.isnan(spread(ends.low)) and (ends.low == ends.high).all():
        least = most = math.nan
        reason = "all seeds have the same number, so that no width is known"
    if word == "undecided":
        enough = seeds_needed(ends, region, within, fewest)
        if enough:
            needed = f"{enough} seeds would decide at the spread seen"
        else:
            needed = f"not even {MOST_SEEDS} seeds would decide at the spread seen: another measure is needed"
        reason = "; ".join(filter(None, [reason, needed if math.isfinite(least + most) else ""]))
    return Outcome(word, seeds, effect, least, most, each, reason, p, enough, shared)


RATIO = Typical("ratio", 1.25)
"""a / b; equal within a factor of 1.25."""
DIFFERENCE = Typical("difference")
"""a - b; a comparison says by how much it counts as none."""
VALUE = Typical("value")
"""a itself, against a threshold."""
