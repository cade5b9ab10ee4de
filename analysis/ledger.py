"""Claims against records: every claim in every setting where its arms were run and its metrics recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis import decide, seeds, select
from analysis.across import grid_of
from analysis.claims import Claim, Comparison, NotRun, Term, Unanswerable
from analysis.decide import Outcome, Word
from analysis.decide.outcome import Standing
from analysis.measure import fewest_probed, shared_levels
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs
from analysis.select import Ambiguous, Setting
from analysis.usable import usable

_FEW = f"too few probed steps (fewer than {FEWEST_STEPS})"
_OPPOSITE: dict[Word, Word] = {"supported": "contradicted", "contradicted": "supported"}


@dataclass(frozen=True)
class Part:
    """One comparison and what became of it.

    Attributes:
        notes: runs that were left out.
        medians: of each term, over the seeds that count.
        probed: of each term, the fewest probed steps that one of its runs has in the window; None: not of probed steps.
        forms: what became of the other forms of the same prediction.
    """

    comparison: Comparison
    outcome: Outcome
    notes: tuple[str, ...] = ()
    medians: tuple[float, ...] = ()
    probed: tuple[int | None, ...] = ()
    forms: tuple[Part, ...] = ()

    @property
    def reversed_by(self) -> tuple[str, ...]:
        """The forms that say the opposite."""
        opposite = _OPPOSITE.get(self.outcome.word)
        return tuple(part.comparison.form for part in self.forms if part.outcome.word == opposite and opposite)

    @property
    def probed_told(self) -> str:
        """`probed steps in the window, at least: none 18, batch 12`; empty where it is not of probed steps."""
        told: dict[str, int] = {}
        for term, count in zip(self.comparison.terms, self.probed, strict=False):
            if count is not None:
                told[term.arm.name] = min(count, told.get(term.arm.name, count))
        arms = ", ".join(f"{arm} {count}" for arm, count in told.items())
        return f"probed steps in the window, at least: {arms}" if arms else ""

    @property
    def statistics_told(self) -> str:
        """`on the test set by running statistics`, where the comparison is of it; other ones its measure names."""
        metrics = (metric for term in self.comparison.terms for metric in term.measure.metrics)
        return "on the test set by running statistics" if any(batch == "test" for _, batch in metrics) else ""

    @property
    def word(self) -> Word:
        """Of all its forms together."""
        return "depends on the rule" if self.reversed_by else self.outcome.word


@dataclass(frozen=True)
class Verdict:
    """One claim in one setting. `setting` is empty where the claim is judged in none.

    Attributes:
        standing: how far the word is a verdict.
        used: the seeds that have a number in some deciding comparison.
        values: what the setting's runs share, by key.
    """

    claim: Claim
    setting: str
    word: Word
    parts: tuple[Part, ...]
    reason: str
    standing: Standing = ""
    used: tuple[int, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def seeds(self) -> int:
        """The fewest seeds of any deciding comparison."""
        return min((part.outcome.seeds for part in self.parts if part.comparison.decides), default=0)

    @property
    def told(self) -> str:
        """The word with its standing: `leans: supported`."""
        return decide.told(self.word, self.standing)

    @property
    def decided(self) -> bool:
        """Whether it is a verdict, and counts as one."""
        return not self.standing and self.word in ("supported", "contradicted", "no difference")


def judge(runs: Runs, claims: Iterable[Claim]) -> list[Verdict]:
    """Every claim in every setting that has its arms and metrics; where none has, once, as not run.

    Runs that have not ended are named and left out.
    """
    verdicts = [verdict for claim in claims for verdict in _verdicts(claim, runs)]
    words = {(verdict.claim.name, verdict.setting): verdict.word for verdict in verdicts}
    return [_gated(verdict, words) for verdict in verdicts]


def _gated(verdict: Verdict, words: Mapping[tuple[str, str], Word]) -> Verdict:
    """Undecided where a claim that must hold first does not."""
    first = {name: words.get((name, verdict.setting), "not run") for name in verdict.claim.needs_first}
    lacking = [f"{name}, which is {word} here" for name, word in first.items() if word != "supported"]
    if not lacking or verdict.word in ("not run", "not testable"):
        return verdict
    reason = "; ".join(filter(None, [f"asked only where {' and '.join(lacking)}, is supported", verdict.reason]))
    return replace(verdict, word="undecided", reason=reason)


def _verdicts(claim: Claim, runs: Runs) -> list[Verdict]:
    if claim.untestable:
        return [Verdict(claim, "", "not testable", (), claim.untestable)]
    found = select.settings(runs, claim.arms, free=claim.free, about=claim.about)
    verdicts = [_judge(claim, setting) for setting in found]
    judged = [verdict for verdict in verdicts if verdict.word != "not run"]
    if judged:
        return judged
    told = select.apart(runs, claim.arms, claim.free, claim.about)
    reasons = [told] if told else [f"{v.setting}: {v.reason}" for v in verdicts if v.reason]
    reasons = reasons or [f"needs {claim.needs}"]
    return [Verdict(claim, "", "not run", (), "; ".join(dict.fromkeys(reasons)))]


def _judge(claim: Claim, setting: Setting) -> Verdict:
    asked = [c for c in claim.comparisons if all(_has(setting, key, value) for key, value in c.about.items())]
    deciding = [comparison for comparison in asked if comparison.decides]
    arms = list(dict.fromkeys(term.arm.name for comparison in deciding for term in comparison.terms))
    among = seeds.chosen(setting, arms, claim.seeds)
    parts = tuple(_part(comparison, setting, len(deciding), among) for comparison in asked)
    decided = [part for part in parts if part.comparison.decides]
    if not decided:
        return Verdict(claim, setting.label, "not run", parts, "")
    word = decide.whole([_in_all_forms(part) for part in decided])
    reasons = [f"the opposite by {', '.join(part.reversed_by)}" for part in decided if part.reversed_by]
    reasons += [part.outcome.reason for part in decided if part.outcome.word == word]
    found = Verdict(claim, setting.label, word, parts, "", used=tuple(sorted(among)), values=setting.values)
    stands = decide.standing(found.seeds, claim.seeds)
    coming = seeds.still_to_come(setting, arms, among) if stands else set()
    if coming:
        stands = "interim"
        reasons.append(f"seed {', '.join(map(str, sorted(coming)))} still to come")
    return replace(found, standing=stands, reason="; ".join(dict.fromkeys(filter(None, reasons))))


def _in_all_forms(part: Part) -> Outcome:
    return replace(part.outcome, word=part.word, shared=part.outcome.shared and not part.reversed_by)


def _has(setting: Setting, key: str, value: Any) -> bool:
    runs = setting.runs
    return all(select.plain(runs.value(run, key)) == select.plain(value) for run in runs.each.index)


def _part(comparison: Comparison, setting: Setting, together: int, among: set[int]) -> Part:
    found = _compare(comparison, setting, together if comparison.decides else 1, among)
    forms = tuple(_compare(form, setting, 1, among) for form in comparison.forms)
    return replace(found, forms=forms)


def _compare(comparison: Comparison, setting: Setting, together: int, among: set[int]) -> Part:
    missing = [term.arm.name for term in comparison.terms if term.arm.name not in setting.names]
    if missing:
        return Part(comparison, Outcome("not run", reason=f"no runs of {' and '.join(dict.fromkeys(missing))}"))
    for term in comparison.terms:
        own = set(setting.of[term.arm.name])
        for metric, batch in term.measure.metrics:
            if not own & setting.runs.recording(metric, batch):
                said = f"no run of {term.arm.name} records {metric}{f' on the {batch} batch' if batch else ''}"
                return Part(comparison, Outcome("not run", reason=said))
    notes: list[str] = []
    try:
        grid = grid_of(setting.runs, {key: None for term in comparison.terms for key in term.measure.free})
        counted = [_own(term, setting, notes) for term in comparison.terms]
        grid |= shared_levels([(t.measure, own) for t, own in zip(comparison.terms, counted, strict=True)])
        columns = [t.measure.by_seed(own, grid) for t, own in zip(comparison.terms, counted, strict=True)]
    except (Ambiguous, Unanswerable) as error:
        word: Word = "not run" if isinstance(error, NotRun) else "undecided"
        return Part(comparison, Outcome(word, reason=str(error)), tuple(notes))
    columns = [column[column.index.isin(among)] for column in columns]
    notes += _unpaired(comparison, setting, among) if comparison.kind.paired else []
    outcome = comparison.kind.decide(columns, comparison.region, comparison.smallest, together)
    if outcome.without:
        plural = "s" if outcome.without > 1 else ""
        notes.append(f"{outcome.without} seed{plural} without a finite number or with {_FEW}")
    probed = []
    for term, runs, column in zip(comparison.terms, counted, columns, strict=True):
        judged = set(column["number"].dropna().index) or among
        known = runs.only(runs.each.index[runs.each["seed"].isin(judged)])
        probed.append(fewest_probed(term.measure, known, grid))
    medians = _medians(columns, comparison.kind.paired)
    return Part(comparison, outcome, tuple(dict.fromkeys(notes)), medians, tuple(probed))


def _medians(columns: Sequence[pd.DataFrame], paired: bool) -> tuple[float, ...]:
    numbers = pd.concat([column["number"] for column in columns], axis=1, join="inner" if paired else "outer")
    numbers = numbers.dropna() if paired else numbers
    return tuple(float(median) for median in numbers.median()) if len(numbers) else ()


def _own(term: Term, setting: Setting, notes: list[str]) -> Runs:
    """The runs of an arm that count. Raises Ambiguous."""
    name, measure = term.arm.name, term.measure
    key = ("usable", name, measure.diverged_count, measure.metrics)
    own, told = setting.runs.once(key, lambda: usable(setting.own(name), measure, name))
    notes += told
    return own


def _unpaired(comparison: Comparison, setting: Setting, among: set[int]) -> list[str]:
    """Seeds that some of the arms was not run with."""
    names = list(dict.fromkeys(term.arm.name for term in comparison.terms))
    own = {arm: {int(setting.runs.each["seed"][run]) for run in setting.of[arm]} & among for arm in names}
    common = set.intersection(*own.values())
    return [
        f"seed {', '.join(map(str, lacking))} of {arm} has no counterpart, left out"
        for arm, there in own.items()
        if (lacking := sorted(there - common))
    ]


COLUMNS = ["claim", "statement", "source", "setting", "verdict", "reason", "comparison", "form", "measure", "scale"]
COLUMNS += ["region", "smallest", "decides", "outcome", "line", "seeds", "seeds_are", "effect", "interval_low"]
COLUMNS += ["interval_high", "p", "q", "seeds_that_would_decide", "on_published", "each_seed", "probed_steps", "notes"]


def table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """The ledger as numbers: one row per claim, setting and comparison, those of other forms below it."""
    rows = []
    for verdict in verdicts:
        claim = verdict.claim
        common: dict[str, Any] = {"claim": claim.name, "statement": claim.statement, "source": claim.source}
        common |= {"setting": verdict.setting, "verdict": verdict.told, "reason": verdict.reason}
        if not verdict.parts:
            rows.append(common)
        common |= {"seeds_are": seeds.kind_of(verdict.used)}
        for part in verdict.parts:
            rows.append(common | _row(part, part.comparison.decides))
            rows += [common | _row(form, False) for form in part.forms]
    found = pd.DataFrame(rows, columns=COLUMNS)
    deciding = found["decides"].eq(True)
    found.loc[deciding, "q"] = decide.q_values(found.loc[deciding, "p"].to_numpy(dtype=float))
    return found


def _row(part: Part, decides: bool) -> dict[str, Any]:
    o, c = part.outcome, part.comparison
    measures = "; ".join(dict.fromkeys(term.measure.says for term in c.terms))
    return {
        "comparison": c.what,
        "form": c.form,
        "measure": measures,
        "scale": c.kind.unit,
        "region": c.region.says(),
        "smallest": c.counts_from,
        "decides": decides,
        "outcome": o.word,
        "line": line(part),
        "seeds": o.seeds,
        "effect": o.effect,
        "interval_low": o.low,
        "interval_high": o.high,
        "p": o.p,
        "seeds_that_would_decide": o.enough or None,
        "on_published": c.on_published,
        "each_seed": " ".join(f"{x:.6g}" for x in o.each),
        "probed_steps": part.probed_told.rpartition(": ")[2],
        "notes": "; ".join(filter(None, (o.reason, part.statistics_told, *part.notes))),
    }


_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def line(part: Part) -> str:
    """`||G - G'||: batch 140 times none (predicted: above 0.667 times), six of six seeds`; empty without a number."""
    c, o = part.comparison, part.outcome
    if not o.seeds or np.isnan(o.effect):
        return ""
    measures, arms = [term.measure.name for term in c.terms], [term.arm.name for term in c.terms]
    told = f"{c.kind.line(measures, arms, o)} (predicted: {c.predicted}{f'; {c.form}' if c.form else ''})"
    here = "" if ("accuracy", "test") not in c.terms[0].measure.metrics else ", on these images"
    if c.kind.unit == "count" or len(o.each) != o.seeds:
        return f"{told}{here}"
    held = sum(c.region.holds(number) for number in o.each)
    count = "none" if not held else _number(held)
    return f"{told}, {count} of {_number(o.seeds)} seed{'s' if o.seeds > 1 else ''}{here}"


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)
