"""What a claim is: data. What decides it is fixed in a study's folder, before any run is looked at.

The prose of a rule is generated from the data that decide, so that the two cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import pandas as pd

from analysis.decide import DIFFERENCE, RATIO, SEEDS, VALUE, Count, Fraction, Identity, Kind, Region
from analysis.runs import Runs
from analysis.select import Arm, plain, words_of

SIMILAR = 1.5
"""Practical equivalence: "similar", "marginal", "comparable", "almost as fast" are within this factor."""
MUCH = 2.0
""""Much", "far": at least this factor."""
POINT = 0.01
"""The smallest difference of two shares that counts: one point."""


Grid: TypeAlias = Mapping[str, Sequence[Any]]
"""Key -> the values that were run of it, ascending, the same for every arm that is compared."""


class Unanswerable(ValueError):
    """A measure that these runs cannot give, for the reason in the message."""


class NotRun(Unanswerable):
    """A measure for which too little was run."""


class BySeed(Protocol):
    """A number per seed: a `Measure` of single runs, or one `Across` a key, from several runs of a seed."""

    @property
    def name(self) -> str:
        """In a few words, as it stands in a table."""

    @property
    def says(self) -> str:
        """In full, with its window and its average; ends up in the rule."""

    @property
    def metrics(self) -> tuple[tuple[str, str | None], ...]:
        """What must be recorded, as (metric, batch); a batch of None: any."""

    @property
    def free(self) -> tuple[str, ...]:
        """Keys that differ between the runs of one number."""

    @property
    def diverged_count(self) -> bool:
        """Whether a diverged run has a number by the measure's own rule, or is left out and named."""

    def by_seed(self, runs: Runs, grid: Grid | None = None) -> pd.DataFrame:
        """number, low, high by seed: the number as it was read, and the ends between which it is known to lie.

        Both ends are the number where it is known exactly. One that is read off a grid lies above the place of the grid
        before; what was waited for and never came is only a bound, and its other end infinite.

        Args:
            runs: of one arm.
            grid: key -> the values that were run of it, for those that it goes across; None: those of `runs`.

        Raises:
            Ambiguous: several runs of one seed that nothing tells apart.
            Unanswerable: the runs cannot give it.
        """


@dataclass(frozen=True)
class Term:
    """A measure of the runs of one arm."""

    arm: Arm
    measure: BySeed

    @classmethod
    def of(cls, arm: Arm | str, measure: BySeed) -> Term:
        """With the name of a normalisation for its arm."""
        return cls(Arm.norm(arm) if isinstance(arm, str) else arm, measure)


