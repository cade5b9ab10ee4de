"""Runs are found at and below any folder: by links too, each once, and never in a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

import experiments
from analysis.errors import WrongInput
from analysis.folders import find_runs
from analysis.status import show
from tests.runs import small


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("demo/one", "demo/two", "deep/er/three"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    inner = tmp_path / "runs" / "demo" / "one" / "kept"
    inner.mkdir()
    (inner / "config.json").write_text("{}")  # what a run holds is no run
    hidden = tmp_path / "runs" / ".trash" / "four"
    hidden.mkdir(parents=True)
    (hidden / "config.json").write_text("{}")
    return tmp_path / "runs"


def test_runs_are_found_below_any_folder_each_once(runs: Path, tmp_path: Path) -> None:
    assert [path.name for path in find_runs(runs)] == ["one", "three", "two"]
    (runs / "deep" / "round").symlink_to(runs)  # a cycle
    (runs / "again").symlink_to(runs / "demo")
    (runs / "demo" / "gone").symlink_to(tmp_path / "nowhere")
    found = find_runs(runs)
    assert [path.name for path in found] == ["one", "three", "two"]
    assert len({path.resolve() for path in found}) == 3
    assert [path.name for path in find_runs(runs / "again")] == ["one", "two"]  # a link that was given is followed
    assert [path.name for path in find_runs([runs / "again", runs / "demo" / "one"])] == ["one", "two"]
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(WrongInput, match="no runs in"):
        find_runs(tmp_path / "empty")


def test_status_of_the_folder_above(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = experiments.run(small(tmp_path / "runs" / "demo", "steps=1")).path
    assert show([tmp_path / "runs"]) == 0
    assert path.name in capsys.readouterr().out
