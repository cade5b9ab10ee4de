"""The first screen of the report: what the runs say of each explanation, and how sure that is, worked out by rule.

Certainty is apart from direction (after GRADE). It starts *high* only for an intervention at the published scale with
six seeds that were not looked at before, else *moderate*; it goes one step down for each of: more than a third
undecided, settings of opposite sign, another scale or other data, dependence on the rule, seeds seen before; and one up
where the effect is more than four times in every setting. Nothing here ranks explanations by counts.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import decide, forest, seeds, standard
from analysis.claims import BySeed
from analysis.ledger import Part, Verdict
from analysis.measures import Levels
from analysis.select import Ambiguous, Setting, plain
from analysis.studies import Study
from analysis.usable import usable

MARKS: dict[str, str] = {
    "supported": "✓",
    "contradicted": "✗",
    "no difference": "=",
    "mixed": "±",
    "depends on the rule": "⇄",
    "undecided": "?",
    "identity holds": "≡",
    "identity fails": "≢",
    "not run": "–",
    "not testable": "∅",
}
UNJUDGED = ("not run", "not testable")
LEVELS = ("very low", "low", "moderate", "high")
LARGE = 4.0
"""An effect beyond it, in every setting, makes more certain."""
MOST_SETTINGS = 4
"""That have a column each."""
MOST_UNDECIDED = 1 / 3
"""Share of core predictions beyond which it is less certain."""


@dataclass(frozen=True)
class Standing:
    """What the core predictions of one explanation came to.

    Attributes:
        verdicts: of its core predictions, one for each claim and setting.
        certainty: one of LEVELS; empty where nothing was judged.
        reasons: of the certainty, in words.
    """

    study: Study
    verdicts: tuple[Verdict, ...]
    certainty: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def settings(self) -> list[str]:
        return list(dict.fromkeys(verdict.setting for verdict in self.verdicts))

    def count(self, word: str) -> int:
        """How many are so; leanings and interim words are undecided."""
        return sum(_outcome(verdict) == word for verdict in self.verdicts)

    def _named(self, word: str, one: str = "", many: str = "") -> str:
        """How many are so, and which claims these are: `2 (S3, S9)`, `none`, `2 are mixed (S3, S9)`."""
        names = dict.fromkeys(verdict.claim.name for verdict in self.verdicts if _outcome(verdict) == word)
        count = self.count(word)
        said = many if count > 1 else one
        return " ".join(filter(None, (str(count or "none"), said, f"({', '.join(names)})" if names else "")))

    @property
    def effects(self) -> tuple[float, float]:
        """The least and the greatest of what is compared as a ratio; NaN without one."""
        found = [part.outcome.effect for part in _ratios(self.verdicts)]
        return (min(found), max(found)) if found else (math.nan, math.nan)

    @property
    def robust(self) -> tuple[int, int]:
        """Comparisons that no other form reverses, of those that have other forms."""
        formed = [part for verdict in self.verdicts for part in verdict.parts if part.comparison.decides and part.forms]
        return sum(not part.reversed_by for part in formed), len(formed)

    @property
    def interventions(self) -> int:
        """Core predictions judged on what was made to differ in the mechanism itself."""
        return len({verdict.claim.name for verdict in self.verdicts if verdict.claim.intervention})

    @property
    def wrong(self) -> int:
        """Verdicts expected wrong from the noise of seeds, at most."""
        return decide.expected_wrong(sum(verdict.decided for verdict in self.verdicts))

    def sentence(self) -> str:
        """What came out, for a person; empty where nothing was judged."""
        if not self.verdicts:
            return ""
        k = len(self.settings)
        told = f"In {'this setting' if k == 1 else f'these {k} settings'} the core predictions of {short(self.study)} "
        told += f"were met in {self._named('supported')}, failed in {self._named('contradicted')}, "
        told += f"showed no difference in {self._named('no difference')}; "
        told += self._named("undecided", "is undecided", "are undecided")
        if self.count("depends on the rule"):
            told += f", {self._named('depends on the rule', 'depends on the rule', 'depend on the rule')}"
        if self.count("mixed"):
            told += f", {self._named('mixed', 'is mixed', 'are mixed')}"
        return f"{told}. Certainty: {self.certainty}{', because ' if self.reasons else ''}{'; '.join(self.reasons)}."


def _outcome(verdict: Verdict) -> str:
    """The word where it is a verdict; a leaning, an interim or a provisional one is undecided so far."""
    word = {"identity holds": "supported", "identity fails": "contradicted"}.get(verdict.word, verdict.word)
    return "undecided" if verdict.standing else word


def _ratios(verdicts: Sequence[Verdict]) -> list[Part]:
    parts = [part for verdict in verdicts for part in verdict.parts]
    return [p for p in parts if p.comparison.decides and p.comparison.kind.unit == "ratio" and p.outcome.effect > 0]


def stand(study: Study, verdicts: Sequence[Verdict]) -> Standing:
    """The standing of a study, from the verdicts of all."""
    names = {claim.name for claim in study.claims if claim.core}
    core = tuple(v for v in verdicts if v.claim.name in names and v.word not in UNJUDGED)
    if not core:
        return Standing(study, ())
    return Standing(study, core, *certainty(study, core))


def certainty(study: Study, core: Sequence[Verdict]) -> tuple[str, tuple[str, ...]]:
    """Certainty and its reasons, by the rule above."""
    at_scale = [verdict for verdict in core if is_published(study, verdict)]
    fresh = [v for v in at_scale if v.claim.intervention and not v.standing and seeds.kind_of(v.used) == "confirmatory"]
    found = Standing(study, tuple(core))
    down = []
    if found.count("undecided") > MOST_UNDECIDED * len(core):
        down.append(f"{found.count('undecided')} of {len(core)} are undecided")
    words: dict[str, set[str]] = {}
    for verdict in core:
        words.setdefault(verdict.claim.name, set()).add(_outcome(verdict))
    if split := sorted(name for name, own in words.items() if {"supported", "contradicted"} <= own):
        down.append(f"settings disagree on {', '.join(split)}")
    if len(at_scale) < len(core):
        down.append("another scale or other data than published")
    if found.count("depends on the rule"):
        down.append(f"{found.count('depends on the rule')} depend on the rule")
    if {seeds.kind_of(verdict.used) for verdict in core} != {"confirmatory"}:
        down.append("seeds seen before")
    ratios = _ratios(core)
    large = bool(ratios) and all(max(p.outcome.effect, 1 / p.outcome.effect) > LARGE for p in ratios)
    level = (3 if fresh else 2) - len(down) + large
    return LEVELS[min(max(level, 0), len(LEVELS) - 1)], (*down, *(["large effects in every setting"] if large else []))


def is_published(study: Study, verdict: Verdict) -> bool:
    """Whether a verdict's setting is one of the publication's own."""
    return any(
        all(plain(verdict.values.get(key)) == plain(value) for key, value in own.items()) for own in study.published
    )


def sentences(found: Sequence[Study], verdicts: Sequence[Verdict], settings: Sequence[Setting]) -> list[str]:
    """The page's title answered: whether it works here, one sentence for each explanation, and one on all verdicts."""
    told = [works(settings), *(stand(study, verdicts).sentence() for study in found)]
    decided = [verdict for verdict in verdicts if verdict.decided]
    so_far = sum(bool(verdict.standing) and verdict.word in ("supported", "contradicted") for verdict in verdicts)
    wrong = decide.expected_wrong(len(decided))
    all_of = f"{len(decided)} words are verdicts, of which at most {wrong} are expected wrong from the noise of seeds; "
    all_of += "they fail together, since arms are shared."
    if len(decided) == 1:
        all_of = "One word is a verdict."
    if not decided:
        all_of = "No word is a verdict yet, since that takes six seeds."
    lean = "One more leans, is" if so_far == 1 else f"{so_far} more lean, are"
    more = f" {lean} provisional or interim." if so_far else ""
    return [*filter(None, told), all_of + more]


