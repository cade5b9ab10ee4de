"""The README and every page of docs/: each line that is shown is tried, links lead somewhere, tables are whole."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import experiments
from analysis import studies
from analysis.__main__ import _parser
from experiments.evaluations import PARTS
from experiments.runs import run as running
from tests.pages import PAGES, README, ROOT, blocks, commands, prose, row, table
from tests.readme import mine, small_networks, typed
from tests.runs import small

__all__ = ["mine", "typed"]
CONF = ROOT / "conf"
LANGUAGES = ("", "python", "yaml", "bibtex")
TYPED = [
    pytest.param(command, id=f"{page.stem}: {command}")
    for command, page in {command: page for page in PAGES for command in commands(page)}.items()
]


def tried_as(command: str) -> str:
    """Which kind of line it is: the way in which it is tried."""
    for kind in ("make", "pip install", "python -m experiments", "python -m analysis"):
        if command == kind or command.startswith(f"{kind} "):
            return kind
    return command.partition(" ")[0] if not command.startswith("python -m ") else "module"


def first_of_each(arguments: list[str]) -> list[str]:
    """One run of a sweep: the first of the values of each key."""
    return [a.split(",")[0] if "," in a and not set("[{") & set(a) else a for a in arguments if a != "-m"]


@pytest.mark.parametrize("command", TYPED)
def test_every_line_to_type(
    command: str, mine: Path, typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs compose, options of the analysis are those that it takes, targets and extras are there."""
    kind, words = tried_as(command), shlex.split(command)
    if kind == "python -m experiments":
        arguments = first_of_each(words[3:])
        shown = [] if "--help" in arguments else ["--cfg", "job"]
        assert "optim" in typed(*shown, *arguments, cwd=mine)
    elif kind == "python -m analysis":
        assert callable(_parser().parse_args(words[3:]).command)
    elif kind == "module":
        assert callable(importlib.import_module(words[2]).main)
    elif kind == "make":
        assert set(words[1:]) <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    elif kind == "pip install":
        extras = re.findall(r"\.\[(\w+)\]", command)
        assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text() for extra in extras)
        constraints = [words[i + 1] for i, word in enumerate(words) if word == "-c"]
        assert all((ROOT / path).is_file() for path in constraints)
    else:
        pytest.fail(f"nothing here tries lines as {command!r}")


TRAINED = [
    pytest.param(command, id=command)
    for page in PAGES
    if page.stem in ("running", "optimisers", "probes")
    for command in commands(page)
    if tried_as(command) == "python -m experiments" and "--help" not in command and "experiment=" not in command
    if not any(part in command for part in ("$(", "norms_file", "probe_again", "checkpoint.keep", "statistics_file"))
]
"""Those about runs that another line has left are tried in order elsewhere (test_readme)."""