@dataclass(frozen=True)
class Comparison:
    """A number per seed, and where it must lie.

    Args:
        terms: what is compared, as the kind takes it: a and b of a / b or a - b, several such pairs for a composite, a
            alone for a value.
        region: where the number must lie.
        kind: how the terms become one number, and how it is decided.
        decides: False: measured and shown beside the claim, without a say in its verdict.
        about: the settings in which it is asked, by key; empty: all that the claim is about.
        smallest: the smallest effect that counts, a factor or a difference; None: the kind's own.
        form: which of several defensible forms of the same prediction it is, such as "equal loss".
        forms: the other ones; where one of them is decided the other way round, it depends on the rule.
        on_published: the number on the published curve; None: there is none.
    """

    terms: tuple[Term, ...]
    region: Region
    kind: Kind = RATIO
    decides: bool = True
    about: Mapping[str, Any] = field(default_factory=dict)
    smallest: float | None = None
    form: str = ""
    forms: tuple[Comparison, ...] = ()
    on_published: float | None = None

    @property
    def all_terms(self) -> tuple[Term, ...]:
        """Those of its other forms too."""
        return tuple(dict.fromkeys([*self.terms, *(term for form in self.forms for term in form.terms)]))

    @property
    def what(self) -> str:
        """What is compared, in a few words."""
        sign = {"ratio": " / ", "difference": " - "}.get(self.kind.unit, ", ")
        measures = list(dict.fromkeys(term.measure.name for term in self.terms))
        arms = list(dict.fromkeys(term.arm.name for term in self.terms))
        first, last = self.terms[0], self.terms[-1]
        if len(arms) == 1 and len(self.terms) == 2:
            told = f"{first.measure.name}{sign}{last.measure.name}, {arms[0]}"
        elif len(measures) == 1:
            told = f"{measures[0]}, {sign.join(term.arm.name for term in self.terms)}"
        elif len(self.terms) == 2:
            told = f"{first.measure.name} of {first.arm.name}{sign}{last.measure.name} of {last.arm.name}"
        else:
            told = f"{', '.join(measures)} together, {sign.join(arms)}"
        return f"{told} ({self.form})" if self.form else told

    @property
    def predicted(self) -> str:
        """Where it must lie, in words."""
        return self.region.says() + {"ratio": " times", "count": " of the seeds"}.get(self.kind.unit, "")

    @property
    def counts_from(self) -> float | None:
        """The smallest effect that counts, its own or the kind's."""
        return self.kind.smallest if self.smallest is None else self.smallest


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger. It holds in a setting where every deciding comparison lies in its region.

    Args:
        name: short and unique, such as "S1".
        statement: in our words.
        source: the publication and its place.
        comparisons: what decides, and what is shown beside it.
        about: which settings it is about, by key (`task`, `optim.lr`, ...).
        remark: what else there is to know of the rule.
        figure: the figure that shows it.
        experiment: the experiment that runs what it needs.
        untestable: why no measurement of ours can decide it.
        seeds: of a verdict, fixed beforehand; with fewer it leans, or is provisional.
        needs_first: claims that must be supported in the same setting before this one is asked.
        also_predicted_by: explanations that predict the same, so that it tells nothing between them.
        core: whether its explanation cannot do without it.
        intervention: whether what is compared was made to differ in the mechanism itself.
    """

    name: str
    statement: str
    source: str
    comparisons: tuple[Comparison, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""
    figure: str | None = None
    experiment: str | None = None
    untestable: str | None = None
    seeds: int = SEEDS
    needs_first: tuple[str, ...] = ()
    also_predicted_by: tuple[str, ...] = ()
    core: bool = True
    intervention: bool = False

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All that it compares."""
        return tuple(dict.fromkeys(term.arm for comparison in self.comparisons for term in comparison.all_terms))

    @property
    def free(self) -> tuple[str, ...]:
        """Keys that some of its measures go across."""
        found = (key for c in self.comparisons for term in c.all_terms for key in term.measure.free)
        return tuple(dict.fromkeys(found))

    @property
    def rule(self) -> str:
        """How it is decided, in words made from what decides."""
        if self.untestable:
            return f"None: {self.untestable}."
        said = [self._asked(comparison) for comparison in self.comparisons if comparison.decides]
        beside = [comparison.what for comparison in self.comparisons if not comparison.decides]
        told = [f"{'; and '.join(said)}."]
        told += [f"Judged where {conditions(self.about)}."] if self.about else []
        told += [f"Judged only where {' and '.join(self.needs_first)} hold." if self.needs_first else ""]
        told += [f"A verdict needs {self.seeds} seeds."] if self.seeds != SEEDS else []
        told += [f"Judged {says}." for says in dict.fromkeys(c.kind.says for c in self.comparisons if c.decides)]
        told += [f"Shown beside it, without a say: {'; '.join(beside)}."] if beside else []
        told += [f"Also predicted by {' and '.join(self.also_predicted_by)}."] if self.also_predicted_by else []
        told += [self.remark] if self.remark else []
        text = " ".join(filter(None, told))
        return text[0].upper() + text[1:]

    @property
    def needs(self) -> str:
        """What has to be run, in words made from what decides."""
        where = f" where {conditions(self.about)}" if self.about else ""
        return f"runs of {', '.join(arm.name for arm in self.arms)}{where}, {self.seeds} seeds"

    @property
    def command(self) -> str:
        """What would run it; empty where it names no experiment."""
        return f"python -m experiments experiment={self.experiment}" if self.experiment else ""

    def _asked(self, comparison: Comparison) -> str:
        where = f"where {conditions(comparison.about)}, " if comparison.about else ""
        full = [f"{term.measure.name}: {term.measure.says}" for term in comparison.terms]
        told = ["; ".join(dict.fromkeys(full))]
        if (size := comparison.counts_from) is not None and not comparison.region.holds(comparison.kind.none):
            within = f"a factor of {size:g}" if comparison.kind.unit == "ratio" else f"{size:g}"
            told.append(f"no difference within {within}")
        if comparison.forms:
            forms = ", ".join(form.form for form in comparison.forms)
            told.append(f"depends on the rule where {forms} say the opposite")
        return f"{where}{comparison.what}, {comparison.predicted} ({'; '.join(told)})"


