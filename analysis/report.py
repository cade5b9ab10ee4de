"""The report: one HTML page from run folders, that asks nothing of any network, with its numbers as CSV beside it."""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis import claims, figures, forest
from analysis.claims.engine import Verdict
from analysis.figures import Runs
from analysis.style import house
from analysis.sweep import Sweep

MARKS = {"supported": "✓", "contradicted": "✗", "inconclusive": "?", "not run": "–", "not testable": "∅"}
LARGEST_SVG = 400_000  # bytes; a figure of more is drawn as dots
LARGEST_DATA_LINK = 100_000  # bytes of a CSV that travels in the page too
PIXELS_PER_INCH, FEWEST_PER_INCH = 125, 90  # as shown where there is room, and before it scrolls


@dataclass(frozen=True)
class Page:
    """What tells a kind of page from another: the report of all runs, or the card of one normalisation."""

    name: str
    title: str
    kicker: str
    ledger_title: str
    ledger_lead: str


REPORT = Page(
    "report",
    "Why does batch normalisation work?",
    "Report",
    "The ledger of claims",
    "Every published claim, judged by a rule that was fixed before any run was looked at, in each setting apart. The "
    "papers are not always right, and neither is a small demo: a verdict speaks of the runs below and of no others.",
)
HOW = (
    "Each comparison gives one number per seed: two normalisations are paired by seed, so that both saw the same "
    "data in the same order, and ratios are taken as logarithms. A two-sided t-interval over the seeds is held "
    "against a region that was fixed beforehand: inside, the comparison is supported; outside, contradicted; else "
    "inconclusive. With fewer than three seeds it is always inconclusive. “Similar”, “marginal” and “comparable” "
    "mean within a factor of 1.5, “much” and “far” a factor of 2.",
    "The interval's confidence is 96 % for paired comparisons and 99.2 % where one normalisation is held against "
    "a threshold. Measured over 40,000 draws and more without an effect, with three and with five seeds, a paired "
    "comparison then gives a verdict, which is wrong, in 3.9 and 3.8 % of cases for normal, 4.0 and 4.3 % for "
    "uniform, 2.0 and 1.8 % for log-normal spread; a single one in 0.8 and 0.8 % for normal and 3.1 and 4.4 % for "
    "exponential spread. The bootstrap interval, given beside it, would be wrong in 26 and 16 % of cases at these "
    "numbers of seeds, and so decides nothing. A claim of several comparisons is supported where all are, and "
    "contradicted where one is at the level that all share.",
    "A diverged run counts in claims about training by a fixed rule (it never learnt; its accuracy is that of its "
    "untrained network; its loss is infinite) and is left out, and named, in claims about what probes measured. A "
    "median over training needs five probed steps, over a part of it three.",
)


def write_report(
    paths: Sequence[Path],
    out: Path,
    *,
    page: Page = REPORT,
    entries: Sequence[claims.Claim] | None = None,
    further_figures: Sequence[Path] = (),
    norms: Sequence[str] | None = None,
    also: Sequence[str] = (),
    results_version: int | None = None,
) -> Path:
    """Writes the page and its numbers to the folder `out`; gives the page's absolute path.

    entries: the claims (None: the ledger's); norms: only the runs of these normalisations; also: normalisations that
    every figure shows; further_figures: files of a user's own figures.
    Raises WrongInput, DamagedFile, OSError.
    """
    own = [figures.from_file(file) for file in further_figures]  # a wrong file is told before anything is read
    sweep = Sweep.load(paths, norms, results_version)
    runs = Runs.load(sweep.folders, also=also)
    verdicts = claims.judge(runs.table, claims.load() if entries is None else entries, sweep.further)
    numbers = out.absolute() / ("numbers" if page is REPORT else f"numbers-{page.name}")
    numbers.mkdir(parents=True, exist_ok=True)
    keep = _Numbers(numbers)
    known = sorted(figures.names(), key=lambda name: (not name.startswith("fig"), name))  # the papers' own first
    drawn = [_figure(name, figures.get(name), runs, keep) for name in known]
    drawn += [_figure(name, module, runs, keep, own=True) for name, module in own]
    context = {
        **vars(page),
        "title": page.title,
        "lead": sweep.lead(),
        "states": sorted(Counter(sweep.states).items(), key=lambda item: (-item[1], item[0])),
        "problems": [*sweep.problems(), *_unjudged(verdicts)],
        "words": [(word, count) for word in MARKS if (count := sum(v.word == word for v in verdicts))],
        "marks": MARKS,
        "claim_names": list(dict.fromkeys(verdict.claim.name for verdict in verdicts)),
        "overview": _overview(verdicts),
        "claims": _claims(verdicts, {figure["name"]: figure["title"].partition(":")[0] for figure in drawn}),
        "how": HOW,
        "ledger_links": keep.links("ledger", claims.table(verdicts)),
        "figures": drawn,
        "run_tables": sweep.tables(),
        "run_links": keep.links("runs", sweep.table()),
        "foot": "Made by python -m analysis from run folders alone; nothing on this page was fetched from anywhere.",
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, trim_blocks=True
    )
    html = environment.get_template("report.html").render(context)
    return replace(out.absolute() / f"{page.name}.html", lambda path: path.write_text(html, encoding="utf-8"))