@pytest.mark.long
@pytest.mark.parametrize("command", TRAINED)
def test_what_running_networks_and_their_optimisers_and_probes_shows_trains(
    command: str, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line that is about one run, for two steps, of random images where the data need files."""
    monkeypatch.chdir(mine)
    monkeypatch.setattr(running, "load_data", functools.partial(running.load_data, stand_in=True))
    given = first_of_each(shlex.split(command)[3:])
    given = [a for a in given if not a.startswith("steps=") or a == "steps=0"]
    given += ["steps=2"] * ("steps=0" not in given)
    given += ["probes.every=2"] * (not any(a.startswith("probes.every") for a in given))
    given += ["evaluation.every=1", "data.test_subset=40"]
    given += ["data.subset=256"] * (not any(a.startswith("data.order") for a in given))
    given += ["model.width=0.25"] * (not any(a.startswith("model=") for a in given))
    outcome = experiments.run(experiments.compose([a for a in given if a != "dry=true"]))
    assert outcome.state == "finished"


LONG = ("probes",)
"""Pages whose Python takes the better part of a minute."""
IN_ORDER = [pytest.param(page, id=page.stem, marks=[pytest.mark.long] * (page.stem in LONG)) for page in PAGES]


@pytest.mark.parametrize("page", IN_ORDER)
def test_a_pages_blocks_in_order(page: Path, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python runs, each block after those before it on the same page, where runs/ has runs; YAML is YAML."""
    if any(block.language == "python" for block in blocks(page)):
        for norm in ("none", "batch"):
            experiments.run(small(mine / "runs" / "demo", f"norm={norm}", "probes=standard", "probes.every=3"))
    monkeypatch.chdir(mine)
    small_networks(monkeypatch)
    monkeypatch.syspath_prepend(mine / "mine")  # a study's own figure asks for `..claims`
    namespace: dict[str, Any] = {"__name__": "page", "__package__": "steady2026.figures"}
    for number, block in enumerate(blocks(page)):
        assert block.language in LANGUAGES, "nothing here tries such a block"
        if block.language == "python":
            exec(compile(block.text, f"{page.name}, block {number}", "exec"), namespace)
        elif block.language == "yaml":
            assert yaml.safe_load(block.text)
    for name in [name for name in sys.modules if name.partition(".")[0] == "steady2026"]:
        del sys.modules[name]


def test_no_fence_is_left_open() -> None:
    for page in PAGES:
        assert page.read_text().count("```") % 2 == 0, page.name
        assert "```" not in prose(page), page.name


def test_the_readme_fits_and_names_every_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    listed = {cells[0] for cells in table("page")}
    for page in PAGES[1:]:
        assert any(f"(docs/{page.name})" in cell for cell in listed), f"{page.name} is not in the README's list"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "results" / "README.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if target.startswith("https://"):
            continue
        path, _, place = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if place:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert place in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs" / "pictures").glob("*"):
        assert picture.suffix == ".png"
        assert picture.stat().st_size < 150_000, picture.name


def test_the_paper_is_cited_as_the_citation_file_has_it() -> None:
    (entry,) = [block.text for block in blocks(README) if block.language == "bibtex"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"][0]
    assert cited["title"] in entry
    assert str(cited["year"]) in entry
    assert all(f"{author['family-names']}, {author['given-names']}" in entry for author in cited["authors"])
    number = cited["identifiers"][0]["value"]
    assert number in entry
    assert f"https://arxiv.org/abs/{number.removeprefix('arXiv:')}" in README.read_text()


# --------------------------------------------------------------------------------------------------------------- tables


def test_every_choice_is_named() -> None:
    for group in ("model", "norm", "data", "optim", "probes", "numerics", "launcher", "mirror"):
        own = row(f"| `{group}=`")
        for file in (CONF / group).glob("*.yaml"):
            if not file.stem.startswith("vgg_") or file.stem == "vgg_small":
                assert file.stem in own, f"{group}={file.stem} is not in the table"
    for part, registry in PARTS.items():
        own = row(f"| `{part}` | `")
        assert all(f"`{name}`" in own for name in registry.names()), own


def test_every_probe_is_described() -> None:
    described = {cells[0].strip("`") for cells in table("probe")}
    assert described == {file.stem for file in (CONF / "probes").glob("*.yaml")} - {"none", "standard"}


def test_every_study_and_its_experiments_are_named() -> None:
    rows = {cells[0].strip("`"): cells[2] for cells in table("study")}
    assert set(rows) == set(studies.names())
    for study in studies.load():
        for experiment in study.experiments:
            folder, _, name = experiment.partition("/")
            assert (
                f"`{name}`" in rows[study.name]
                or f"`{experiment}`" in rows[study.name]
                or (f"`{folder}/...`" in rows[study.name])
            ), f"{experiment} is not in the table of studies"


def test_every_experiment_of_the_paper_and_every_figure_is_named() -> None:
    rows = table("`experiment=santurkar2018/...`")
    named = {name for cells in rows for name in re.findall(r"`(\w+)`", cells[0])}
    assert named == {file.stem for file in (CONF / "experiment" / "santurkar2018").glob("*.yaml")}
    shown = {int(number) for cells in rows for number in re.findall(r"\d+", cells[2])}
    drawn = {int(m[1]) for name in studies.get("santurkar2018").figures if (m := re.match(r"fig(\d+)", name))}
    assert shown == drawn == {*range(1, 14)} - {7}


def test_every_notebook_is_described() -> None:
    text = (ROOT / "docs" / "notebooks.md").read_text()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"`{notebook.name}`" in text, f"{notebook.name} is not on the page of notebooks"
