"""All explanations on one page: what each says, what it predicts, what came out where, and what its runs cost.

Made from the studies (STUDY, CLAIMS) and from the ledgers and tables of runs that `results/` keeps, one folder for each
thing that was run: `python -m analysis studies` writes `docs/studies.md` and `docs/pictures/scoreboard.png`. The same
data give the same page; a test says when it is out of date.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pandas as pd

from analysis import forest
from analysis.errors import WrongInput
from analysis.scoreboard import MARKS, short
from analysis.studies import Study

NEEDED = ("claim", "setting", "verdict", "decides", "line", "seeds", "seeds_are", "reason")
"""Columns of a ledger; one without them is by the rules of before kinds of measure, and only named."""
CONFIRMING = "confirmatory"


@dataclass(frozen=True)
class Told:
    """What a ledger says of one claim in one setting.

    Attributes:
        word, standing: as of `analysis.ledger.Verdict`.
        lines: of its deciding comparisons, each in words.
        folder: of the results, in which it stands.
    """

    claim: str
    setting: str
    word: str
    standing: str
    lines: tuple[str, ...]
    reason: str
    seeds: int
    kind: str
    folder: str

    @property
    def told(self) -> str:
        """The word with its standing."""
        return f"{self.standing}: {self.word}" if self.standing else self.word


@dataclass(frozen=True)
class Cost:
    """Of an experiment at one size: how many runs are recorded, and the seconds that they took, one after another."""

    runs: int
    seconds: float

    def spelled(self) -> str:
        """`24 runs, 2 min`."""
        return f"{self.runs} run{'s' if self.runs > 1 else ''}, {spell(self.seconds)}"


@dataclass(frozen=True)
class Results:
    """What the folders of results hold.

    Attributes:
        told: verdicts, in the order of the ledgers.
        older: folders whose ledgers are by older rules, with the claims that these judged.
        costs: by experiment and size.
    """

    told: tuple[Told, ...] = ()
    older: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    costs: Mapping[tuple[str, str], Cost] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """All ledgers and tables of runs below `folder`, one level deep. WrongInput: there is none."""
        ledgers = sorted(folder.glob("*/ledger.csv"))
        if not ledgers:
            raise WrongInput(f"{folder}: no ledgers there; give the folder that holds */ledger.csv")
        told: list[Told] = []
        older = {}
        for path in ledgers:
            table = pd.read_csv(path, keep_default_na=False, dtype=str)
            if set(NEEDED) <= set(table.columns):
                told += _told(table, path.parent.name)
            else:
                judged = table["claim"][table["verdict"].ne("not run") & table["verdict"].ne("not testable")]
                older[path.parent.name] = tuple(dict.fromkeys(judged))
        tables = [pd.read_csv(path, dtype=str) for path in sorted(folder.glob("*/runs.csv"))]
        return cls(tuple(told), older, _costs(tables))

    def of(self, study: Study) -> list[Told]:
        """The verdicts of a study's claims, claim by claim."""
        places = {claim.name: place for place, claim in enumerate(study.claims)}
        own = [told for told in self.told if told.claim in places]
        return sorted(own, key=lambda told: (places[told.claim], told.folder, told.setting))


def _told(table: pd.DataFrame, folder: str) -> list[Told]:
    judged = table[~table["verdict"].isin(["not run", "not testable"])]
    found = []
    for (claim, setting), rows in judged.groupby(["claim", "setting"], sort=False):
        first, deciding = rows.iloc[0], rows[rows["decides"] == "True"]
        standing, _, word = first["verdict"].rpartition(": ")
        seeds = [int(float(number)) for number in deciding["seeds"] if number]
        lines = tuple(line for line in deciding["line"] if line)
        least = min(seeds, default=0)
        told = Told(str(claim), str(setting), word, standing, lines, first["reason"], least, first["seeds_are"], folder)
        found.append(told)
    return found


def _costs(tables: Iterable[pd.DataFrame]) -> dict[tuple[str, str], Cost]:
    """By experiment and size, from the commands and the times that the tables of runs give; a run counts once."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for table in tables:
        for run, started, ended, command in zip(
            table["run"], table["started"], table["ended"], table["command"], strict=True
        ):
            experiment = re.search(r"experiment=(\S+)", str(command))
            if experiment is None or not isinstance(started, str) or not isinstance(ended, str):
                continue
            size = re.search(r"scale=(\w+)", command)
            seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
            found.setdefault((experiment[1], size[1] if size else "demo"), {})[run] = seconds
    return {key: Cost(len(runs), sum(runs.values())) for key, runs in found.items()}


def spell(seconds: float) -> str:
    """A duration in words, of two digits."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}" if seconds < 100 * length else f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


