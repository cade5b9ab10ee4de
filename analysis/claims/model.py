"""What a claim is: data. What decides it is fixed here and in the files of claims, before any run is looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

    from analysis.claims.measures import Records

SIMILAR = 1.5
"""Practical equivalence: "similar", "marginal", "comparable", "almost as fast" are within this factor."""
MUCH = 2.0
""""Much", "far": at least this factor."""

Task = Literal["classification", "regression"]
Scale = Literal["ratio", "difference", "value"]


@dataclass(frozen=True)
class Measure:
    """One number per run.

    says: in words, with its window and its average; ends up in the ledger.
    metrics: what must be recorded, as (metric, batch); a batch of None: any.
    per_run: from records to a Series by run, NaN where a run has no such number.
    resolution: the coarseness of that number (an absolute one), by run; None: none worth speaking of.
    diverged_count: whether a diverged run has a number by the measure's own rule, or is left out and named.
    """

    says: str
    metrics: tuple[tuple[str, str | None], ...]
    per_run: Callable[[Records], pd.Series]
    resolution: Callable[[Records], pd.Series] | None = None
    diverged_count: bool = False


@dataclass(frozen=True)
class Term:
    """A measure of the runs of one normalisation."""

    norm: str
    measure: Measure


@dataclass(frozen=True)
class Region:
    """Where the number must lie for the claim to hold, ends excluded; in natural units (a ratio of 2 is 2)."""

    low: float = -math.inf
    high: float = math.inf

    def says(self) -> str:
        if math.isinf(self.low):
            return f"below {self.high:.3g}"
        return f"above {self.low:.3g}" if math.isinf(self.high) else f"between {self.low:.3g} and {self.high:.3g}"


@dataclass(frozen=True)
class Comparison:
    """A number per seed, and where it must lie: a / b (`ratio`), a - b (`difference`) or a itself (`value`).

    decides=False: measured and shown beside the claim, without a say in its verdict.
    """

    what: str
    a: Term
    region: Region
    b: Term | None = None
    scale: Scale = "ratio"
    decides: bool = True

    @property
    def terms(self) -> tuple[Term, ...]:
        return (self.a,) if self.b is None else (self.a, self.b)

    @property
    def paired(self) -> bool:
        """Whether it compares two normalisations: with no effect, its spread over seeds is then symmetric."""
        return self.b is not None and self.a.norm != self.b.norm


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger. It holds in a setting where every deciding comparison lies in its region.

    name: "S1"; statement: in our words; source: the publication and its place; rule: how it is decided, in plain
    words; needs: what has to be run, in plain words; linear: the comparisons in regression settings, where they are
    others; figure: the figure that shows it; task: which settings it is about; lr: only settings of this learning rate;
    untestable: why no measurement of ours can decide it.
    """

    name: str
    statement: str
    source: str
    rule: str
    needs: str
    comparisons: tuple[Comparison, ...] = ()
    linear: tuple[Comparison, ...] = ()
    figure: str | None = None
    task: Task | None = None
    lr: float | None = None
    untestable: str | None = None

    def compared(self, task: Task) -> tuple[Comparison, ...]:
        """What decides it in settings of this kind."""
        return self.linear if task == "regression" and self.linear else self.comparisons


def more(what: str, a: Term, b: Term, than: float = 1.0, *, decides: bool = True) -> Comparison:
    """a / b above `than`."""
    return Comparison(what, a, Region(low=than), b, "ratio", decides)


def less(what: str, a: Term, b: Term, than: float = 1.0, *, decides: bool = True) -> Comparison:
    """a / b below `than`."""
    return Comparison(what, a, Region(high=than), b, "ratio", decides)


def alike(what: str, a: Term, b: Term, factor: float = SIMILAR, *, decides: bool = True) -> Comparison:
    """a / b within `factor` of 1 on either side."""
    return Comparison(what, a, Region(1 / factor, factor), b, "ratio", decides)


def value(what: str, a: Term, *, low: float = -math.inf, high: float = math.inf) -> Comparison:
    """a itself between the two."""
    return Comparison(what, a, Region(low, high), None, "value")
