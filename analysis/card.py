"""The report card: questions about one arm, or two side by side, answered yes, no or undecided in each setting."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import asked_for, figures, forest, ledger, select, standard, studies
from analysis.claims import POINT, SIMILAR, BySeed, Claim, Comparison, Term, count, difference, less, more
from analysis.folders import Damaged
from analysis.ledger import Verdict
from analysis.loader import Folders
from analysis.page import Numbers, Pictures, render
from analysis.report import parts_told, pictures_of, seeds_told
from analysis.runs import Runs
from analysis.scoreboard import MARKS, UNJUDGED, told_medians
from analysis.select import NORM, Arm, Setting
from analysis.studies import Study
from analysis.sweep import Sweep

REFERENCES = {"none": "the plain network", "batch": "batch normalisation"}
"""What a normalisation is held against, and how questions name it."""
ANSWERS = {"supported": "yes", "contradicted": "no", "identity holds": "yes", "identity fails": "no"}
_CLASSIFICATION, _REGRESSION = {"task": "classification"}, {"task": "regression"}
_TOLD: dict[str, tuple[BySeed, ...]] = {
    "classification": (standard.ACCURACY, standard.TRAINING_ACCURACY, standard.LOSS),
    "regression": (standard.LOSS, standard.TEST_LOSS),
}
"""What stands beside the answers, by the kind of task."""


@dataclass(frozen=True)
class Question:
    """One question of the card, and the claim that decides it.

    Attributes:
        arms: the one that is asked about, and the one that it is held against, if any.
        between: whether both have the card.
    """

    arms: tuple[Arm, ...]
    claim: Claim
    between: bool = False


def write_card(
    names: str,
    paths: Sequence[Path],
    out: Path,
    *,
    by: Sequence[str] = (),
    found: Sequence[Study] | None = None,
    further_figures: Sequence[Path] = (),
    results_version: int | None = None,
    damaged: Damaged | None = None,
) -> Path:
    """Writes card-NAMES.html and its numbers to the folder `out`; gives the page's absolute path.

    Args:
        names: one arm, or two, separated by a comma, that are shown side by side.
        paths: run folders, or folders of them.
        out: where to.
        by: the keys whose values make the arms; none: the normalisation.
        found: the studies whose figures are shown, and the claims of a user's own (None: the suite's own).
        further_figures: files of a user's own figures.
        results_version: only runs whose results are of this version.
        damaged: takes what is wrong with damaged runs, which are then left out and named; None: they raise.

    Raises:
        WrongInput: no runs of an arm (nearest name given); DamagedFile, OSError.
    """
    found = studies.load() if found is None else found
    figures.refuse_taken(found)
    own = [figures.from_file(file, found) for file in further_figures]
    keys = asked_for.keys_of(by)
    sweep = Sweep.load(paths, results_version, damaged)
    subjects, others = _arms(sweep.runs, names, keys)
    sweep = sweep.only([*subjects, *others])
    asked = questions(subjects, others)
    judged = [(setting, _judged(setting, asked)) for setting in sweep.settings]
    verdicts = [verdict for _, answers in judged for _, verdict in answers]
    answered = {verdict.claim.name for verdict in verdicts}
    left = ledger.judge(sweep.runs, [q.claim for q in asked if q.claim.name not in answered])
    file = "card-" + "-".join(re.sub(r"[^\w.=-]+", "_", arm.name) for arm in subjects)
    numbers = Numbers.beside(out, f"numbers-{file}")
    pictures = Pictures(sweep.runs, numbers)
    # before the problems: arrays may prove damaged when a figure takes them
    drawn = [*pictures.others(own), *(figure for study in found for figure in pictures.of_study(study))]
    further = ledger.judge(sweep.runs, [c for study in found if study.of_user for c in study.claims])
    context = {
        "title": " and ".join(arm.name for arm in subjects),
        "kicker": "Report card" if keys == (NORM,) else f"Report card, by {', '.join(keys)}",
        "lead": sweep.lead(),
        "states": sweep.states,
        "problems": [*sweep.problems(), *_apart(sweep, subjects, others, keys)],
        "marks": MARKS,
        "subjects": [arm.name for arm in subjects],
        "cards": [_card(setting, answers) for setting, answers in judged],
        "unjudged": _unjudged(asked, left),
        "own": [_own(verdict) for verdict in further if verdict.word not in UNJUDGED],
        "ledger_links": numbers.links("ledger", ledger.table([*verdicts, *left, *further])),
        "figures": pictures_of(drawn, []),
        "run_tables": sweep.tables(),
        "run_links": numbers.links("runs", sweep.table()),
    }
    return render("card.html", out.absolute() / f"{file}.html", context)


def answers(names: str, runs: Runs | pd.DataFrame | Folders, by: Sequence[str] = ()) -> pd.DataFrame:
    """The answers of a card as `ledger.table` has them, with a column `answer`.

    Args:
        names, by: as `write_card` takes them.
        runs: run folders, or what was loaded from them.

    Raises:
        WrongInput, DamagedFile: as `write_card`.
    """
    whole = Runs.of(runs)
    asked = questions(*_arms(whole, names, asked_for.keys_of(by)))
    table = ledger.table(ledger.judge(whole, [question.claim for question in asked]))
    return table.assign(answer=table["verdict"].map(answer))


def answer(told: str) -> str:
    """The answer to a verdict with its standing: yes, no, `leans: yes`, undecided, no difference, ..."""
    stands, colon, word = told.rpartition(": ")
    return f"{stands}{colon}{ANSWERS.get(word, word)}"


def _arms(runs: Runs, names: str, keys: Sequence[str]) -> tuple[list[Arm], list[Arm]]:
    """Those that have the card, and those that they are held against."""
    arms = select.arms_by(runs, keys)
    subjects = [asked_for.arm_named(name, arms) for name in asked_for.arm_names(names, arms)]
    return subjects, _others(runs, subjects, arms)


def _others(runs: Runs, subjects: Sequence[Arm], arms: Sequence[Arm]) -> list[Arm]:
    """What the subjects are held against besides each other: normalisations against those that everybody knows."""
    rest = [arm for arm in arms if arm not in subjects]
    if subjects[0].keys == (NORM,):
        return [arm for arm in rest if arm.name in REFERENCES]
    if len(subjects) > 1:
        return []
    together = {name for one in select.settings(runs, arms) if subjects[0].name in one.names for name in one.names}
    return [arm for arm in rest if arm.name in together] or rest


# ------------------------------------------------------------------------------------------------------------ questions


def questions(subjects: Sequence[Arm], others: Sequence[Arm]) -> list[Question]:
    """What a card asks, as claims C1, C2, ...: of each subject, against every other arm and the other subject."""
    asked: list[Question] = []

    def ask(arms: tuple[Arm, ...], statement: str, comparisons: Sequence[Comparison], figure: str) -> None:
        source = " against ".join(arm.name for arm in arms)
        claim = Claim(f"C{len(asked) + 1}", statement, source, tuple(comparisons), figure=figure)
        asked.append(Question(arms, claim, len(arms) > 1 and set(arms) <= set(subjects)))

    for arm in subjects:
        ask(
            (arm,),
            "Does it train at all?",
            [count(Term(arm, standard.LEARNT), "trains", 0.5, low=0.5)],
            "training_curves",
        )
    for other in others:
        for arm in subjects:
            _against(arm, other, ask)
    if len(subjects) == 2:
        _against(subjects[0], subjects[1], ask)
    return asked


def _against(arm: Arm, other: Arm, ask: Any) -> None:
    """Against the plain network better is asked for, against what is known to work as good."""
    than, by, told = (1.0, 0.0, ("faster than", "better than", "smoother than"))
    if other == Arm.norm("batch"):
        than, by, told = (1 / SIMILAR, -POINT, ("as fast as", "as well as", "as smooth as"))
    name = REFERENCES.get(other.name, other.name) if other.keys == (NORM,) else other.name
    faster, better, smoother = told
    ask(
        (arm, other),
        f"Does it train {faster} {name}?",
        [
            more(Term(other, standard.SPEED), Term(arm, standard.SPEED), than, about=_CLASSIFICATION),
            more(Term(other, standard.LOSS), Term(arm, standard.LOSS), than, about=_REGRESSION),
        ],
        "training_curves",
    )
    ask(
        (arm, other),
        f"Does it test {better} {name}?",
        [
            difference(
                Term(arm, standard.ACCURACY),
                Term(other, standard.ACCURACY),
                low=by,
                about=_CLASSIFICATION,
                smallest=POINT,
            ),
            more(Term(other, standard.TEST_LOSS), Term(arm, standard.TEST_LOSS), than, about=_REGRESSION),
        ],
        "training_curves",
    )
    ask(
        (arm, other),
        f"Is its landscape along the gradient {smoother} that of {name}?",
        [
            more(Term(other, measure), Term(arm, measure), than, about=about)
            for grid, about in ((standard.smoothness(), _CLASSIFICATION), (standard.smoothness(grid=None), _REGRESSION))
            for measure in grid
        ],
        "",
    )
    ask(
        (arm, other),
        f"Is its internal covariate shift smaller than that of {name}?",
        [
            *(less(Term(arm, measure), Term(other, measure)) for measure in (standard.SHIFT, standard.ICS_L2)),
            difference(Term(arm, standard.ICS_COSINE), Term(other, standard.ICS_COSINE), low=0.0, smallest=0.1),
        ],
        "",
    )


# -------------------------------------------------------------------------------------------------------------- answers


def _judged(setting: Setting, asked: Sequence[Question]) -> list[tuple[Question, Verdict]]:
    """The answers in one setting. A finer setting within it, which only some of its arms have, keeps its own label."""
    found = []
    for question in asked:
        own = [v for v in ledger.judge(setting.runs, [question.claim]) if v.word not in UNJUDGED]
        found += [(question, replace(v, setting=setting.label) if len(own) == 1 else v) for v in own]
    return found


def _card(setting: Setting, judged: Sequence[tuple[Question, Verdict]]) -> dict[str, Any]:
    """The answers in one setting, and the accuracies or losses of its arms."""
    told = _TOLD.get(setting.task or "", ())
    columns = [told_medians(setting, measure) for measure in told]
    numbers = {name: [own[name] for _, own in columns] for name in setting.names}
    what = told[0].name if told else ""
    return {
        "setting": setting.label,
        "columns": [title for title, _ in columns],
        "arms": [
            {"name": name, "seeds": forest.seeds(count, count), "numbers": numbers[name]}
            for name, count in setting.counts.items()
        ],
        "rows": [
            _answer(question, verdict, what, {arm.name: numbers[arm.name] for arm in question.arms})
            for question, verdict in judged
        ],
    }


def _answer(question: Question, verdict: Verdict, what: str, numbers: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    parts = [part for part in verdict.parts if part.comparison.decides]
    subject = question.arms[0].name
    compared = {part.comparison.terms[0].measure.name: forest.medians(part, subject) for part in parts}
    beside = ", ".join(f"{name} {own[0]}" for name, own in numbers.items() if own)
    return {
        "id": f"{verdict.claim.name}",
        "subject": subject,
        "between": question.between,
        "question": verdict.claim.statement,
        "answer": answer(verdict.told),
        "word": verdict.word,
        "beside": f"{what}: {beside}" if beside and what not in compared else "",
        "compared": [f"{name}: {told}" for name, told in compared.items() if told],
        "seeds": seeds_told(verdict),
        "reason": verdict.reason,
        "rule": verdict.claim.rule,
        "parts": parts_told(verdict.parts),
    }


def _own(verdict: Verdict) -> dict[str, Any]:
    """An answer that a claim of a user's own gives."""
    told = _answer(Question(verdict.claim.arms, verdict.claim), verdict, "", {})
    return {**told, "setting": verdict.setting}


def _unjudged(asked: Sequence[Question], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Questions that nothing here answers, and why."""
    of = {question.claim.name: question for question in asked}
    return [
        {"subject": of[v.claim.name].arms[0].name, "question": v.claim.statement, "reason": v.reason} for v in verdicts
    ]


def _apart(sweep: Sweep, subjects: Sequence[Arm], others: Sequence[Arm], keys: Sequence[str]) -> list[str]:
    """Arms that were run and are nowhere alike, with the command that makes what differs an arm."""
    pairs = [(arm, other) for other in others for arm in subjects]
    pairs += [(subjects[0], subjects[1])] if len(subjects) == 2 else []
    return [told for pair in pairs if (told := select.apart(sweep.runs, pair, by=keys))]