def works(settings: Sequence[Setting]) -> str:
    """Whether batch normalisation helps at all in these settings, by steps and test accuracy of the median seed."""
    ratios, points, never = [], [], False
    for setting in settings:
        if {"none", "batch"} <= set(setting.names) and setting.task == "classification":
            steps, accuracy = (
                medians(setting, ("none", "batch"), measure)[0] for measure in (standard.SPEED, standard.ACCURACY)
            )
            ratios += [steps["none"] / steps["batch"]] if steps["batch"] else []
            never |= max(steps["none"], steps["batch"]) >= float(setting.values.get("steps") or math.inf)
            points += [100 * (accuracy["batch"] - accuracy["none"])]
    ratios, points = ([x for x in own if not math.isnan(x)] for own in (ratios, points))
    if not ratios or not points:
        return ""
    here = "In one setting" if len(ratios) == 1 else f"In {len(ratios)} settings"
    longer, more = _range(ratios, _times), sum(x > 1 for x in ratios)
    better, higher = _range(points, _points), sum(x > 0 for x in points)
    told = f"{here} the network without normalisation took {longer} times the steps of batch normalisation to 90 % "
    told += "training accuracy"
    many = len(ratios) > MOST_SETTINGS  # the ends of many say little
    beside = [f"median {_times(statistics.median(ratios))}, more steps in {more}"] if many else []
    beside += ["where one never gets there, its whole length"] if never else []
    told += f" ({'; '.join(beside)})" if beside else ""
    told += f", and batch normalisation tested {better} points higher"
    if len(points) > MOST_SETTINGS:
        of = "" if len(points) == len(ratios) else f" of {len(points)}"
        told += f" (median {_points(statistics.median(points))}, higher in {higher}{of})"
    return f"{told}."


def _range(numbers: Sequence[float], told: Callable[[float], str]) -> str:
    ends = told(min(numbers)), told(max(numbers))
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _times(number: float) -> str:
    return forest.value(float(f"{number:.2g}"))


def _points(number: float) -> str:
    return f"{number:.1f}".replace("-", "−")