# ----------------------------------------------------------------------------------------------------------------- page


def page(found: Sequence[Study], results: Results) -> str:
    """The page, as Markdown."""
    sections = [_section(study, results, heading(study, found)) for study in found]
    return "\n".join([_head(found, results), *sections])


def _head(found: Sequence[Study], results: Results) -> str:
    lines = [
        "# All explanations",
        "",
        "Made by `python -m analysis studies` from the studies' own data and from the ledgers and tables of runs in",
        "[results](../results/README.md); not to be edited. Each verdict speaks of its own setting; how it is reached,",
        "[the report](report.md#verdicts) says. Times are those of the runs that are recorded there, added up, one",
        "thread each; what a size costs on the machine at hand, `dry=true` says.",
        "",
        "![explanations, and how many verdicts of each word they have](pictures/scoreboard.png)",
        "",
        "| explanation | says | " + " | ".join(MARKS[word] for word in COUNTED) + " | not judged |",
        "|---|---|" + "---|" * (len(COUNTED) + 1),
    ]
    for study in found:
        counts = Counter(told.word for told in results.of(study))
        judged = {told.claim for told in results.of(study)}
        left = sum(claim.name not in judged for claim in study.claims)
        own = heading(study, found)
        cells = [f"[{own}](#{anchor(own)})", _cell(study.title)]
        cells += [str(counts[word] or "") for word in COUNTED] + [f"{left} of {len(study.claims)}" if left else ""]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", ", ".join(f"{MARKS[word]} {word}" for word in COUNTED) + "; those that lean are counted with them."]
    if results.older:
        named = ", ".join(f"`{name}`" for name in results.older)
        lines += ["", f"Not listed, since their ledgers are by the rules of before kinds of measure: {named}."]
    return "\n".join([*lines, ""])


COUNTED = tuple(word for word in MARKS if word not in ("not run", "not testable"))


def heading(study: Study, found: Sequence[Study]) -> str:
    """What a study is called on the page: its source in short, with its own name where another has that source too."""
    alone = sum(short(other) == short(study) for other in found) == 1
    return short(study) if alone else f"{short(study)}, {study.name}"


def _section(study: Study, results: Results, head: str) -> str:
    lines = [f"## {head}", "", f"*{study.title}.* {study.source}.", "", study.says, ""]
    lines += [f"**Predicts:** {study.predicts}", ""]
    own = results.of(study)
    if own:
        lines += ["| claim | verdict | setting | what came out | seeds |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(_cell(cell) for cell in _row(told))} |" for told in own]
        lines += [""]
    for claim in study.claims:
        lines.append(f"- **{claim.name}** {claim.statement} ({claim.source})")
        lines += [f"  - *{what.source}:* {what.says}" for what in study.beside_claim(claim.name)]
    judged = {told.claim for told in own}
    left = [claim for claim in study.claims if claim.name not in judged]
    before = {name for names in results.older.values() for name in names}
    for word, names in (
        ("Judged by older rules only", [claim.name for claim in left if claim.name in before]),
        ("Not run", [claim.name for claim in left if not claim.untestable and claim.name not in before]),
        ("Not testable", [claim.name for claim in left if claim.untestable and claim.name not in before]),
    ):
        lines += ["", f"{word}: {', '.join(names)}."] if names else []
    sizes = [
        "demo",
        *(["laptop"] if any((name, "laptop") in results.costs for name in study.experiments) else []),
        "full",
    ]
    lines += ["", f"| to run | {' | '.join(sizes)} |", "|---" * (len(sizes) + 1) + "|"] if study.experiments else []
    for name in study.experiments:
        costs = [results.costs.get((name, size)) for size in sizes]
        told = [cost.spelled() if cost else "not recorded" for cost in costs]
        lines.append(f"| `python -m experiments experiment={name}` | {' | '.join(told)} |")
    return "\n".join([*lines, ""])


def _row(told: Told) -> list[str]:
    said = "; ".join(told.lines) or told.reason
    seeds = f"{forest.seeds(told.seeds, told.seeds)}{', ' if told.kind else ''}{told.kind}" if told.seeds else ""
    return [told.claim, f"{MARKS[told.word]} {told.told}", told.setting, said, f"{seeds} (`{told.folder}`)"]


def _cell(text: str) -> str:
    """Text within a table: no bar of its own, no line break."""
    return " ".join(text.split()).replace("|", "\\|")


def anchor(heading: str) -> str:
    """How a heading is linked."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
