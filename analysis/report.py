"""The report: one page from run folders, study by study; first what came out, then what it came out of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from analysis import figures, forest, ledger, seeds, studies
from analysis.apart import own_runs
from analysis.claims import Claim
from analysis.folders import Damaged
from analysis.ledger import Part, Verdict
from analysis.page import Numbers, Pictures, render
from analysis.scoreboard import MARKS, UNJUDGED, board, of, sentences, short, tables, told_words
from analysis.studies import Study, fix
from analysis.sweep import Sweep

MOST_LINES = 3
"""Lines that a verdict tells; its details have them all."""


def write_report(
    paths: Sequence[Path],
    out: Path,
    *,
    found: Sequence[Study] | None = None,
    further_figures: Sequence[Path] = (),
    results_version: int | None = None,
    damaged: Damaged | None = None,
    light: bool = False,
    apart: bool = False,
) -> Path:
    """Writes report.html, and its numbers to numbers/, in the folder `out`; gives the page's absolute path.

    Args:
        paths: run folders, or folders of them.
        out: where to.
        found: the studies (None: the suite's own).
        further_figures: files of a user's own figures.
        results_version: only runs whose results are of this version.
        damaged: takes what is wrong with damaged runs, which are then left out and named; None: they raise.
        light: pictures of dots in few bytes, and neither numbers in the page nor links to those beside it, nor tables
            that are folded away.
        apart: each study is judged by, and drawn from, the runs of its own experiments (`analysis.apart`), one that has
            none by all.

    Raises:
        WrongInput, DamagedFile, OSError.
    """
    found = studies.load() if found is None else found
    figures.refuse_taken(found)
    own = [figures.from_file(file, found) for file in further_figures]  # a wrong file is told before anything is read
    sweep = Sweep.load(paths, results_version, damaged)
    runs_of = {study.name: own_runs(sweep.runs, study) if apart else sweep.runs for study in found}
    if apart:
        verdicts = [verdict for study in found for verdict in ledger.judge(runs_of[study.name], study.claims)]
    else:
        verdicts = ledger.judge(sweep.runs, studies.claims(found))
    numbers = Numbers.beside(out, "numbers", alone=light)
    pictures = Pictures(sweep.runs, numbers, light)
    drawn = {study.name: replace(pictures, runs=runs_of[study.name]).of_study(study) for study in found}
    told = [
        {**_study(study, of(study, verdicts), drawn[study.name]), **_distances(study, drawn[study.name], numbers)}
        for study in found
    ]
    others = pictures.others(own)  # before the problems: arrays may prove damaged when a figure takes them
    context = {
        "title": "Why does batch normalisation work?",
        "kicker": "Report",
        "lead": sweep.lead(),
        "states": sweep.states,
        "problems": sweep.problems(),
        "marks": MARKS,
        "words": told_words(verdicts),
        "sentences": sentences(found, verdicts, sweep.settings),
        "arm_tables": [] if apart else tables(sweep.settings),
        "scoreboard": board(found, verdicts, [setting.label for setting in sweep.settings], together=apart),
        "studies": told,
        "others": pictures_of(others, verdicts),
        "unjudged": [_unjudged(verdict, found) for verdict in verdicts if verdict.word in UNJUDGED],
        "ledger_links": numbers.links("ledger", ledger.table(verdicts)),
        "run_tables": [table for table in sweep.tables() if not (light and table["folded"])],
        "light": light,
        "run_links": numbers.links("runs", sweep.table()),
    }
    return render("report.html", out.absolute() / "report.html", context)


# -------------------------------------------------------------------------------------------------------------- studies


def _study(study: Study, verdicts: Sequence[Verdict], drawn: list[dict[str, Any]]) -> dict[str, Any]:
    judged = [verdict for verdict in verdicts if verdict.word not in UNJUDGED]
    claims = [claim for claim in study.claims if any(verdict.claim.name == claim.name for verdict in judged)]
    return {
        "name": study.name,
        "short": short(study),
        "title": study.title,
        "source": study.source,
        "says": study.says,
        "predicts": study.predicts,
        "commands": [f"python -m experiments experiment={name}" for name in study.experiments],
        "overview": _overview(claims, judged),
        "claim_names": [claim.name for claim in claims],
        "claims": _claims(study, claims, judged, {f["name"]: f["title"] for f in drawn if not f["empty"]}),
        "unjudged": [claim.name for claim in study.claims if claim not in claims],
        "figures": pictures_of(drawn, verdicts),
    }


def _distances(study: Study, drawn: Iterable[Mapping[str, Any]], numbers: Numbers) -> dict[str, Any]:
    """How far our curves lie from the published ones: stated for every panel that has some, and never tuned to."""
    rows = [{"figure": figure["title"].partition(":")[0], **row} for figure in drawn for row in figure["beside"]]
    if not rows:
        return {"distances": [], "distance_links": ""}
    told = [
        [
            f"{row['figure']}, {row['panel']}",
            row["setting"],
            f"{row['norm']} {row['end']}".strip(),
            forest.number(10 ** row["typical"], "ratio") if row["log"] else forest.number(row["typical"], "difference"),
            f"{100 * row['within']:.0f} % of {row['points']}" if row["points"] else "none covered",
        ]
        for row in rows
    ]
    columns = [
        "panel",
        "setting",
        "curve",
        "median of ours / published (×), or of ours − published",
        "published points within our seeds",
    ]
    title = "Distances from the published curves"
    table = {"title": title, "columns": columns, "rows": told, "folded": True}
    return {"distances": [table], "distance_links": numbers.links(f"{study.name}-distances", pd.DataFrame(rows))}


def _overview(claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """One row per setting, one cell per claim."""
    rows = []
    for setting in sorted({verdict.setting for verdict in verdicts}):
        own = {verdict.claim.name: verdict for verdict in verdicts if verdict.setting == setting}
        cells = [
            {"claim": c.name, "word": own[c.name].word, "told": own[c.name].told, "shared": bool(c.also_predicted_by)}
            if c.name in own
            else None
            for c in claims
        ]
        rows.append({"setting": setting, "cells": cells})
    return rows


def pictures_of(drawn: Iterable[dict[str, Any]], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Figures with the claims that name them, and those that are left out, since nothing is recorded for them."""
    shown: list[dict[str, Any]] = []
    empty: list[dict[str, Any]] = []
    for figure in drawn:
        named = [verdict for verdict in verdicts if verdict.claim.figure == figure["name"]]
        marks: dict[str, dict[str, Any]] = {}
        for verdict in named:
            claim = verdict.claim
            marks.setdefault(claim.name, {"name": claim.name, "statement": claim.statement, "marks": []})
            marks[claim.name]["marks"].append({"word": verdict.word, "told": verdict.told, "setting": verdict.setting})
        (empty if figure["empty"] else shown).append({**figure, "claims": list(marks.values())})
    return {"shown": shown, "empty": empty}


def _claims(
    study: Study, claims: Sequence[Claim], verdicts: Sequence[Verdict], titles: Mapping[str, str]
) -> list[dict[str, Any]]:
    rules = fix.fixed(study) if study.package else {}
    return [
        {
            "name": claim.name,
            "statement": claim.statement,
            "source": claim.source,
            "rule": claim.rule,
            "fixed": _fixed(rules.get(claim.name, {})),
            "shared": ", ".join(claim.also_predicted_by),
            "beside": study.beside_claim(claim.name),
            "figure": claim.figure if claim.figure in titles else None,
            "figure_title": titles.get(claim.figure or "", "").partition(":")[0],
            "verdicts": [verdict_told(verdict) for verdict in verdicts if verdict.claim.name == claim.name],
        }
        for claim in claims
    ]


def _fixed(entry: Mapping[str, str]) -> str:
    """`beforehand on 2026-11-28, changed on ..., sha256 ab12cd34`: when a rule was fixed, as it was written down."""
    if not entry:
        return "beforehand"
    changed = f", changed on {entry['changed']}" if "changed" in entry else ""
    return f"on {entry['fixed']}{changed}, sha256 {entry['sha256'][:8]}"


def _unjudged(verdict: Verdict, found: Sequence[Study]) -> dict[str, Any]:
    claim = verdict.claim
    beside = [what for study in found if claim in study.claims for what in study.beside_claim(claim.name)]
    return {
        "name": claim.name,
        "word": verdict.word,
        "statement": claim.statement,
        "source": claim.source,
        "beside": beside,
        "reason": verdict.reason,
        "rule": "" if claim.untestable else claim.rule,
        "command": "" if claim.untestable else claim.command,
        "needs": "" if claim.untestable or claim.command or claim.needs in verdict.reason else claim.needs,
    }


def verdict_told(verdict: Verdict) -> dict[str, Any]:
    """A verdict's line and its details."""
    lines = [told for part in verdict.parts if part.comparison.decides and (told := ledger.line(part))]
    more = len(lines) - MOST_LINES
    return {
        "word": verdict.word,
        "told": verdict.told,
        "setting": verdict.setting,
        "reason": verdict.reason,
        "lines": [*lines[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])],
        "seeds": seeds_told(verdict),
        "parts": parts_told(verdict.parts),
    }


