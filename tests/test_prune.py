"""What may be removed is listed with its reason; only what was named is removed, and nothing that somebody has."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import experiments
from experiments.runs.folder import RunFolder
from experiments.runs.identity import RESULTS_VERSION
from experiments.runs.prune import main
from tests.runs import MLP
from tests.test_lease import left_by_another_host


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a normalisation from a user's file."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "mine.py").write_text(
        "import torch\n\n\nclass Mine(torch.nn.BatchNorm1d):\n"
        "    def __init__(self, layer):\n        super().__init__(layer.out_features)\n"
    )
    (folder / "norm").mkdir()
    (folder / "norm" / "mine.yaml").write_text(f"name: Mine\nfile: {folder}/mine.py\n")
    return experiments.run(experiments.compose([*MLP, "norm=mine", "steps=6", f"runs_dir={folder}"], folder)).path


@pytest.fixture
def runs(original: Path, tmp_path: Path) -> Path:
    """One run in every state, each a copy of the original with its status changed."""
    import shutil

    for state in ("finished", "diverged", "failed", "interrupted", "running", "elsewhere", "old"):
        copy = tmp_path / state
        shutil.copytree(original, copy)
        status = json.loads((copy / "status.json").read_text())
        told = {"elsewhere": "running", "old": "finished"}.get(state, state)
        (copy / "status.json").write_text(json.dumps({**status, "state": told, "message": "it broke"}))
    left_by_another_host(tmp_path / "running", seconds_ago=1000)
    left_by_another_host(tmp_path / "elsewhere", seconds_ago=10)
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    (tmp_path / "old" / "config.json").write_text(json.dumps({**config, "results_version": 0}))
    (tmp_path / "notes").mkdir()
    (tmp_path / "never").mkdir()
    (tmp_path / "never" / "lock").touch()
    return tmp_path


def listed(output: str) -> dict[str, str]:
    lines = [line.split() for line in output.splitlines() if " MiB " in line]
    return {line[3].rstrip(":"): line[0] for line in lines}


def test_the_list_says_what_and_why_and_removes_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path for path in runs.rglob("*"))
    assert main([str(runs)]) == 0
    output = capsys.readouterr().out
    assert listed(output) == {
        "failed": "failed",
        "interrupted": "orphaned",
        "never": "orphaned",
        "old": "outdated",
        "running": "orphaned",
    }
    assert "failed: at step 6: it broke" in output
    assert "old: results version 0, now 2" in output
    assert "5 runs; --delete failed orphaned outdated deletes them" in output
    assert sorted(path for path in runs.rglob("*")) == before


def test_a_run_is_outdated_by_the_version_of_its_own_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linear = ["data=gaussian", "model=deep_linear", "optim=gd", "optim.loss=sum", "optim.lr=1e-6", "steps=1"]
    path = experiments.run(experiments.compose([*linear, "probes=none", f"runs_dir={tmp_path}"])).path
    assert main([str(tmp_path)]) == 0
    assert listed(capsys.readouterr().out) == {}
    config = json.loads((path / "config.json").read_text())
    assert config["results_version"] > RESULTS_VERSION
    (path / "config.json").write_text(json.dumps({**config, "results_version": RESULTS_VERSION}))
    assert main([str(tmp_path)]) == 0
    assert listed(capsys.readouterr().out) == {path.name: "outdated"}


def test_only_the_named_kinds_are_removed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(runs), "--delete", "failed", "outdated"]) == 0
    assert "2 of 5 runs deleted" in capsys.readouterr().out
    left = {"diverged", "elsewhere", "finished", "interrupted", "never", "notes", "running"}
    assert {path.name for path in runs.iterdir()} == left
    assert main([str(runs), "--delete", "orphaned"]) == 0
    assert {path.name for path in runs.iterdir()} == {"diverged", "elsewhere", "finished", "notes"}


def test_a_source_file_that_changed_makes_its_runs_outdated(
    original: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = original.parent / "mine.py"
    text = source.read_text()
    try:
        source.write_text(text + "\n# changed\n")
        main([str(runs)])
        assert listed(capsys.readouterr().out)["finished"] == "outdated"
        source.unlink()
        main([str(runs)])
        assert "mine.py is gone" in capsys.readouterr().out
    finally:
        source.write_text(text)


def test_a_run_that_is_taken_up_meanwhile_stays(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.runs import prune

    taken: list[RunFolder] = []
    listing = prune.prunable

    def take_it(*arguments):
        for run in listing(*arguments):
            if run.path.name == "failed":
                taken.append(RunFolder(run.path, 60))
            yield run

    monkeypatch.setattr(prune, "prunable", take_it)
    assert main([str(runs), "--delete", "failed"]) == 1
    taken[0].lease.release()
    assert (runs / "failed" / "config.json").exists()
    assert f"process {os.getpid()} on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "error: nowhere: no such folder; give the folder that holds run folders"),
        ([".", "--lease-seconds", "1"], "error: --lease-seconds 1: must be above 4"),
        ([".", "--delete"], "error: argument --delete: expected at least one argument"),
        ([".", "--delete", "finished"], "error: argument --delete: invalid choice: 'finished'"),
    ],
)
def test_wrong_input_is_one_line(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


def test_an_empty_folder_has_nothing_to_prune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing to prune\n"
