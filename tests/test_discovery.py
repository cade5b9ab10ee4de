"""What a name means is found in one way, in our packages and in a user's file or folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from experiments.discovery import Registry, WrongInput, load, member, module_names, source_hash, submodule


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.parametrize("init", [True, False])
def test_a_folder_is_a_package_whose_modules_import_each_other(tmp_path: Path, init: bool) -> None:
    folder = write(tmp_path / "mine", tools="ONE = 1\n", figure="from .tools import ONE\nfrom . import tools\n")
    write(folder, _hidden="", **({"__init__": "TITLE = 'mine'\n"} if init else {}))
    package = load("study", folder)
    assert module_names(package) == ["figure", "tools"]
    figure = submodule(package, "figure")
    assert figure.ONE == 1
    assert figure.tools is submodule(package, "tools")
    assert getattr(package, "TITLE", None) == ("mine" if init else None)
    assert load("study", folder) is package


def test_it_is_imported_once_per_path_and_contents(tmp_path: Path) -> None:
    one = write(tmp_path / "a", mine="VALUE = 1\n") / "mine.py"
    other = write(tmp_path / "b", mine="VALUE = 1\n") / "mine.py"
    first = load("norm.file", one)
    assert load("norm.file", os.path.relpath(one)) is first
    assert load("norm.file", other) is not first  # what lies beside it may differ
    one.write_text("VALUE = 2\n")
    assert load("norm.file", one).VALUE == 2
    assert first.VALUE == 1


def test_a_folders_hash_is_of_all_its_python_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", a="1\n", b="2\n")
    before = source_hash(folder, "study")
    (folder / "notes.txt").write_text("not Python")
    assert source_hash(folder, "study") == before
    (folder / "b.py").write_text("3\n")
    changed = source_hash(folder, "study")
    (folder / "b.py").rename(folder / "c.py")
    assert len({before, changed, source_hash(folder, "study")}) == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("raise SystemExit(3)", "norm.file=X: the file does not import: SystemExit: 3"),
        ("1 +", "norm.file=X: the file does not import: SyntaxError: invalid syntax"),
        ("import nowhere_at_all", "norm.file=X: the file does not import: ModuleNotFoundError: No module named"),
    ],
)
def test_what_a_users_file_raises_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    file = write(tmp_path, broken=text) / "broken.py"
    for _ in range(2):  # and is not taken for imported the second time
        with pytest.raises(WrongInput) as raised:
            load("norm.file=X", file)
        assert str(raised.value).startswith(line)
    assert not [name for name in sys.modules if name.startswith("user_file_broken")]


def test_what_a_users_submodule_raises_is_one_line(tmp_path: Path) -> None:
    package = load("study=mine", write(tmp_path / "mine", claims="1 / 0\n"))
    with pytest.raises(WrongInput, match=r"study=mine: claims\.py does not import: ZeroDivisionError: "):
        submodule(package, "claims", "study=mine")


def test_wrong_paths_and_names_are_told(tmp_path: Path) -> None:
    file = write(tmp_path, mine="class Median: ...\n") / "mine.py"
    with pytest.raises(WrongInput, match=r"norm.file=nowhere: cannot be read \(No such file or directory\); give its"):
        load("norm.file=nowhere", tmp_path / "nowhere")
    with pytest.raises(WrongInput, match=r"k: not a Python file \(its name must end in \.py\)"):
        load("k", file.rename(tmp_path / "mine.txt"))
    module = load("k", (tmp_path / "mine.txt").rename(file))
    assert member("norm.name", "Median", module, file) is module.Median
    with pytest.raises(WrongInput, match=r"norm.name=Medain: not in .*mine\.py; did you mean 'Median'"):
        member("norm.name", "Medain", module, file)


def test_a_registry_takes_a_folder_too_and_suggests(tmp_path: Path) -> None:
    norms = Registry("norm", "experiments.norms")
    write(tmp_path / "mine", __init__="from .parts import Median\n", parts="class Median: ...\n")
    assert norms.get("Median", tmp_path / "mine").__name__ == "Median"
    with pytest.raises(WrongInput, match=r"norm\.name=Mean: not in .*mine; did you mean 'Median'"):
        norms.get("Mean", tmp_path / "mine")
    by_file = Registry("own", "experiments.norms", lambda module: getattr(module, "batch", None))
    assert "batch" in by_file.names()
    with pytest.raises(WrongInput, match=r"use\.x.name=batsh: unknown own; did you mean 'batch'"):
        by_file.get("batsh", key="use.x")