def seeds_told(verdict: Verdict) -> str:
    """`six development seeds`: how many, and whether they were looked at while the rules were made."""
    count, kind = verdict.seeds, seeds.kind_of(verdict.used)
    return f"{count} {kind}{' ' if kind else ''}seed{'s' if count > 1 else ''}" if count else ""


def parts_told(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The rows of comparisons in the details, each with its other forms below it."""
    return [row for part in parts for row in (part_told(part), *(part_told(form, False) for form in part.forms))]


def part_told(part: Part, decides: bool = True) -> dict[str, Any]:
    """A comparison's row in the details."""
    outcome, comparison = part.outcome, part.comparison
    return {
        "what": comparison.what,
        "measure": "; ".join(dict.fromkeys(term.measure.says for term in comparison.terms)),
        "decides": comparison.decides and decides,
        "region": comparison.predicted,
        "effect": forest.effect(part),
        "medians": forest.medians(part),
        "picture": Markup(forest.picture(part)),
        "seeds": outcome.seeds or "",
        "interval": forest.interval(outcome.low, outcome.high, comparison.kind.unit),
        "published": "" if (at := comparison.on_published) is None else forest.number(at, comparison.kind.unit),
        "word": outcome.word,
        "notes": "; ".join(filter(None, (outcome.reason, part.probed_told, part.statistics_told, *part.notes))),
    }
