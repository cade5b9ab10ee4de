"""conf -> experiments -> probes; a run folder on disk -> analysis. No arrow back."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"experiments", "probes", "analysis", "notebooks", "conf"}
ALLOWED_ROOMS = {
    "experiments": {"experiments", "probes"},
    "probes": {"probes"},
    "analysis": {"analysis", "experiments"},
}
OPEN_TO_ANALYSIS = {"experiments.runs.format", "experiments.discovery", "experiments.source_keys"}
"""What the analysis may know of experiments: how a run folder is laid out, how a user's files are found, and which
options are their paths."""
ALLOWED_PACKAGES = {
    "probes": {"torch"},
    "analysis": {"numpy", "pandas", "scipy", "matplotlib", "pyarrow", "xarray", "jinja2", "markupsafe", "rich", "PIL"},
}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the arrows"
            found.add((node.module or "").split(".")[0])
    return found


def imports_by_name(file: Path) -> set[str]:
    """Rooms that are imported by a name in a string, which no import statement shows."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in {"import_module", "__import__", "find_spec", "resolve_name"}:
                texts = [
                    part for argument in node.args for part in ast.walk(argument) if isinstance(part, ast.Constant)
                ]
                found |= {text.value.split(".")[0] for text in texts if isinstance(text.value, str)} & ROOMS
    return found


@pytest.mark.parametrize("room", list(ALLOWED_ROOMS))
def test_no_room_imports_against_the_arrows(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        named = imports(file)
        assert (named & ROOMS) | imports_by_name(file) <= ALLOWED_ROOMS[room], file
        if room in ALLOWED_PACKAGES:
            foreign = named - set(sys.stdlib_module_names) - ROOMS - {"__future__"}
            assert foreign <= ALLOWED_PACKAGES[room], f"{file}: {foreign - ALLOWED_PACKAGES[room]}"


def test_the_analysis_knows_of_experiments_only_the_format_and_the_discovery() -> None:
    for file in sorted((ROOT / "analysis").rglob("*.py")):
        for named in modules_named(file, types_too=True):
            if named.split(".")[0] == "experiments":
                assert named in OPEN_TO_ANALYSIS or named.rpartition(".")[0] in OPEN_TO_ANALYSIS, f"{file}: {named}"


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Nodes of a directed graph that lie on circles or lead to one, once all that lead nowhere are taken away."""
    left = {node: set(targets) for node, targets in arrows.items()}
    while ends := [node for node, targets in left.items() if not targets & left.keys()]:
        for node in ends:
            del left[node]
    return sorted(left)


def modules_named(file: Path, *, types_too: bool = False) -> set[str]:
    """The modules that a file imports, wherever in it, and what it takes of them; for type checkers only if asked."""
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(file.read_text())]
    while nodes:
        node = nodes.pop()
        if not types_too and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        nodes += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("room", list(ALLOWED_ROOMS))
def test_files_and_folders_import_in_no_circle(room: str) -> None:
    files = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in (ROOT / room).rglob("*.py")}
    modules = {name.removesuffix(".__init__"): name for name in files}
    arrows: dict[str, set[str]] = {}
    for name, file in files.items():
        named = {modules.get(n) or modules.get(n.rpartition(".")[0]) for n in modules_named(file)}
        arrows[name] = {target for target in named if target} - {name}
    assert circle(arrows) == []
    for folder in {name.rpartition(".")[0] for name in files}:  # what lies in one folder: its files and its folders
        inside: dict[str, set[str]] = {}
        for name in arrows:
            if name.startswith(f"{folder}."):
                child = name[len(folder) + 1 :].split(".")[0]
                targets = {t[len(folder) + 1 :].split(".")[0] for t in arrows[name] if t.startswith(f"{folder}.")}
                inside.setdefault(child, set()).update(targets - {child})
        assert circle(inside) == [], folder


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


ALL_OF_ANALYSIS = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in sorted((ROOT / "analysis").rglob("*.py"))
    if file.name not in ("__init__.py", "__main__.py")
]


@pytest.mark.parametrize(
    "modules",
    [["experiments"], ["experiments.runs"], sorted(OPEN_TO_ANALYSIS), ["experiments.cli"], ["probes"], ALL_OF_ANALYSIS],
    ids=lambda modules: modules[0],
)
def test_importing_is_quick_because_it_takes_no_torch(modules: list[str]) -> None:
    code = f"import {', '.join(modules)}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_the_instrument_names_no_paper() -> None:
    """What a paper says belongs to its study: neither its authors nor its folder stand in the instrument's files."""
    studies = [folder for folder in (ROOT / "analysis" / "studies").iterdir() if (folder / "__init__.py").exists()]
    authors = {folder.name.rstrip("0123456789").lower() for folder in studies}
    assert authors
    for file in sorted((ROOT / "analysis").rglob("*")):
        if file.suffix in (".py", ".html", ".css") and not any(study in file.parents for study in studies):
            text = file.read_text().lower()
            assert not [author for author in authors if author in text], file


def test_no_file_of_a_room_is_longer_than_350_lines() -> None:
    lengths = {f: len(f.read_text().splitlines()) for room in ALLOWED_ROOMS for f in (ROOT / room).rglob("*.py")}
    assert not {str(file.relative_to(ROOT)): lines for file, lines in lengths.items() if lines > 350}


def test_the_arrows_are_drawn() -> None:
    """Prints which folder imports from which: `python -m pytest -s tests/test_arrows.py -k drawn`."""
    drawn: dict[str, set[str]] = {}
    for room in ALLOWED_ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            here = str(file.parent.relative_to(ROOT))
            for name in modules_named(file):
                parts = name.split(".")
                places = (ROOT.joinpath(*parts[:end]) for end in range(len(parts), 0, -1))
                there = next((str(p.relative_to(ROOT)) for p in places if p.is_dir() and parts[0] in ROOMS), here)
                drawn.setdefault(here, set()).update({there} - {here})
    for here in sorted(drawn):
        print(f"{here:40} -> {', '.join(sorted(drawn[here])) or 'nothing'}")
    assert drawn["probes"] <= {"probes/engine", "probes/reductions"}
    assert not any(there.startswith("experiments") for there in drawn["analysis/studies"])
    assert {there for here in drawn if here.startswith("experiments") for there in drawn[here]} & {"analysis"} == set()


def test_every_folder_of_the_rooms_is_packaged() -> None:
    """A study or a room that pyproject.toml does not list would be missing where the suite is installed as a wheel."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for room in ALLOWED_ROOMS
        for file in (ROOT / room).rglob("__init__.py")
    }
    assert listed - {"experiments.conf", "hydra_plugins"} == there
