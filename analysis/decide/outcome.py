"""Words for what came out, of a comparison and of a claim of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Word = Literal[
    "supported",
    "contradicted",
    "no difference",
    "undecided",
    "depends on the rule",
    "mixed",
    "identity holds",
    "identity fails",
    "not run",
    "not testable",
]
Standing = Literal["", "provisional", "leans", "interim"]
"""How far a word is a verdict: wholly, with five seeds, with three or four, or while seeds are still on their way."""
Unit = Literal["ratio", "difference", "value", "count", "fraction"]
"""How a number is written: 2×, +0.5, 0.5, 3 of 6, 50 %."""

SEEDS, PROVISIONAL, LEANS = 6, 5, 3
"""Seeds of a verdict, and the fewest of a provisional one and of a leaning."""
STANDING_WORDS = ("supported", "contradicted", "no difference", "mixed", "depends on the rule")


@dataclass(frozen=True)
class Region:
    """Where the number must lie for the claim to hold, finite ends excluded; in natural units (a ratio of 2 is 2)."""

    low: float = -math.inf
    high: float = math.inf

    def says(self) -> str:
        """In words."""
        if math.isinf(self.low):
            return f"below {self.high:.3g}"
        return f"above {self.low:.3g}" if math.isinf(self.high) else f"between {self.low:.3g} and {self.high:.3g}"

    def holds(self, number: float) -> bool:
        """Whether a number lies inside."""
        return self.spans(number, number)

    def spans(self, low: float, high: float) -> bool:
        """Whether all from the one to the other lies inside."""
        return (self.low < low or self.low == -math.inf) and (high < self.high or self.high == math.inf)

    def beside(self, low: float, high: float) -> bool:
        """Whether all from the one to the other lies outside, to one side."""
        return high < self.low or low > self.high


@dataclass(frozen=True)
class Outcome:
    """What the seeds say of one comparison. Numbers in natural units (of a ratio, the ratio); NaN: there is none.

    Attributes:
        word: in or out of the region, or neither.
        seeds: how many have a number.
        effect: of the median seed.
        low, high: the interval of the typical seed; an infinite end: only a bound is known.
        each: the number of every seed, ascending by seed.
        reason: why there is no word, or what must be known of the one that there is.
        p: the least level (of both sides) at which the seeds would decide.
        enough: seeds that would decide at the spread seen; 0: none are needed, or no number of them is known.
        shared: whether it is contradicted also at the level that the comparisons of one claim share.
        without: seeds that have no number.
    """

    word: Word
    seeds: int = 0
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    each: tuple[float, ...] = ()
    reason: str = ""
    p: float = math.nan
    enough: int = 0
    shared: bool = False
    without: int = 0


def standing(seeds: int, asked: int = SEEDS) -> Standing:
    """How far a word of so many seeds is a verdict. asked: how many were fixed beforehand."""
    if seeds >= asked:
        return ""
    return "provisional" if seeds >= PROVISIONAL else "leans"


def told(word: Word, stands: Standing) -> str:
    """A word with its standing, `leans: supported`; words that decide nothing have none."""
    return f"{stands}: {word}" if stands and word in STANDING_WORDS else word


def whole(parts: Sequence[Outcome]) -> Word:
    """The word of a claim that holds where all of its deciding comparisons do.

    Wrong in no more cases than one comparison: it is supported where all are, contradicted where all are or where one
    is at the level that all share, and mixed where some hold and others do not.
    """
    words: list[Word] = [part.word for part in parts]
    distinct = set(words)
    failed = distinct == {"contradicted"} or any(part.shared for part in parts)
    if "supported" in distinct and (failed or "no difference" in distinct):
        return "mixed"
    if failed or distinct == {"contradicted", "no difference"}:
        return "contradicted"
    order: tuple[Word, ...] = ("not testable", "not run", "depends on the rule", "undecided", "contradicted")
    for word in order:
        if word in distinct:
            return word if word != "contradicted" else "undecided"
    for word in ("identity fails", "no difference"):
        if word in distinct:
            return word
    return words[0]