def replace(path: Path, save: Callable[[Path], Any]) -> Path:
    """`path`, written whole by `save` or left as it was."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@dataclass(frozen=True)
class _Numbers:
    """The folder of CSV files beside the page."""

    folder: Path

    def links(self, name: str, table: pd.DataFrame) -> Markup:
        """Writes NAME.csv; gives a link to it, and one that holds it where it is small."""
        content = table.to_csv(index=False, na_rep="nan").encode()
        replace(self.folder / f"{name}.csv", lambda path: path.write_bytes(content))
        size = f"{len(content) / 1000:,.0f} kB" if len(content) >= 1000 else f"{len(content)} bytes"
        links = Markup('<a href="{}/{}.csv">{}.csv</a> ({})').format(self.folder.name, name, name, size)
        if len(content) <= LARGEST_DATA_LINK:
            data = base64.b64encode(content).decode()
            links += Markup(' or <a download="{}.csv" href="data:text/csv;base64,{}">from this page itself</a>').format(
                name, data
            )
        return links


# -------------------------------------------------------------------------------------------------------------- figures


def _figure(name: str, module: Any, runs: Runs, keep: _Numbers, *, own: bool = False) -> dict[str, Any]:
    """What the page shows of a figure. A user's own figure that cannot be drawn is told on the page."""
    said = {"name": name, "title": module.TITLE, "caption": module.CAPTION, "expected": module.EXPECTED}
    try:
        data = module.compute(runs)
        with house():
            figure = Figure(layout="constrained")
            module.draw(data, figure)
            figures.lay_out(figure)
            source = _image(figure)
            width, height = (figure.get_size_inches() * PIXELS_PER_INCH).round().astype(int)
    except Exception as error:
        if not own:
            raise
        return {**said, "failed": f"not drawn: {type(error).__name__}: {error}"}
    links = keep.links(name, data.table()) if callable(getattr(data, "table", None)) else ""
    size = {"width": width, "height": height, "least": min(width * FEWEST_PER_INCH // PIXELS_PER_INCH, 600)}
    return {**said, **size, "source": source, "links": links, "alt": f"{module.TITLE}. {module.CAPTION}"}


def _image(figure: Figure) -> str:
    """The figure as a data: address, vectors where they are not too many."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": "batchnorm-suite"})
    kind = "svg+xml"
    if content.tell() > LARGEST_SVG:
        content, kind = io.BytesIO(), "png"
        figure.savefig(content, format="png", dpi=170, metadata={"Software": None})
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


# --------------------------------------------------------------------------------------------------------------- ledger


def _overview(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """One row per setting, one cell per claim; claims without a setting in a last row."""
    names = list(dict.fromkeys(verdict.claim.name for verdict in verdicts))
    rows = []
    settings = sorted({verdict.setting for verdict in verdicts}, key=lambda setting: (not setting, setting))
    for setting in settings:
        words = {verdict.claim.name: verdict.word for verdict in verdicts if verdict.setting == setting}
        cells = [{"claim": name, "word": words[name]} if name in words else None for name in names]
        rows.append({"setting": setting or "nowhere judged", "cells": cells})
    return rows


def _claims(verdicts: Sequence[Verdict], titles: Mapping[str, str]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for verdict in verdicts:
        claim = verdict.claim
        shown = found.setdefault(
            claim.name,
            {
                "name": claim.name,
                "statement": claim.statement,
                "source": claim.source,
                "rule": claim.rule,
                "figure": claim.figure if claim.figure in titles else None,
                "figure_title": titles.get(claim.figure or ""),
                "verdicts": [],
            },
        )
        shown["verdicts"].append(_verdict(verdict))
    return list(found.values())


def _verdict(verdict: Verdict) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for part in verdict.parts:
        outcome, comparison = part.outcome, part.comparison
        parts.append(
            {
                "what": comparison.what,
                "measure": comparison.a.measure.says,
                "decides": comparison.decides,
                "region": forest.region(part),
                "effect": forest.number(outcome.effect, comparison.scale),
                "picture": Markup(forest.picture(part)),
                "seeds": outcome.seeds or "",
                "interval": forest.interval(outcome.low, outcome.high, comparison.scale),
                "bootstrap": forest.interval(outcome.bootstrap_low, outcome.bootstrap_high, comparison.scale),
                "word": outcome.word,
                "notes": "; ".join((*([outcome.reason] if outcome.reason else []), *part.notes)),
            }
        )
    judged = verdict.word not in ("not run", "not testable")
    told = [part for part in parts if part["decides"] and part["effect"] and judged]
    effect = ", ".join(part["effect"] for part in told[:3]) + (" …" if len(told) > 3 else "")
    seeds = f"{verdict.seeds} seed{'s' if verdict.seeds > 1 else ''}" if verdict.seeds else ""
    return {
        "word": verdict.word,
        "setting": verdict.setting,
        "reason": verdict.reason,
        "effect": effect,
        "seeds": seeds,
        "parts": parts,
    }


def _unjudged(verdicts: Sequence[Verdict]) -> list[str]:
    """What would have to be run for the claims that are judged in no setting."""
    words: dict[str, set[str]] = {}
    for verdict in verdicts:
        words.setdefault(verdict.claim.name, set()).add(verdict.word)
    needs = {verdict.claim.name: verdict.claim.needs for verdict in verdicts}
    return [f"{name} is not judged: it needs {needs[name]}" for name, said in words.items() if said == {"not run"}]