def conditions(about: Mapping[str, Any]) -> str:
    """The keys and values of a condition, in words."""
    return " and ".join(f"the {words_of(key)} is {plain(value)}" for key, value in about.items())


# ------------------------------------------------------------------------- makers; `further`: as `Comparison` has them


def more(a: Term, b: Term, than: float = 1.0, **further: Any) -> Comparison:
    """a / b above `than`."""
    return Comparison((a, b), Region(low=than), RATIO, **further)


def less(a: Term, b: Term, than: float = 1.0, **further: Any) -> Comparison:
    """a / b below `than`."""
    return Comparison((a, b), Region(high=than), RATIO, **further)


def alike(a: Term, b: Term, factor: float = SIMILAR, **further: Any) -> Comparison:
    """a / b within `factor` of 1 on either side."""
    return Comparison((a, b), Region(1 / factor, factor), RATIO, **further)


def difference(a: Term, b: Term, *, low: float = -math.inf, high: float = math.inf, **further: Any) -> Comparison:
    """a - b between the two."""
    return Comparison((a, b), Region(low, high), DIFFERENCE, **further)


def value(a: Term, *, low: float = -math.inf, high: float = math.inf, **further: Any) -> Comparison:
    """a itself between the two."""
    return Comparison((a,), Region(low, high), VALUE, **further)


def count(
    a: Term, does: str, level: float, *, low: float = -math.inf, high: float = math.inf, **further: Any
) -> Comparison:
    """The share of seeds that have more than `level` of a, between the two; `does`: what such a seed does."""
    return Comparison((a,), Region(low, high), Count(level, does), **further)


def fraction(
    a: Term, b: Term, c: Term, *, low: float = -math.inf, high: float = math.inf, **further: Any
) -> Comparison:
    """How far a lies on the way from b to c, (a - b) / (c - b), where c lies above b."""
    return Comparison((a, b, c), Region(low, high), Fraction(), **further)


def identity(a: Term, tolerance: float, **further: Any) -> Comparison:
    """An equation whose relative error a must lie below the tolerance in every seed."""
    return Comparison((a,), Region(high=tolerance), Identity(), **further)


def in_forms(make: Callable[[BySeed], Comparison], measures: Mapping[str, BySeed], **further: Any) -> Comparison:
    """The comparison that `make` makes of the first of several forms of a measure; the others are its other forms."""
    first, *others = (replace(make(measure), form=form) for form, measure in measures.items())
    return replace(first, forms=tuple(others), **further)


def composite(comparisons: Sequence[Comparison], **further: Any) -> Comparison:
    """The mean over several comparisons of one kind and region, declared beforehand as one; form by form.

    A conjunction of many parts has no power: of nine parts, each true, it finds 7 % where the composite finds 59 %.
    """
    forms = tuple(composite(several) for several in zip(*(one.forms for one in comparisons), strict=True))
    terms = tuple(term for one in comparisons for term in one.terms)
    return replace(comparisons[0], terms=terms, forms=forms, **further)