def board(
    found: Sequence[Study], verdicts: Sequence[Verdict], settings: Sequence[str], *, together: bool = False
) -> dict[str, Any]:
    """Studies x settings: what was predicted, what came out as counts of words, how sure that is.

    More settings than a page is wide are counted together, or where `together` says so, since each study tells its own
    apart in words of its own; each study's own part of the page has them one by one.
    """
    judged = [verdict for verdict in verdicts if verdict.word not in UNJUDGED]
    columns = list(dict.fromkeys([*settings, *(verdict.setting for verdict in judged)]))
    columns = [column for column in columns if any(verdict.setting == column for verdict in judged)]
    parts = {column: {column} for column in columns}
    if together:
        parts = {"all settings": set(columns)}
    elif len(columns) > MOST_SETTINGS:
        parts = {f"{len(columns)} settings together": set(columns)}
    rows: list[dict[str, Any]] = []
    for study in found:
        own, state = of(study, verdicts), stand(study, verdicts)
        cells = [_counts([verdict for verdict in own if verdict.setting in part]) for part in parts.values()]
        left = len({verdict.claim.name for verdict in own if verdict.word in UNJUDGED})
        low, high = state.effects
        robust, formed = state.robust
        rows.append(
            {"name": study.name, "title": short(study), "predicts": study.predicts, "cells": cells}
            | {"unjudged": left, "claims": len(study.claims), "certainty": state.certainty}
            | {"reasons": "; ".join(state.reasons), "interventions": state.interventions, "wrong": state.wrong}
            | {"effects": "" if math.isnan(low) else f"{forest.number(low, 'ratio')} to {forest.number(high, 'ratio')}"}
            | {"robust": f"{robust} of {formed}" if formed else ""}
        )
    return {"settings": list(parts), "rows": rows}


def short(study: Study) -> str:
    """A study as tables name it: its source up to the year."""
    head = re.match(r".*?\d{4}", study.source)
    return head[0] if head else study.title


def of(study: Study, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of a study's claims."""
    names = {claim.name for claim in study.claims}
    return [verdict for verdict in verdicts if verdict.claim.name in names]


def _counts(verdicts: Sequence[Verdict]) -> dict[str, Any] | None:
    if not verdicts:
        return None
    counts = sorted({verdict.seeds for verdict in verdicts if verdict.seeds})
    few, many = (counts[0], counts[-1]) if counts else (0, 0)
    return {"words": told_words(verdicts), "seeds": forest.seeds(few, many)}


def told_words(verdicts: Sequence[Verdict]) -> list[tuple[str, str, int]]:
    """Word, the word with its standing, and how many; verdicts first."""
    counts = Counter((verdict.word, verdict.told) for verdict in verdicts)
    order = list(MARKS)
    return [(w, told, n) for (w, told), n in sorted(counts.items(), key=lambda i: (order.index(i[0][0]), len(i[0][1])))]


# ------------------------------------------------------------------------------------------------------ arms x numbers

_COLUMNS: dict[str, tuple[BySeed, ...]] = {
    "classification": (
        standard.ACCURACY,
        standard.SPEED,
        standard.smoothness(window=Levels())[2],
        standard.shift(Levels()),
    ),
    "regression": (standard.LOSS, standard.smoothness(grid=None)[2], standard.shift("all")),
}
"""Of each kind of task: how well, how fast, how smooth, how much it shifts."""


def tables(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """For each setting its arms, with final accuracy or loss, steps to 90 %, smoothness and shift, of median seeds."""
    made = []
    for setting in settings:
        measures = _COLUMNS.get(setting.task or "", ())
        columns = [told_medians(setting, measure) for measure in measures]
        rows = [{"name": name, "numbers": [own[name] for _, own in columns]} for name in setting.names]
        if any(any(row["numbers"]) for row in rows):
            made.append({"setting": setting.label, "columns": [title for title, _ in columns], "rows": rows})
    return made


def told_medians(setting: Setting, measure: BySeed) -> tuple[str, dict[str, str]]:
    """What is told, with the number of its seeds, and the medians of all arms; empty without a number."""
    found, common = medians(setting, setting.names, measure)
    told = {arm: "" if math.isnan(number) else forest.value(number) for arm, number in found.items()}
    return f"{measure.name}, {forest.seeds(common, common) or 'no seed that all have'}", told


def medians(setting: Setting, arms: Iterable[str], measure: BySeed) -> tuple[dict[str, float], int]:
    """Of each arm, over the seeds that a verdict would take and that all of them have, and how many these are.

    An arm without any number (not recorded, left out) takes no seed from the others; its median is NaN.
    """
    numbers = {arm: _numbers(setting, arm, measure) for arm in arms}
    counted = {arm: set(own.index) for arm, own in numbers.items() if len(own)}
    common = set.intersection(seeds.chosen(setting, counted, decide.SEEDS), *counted.values())
    return {arm: float(own[own.index.isin(common)].median()) for arm, own in numbers.items()}, len(common)


def _numbers(setting: Setting, arm: str, measure: BySeed) -> pd.Series:
    """By seed, of an arm's runs that count."""
    try:
        return measure.by_seed(usable(setting.own(arm), measure, arm)[0])["number"].dropna()
    except Ambiguous:
        return pd.Series(dtype=float)
