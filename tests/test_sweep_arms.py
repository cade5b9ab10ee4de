"""Sweeps of arms: named sets of overrides, each carried out with every combination of the swept values."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import experiments
from analysis.__main__ import main as analysis
from experiments.cli import main
from experiments.configuration import plain_config
from experiments.errors import WrongInput
from experiments.runs.folder import came_to
from experiments.sweeps.job import list_jobs
from tests.runs import MLP
from tests.sweeping import runs

EXPERIMENT = """# @package _global_
defaults:
  - override /model: mlp
  - _self_
label: mine
steps: 4
evaluation:
  every: 2
hydra:
  mode: MULTIRUN
  sweeper:
    arms:
      plain: [norm=none]
      "batch, own statistics": [norm=batch, norm.momentum=0.2]
      deeper: [norm=l1, "model.widths=[8,8,8]", optim=adam, optim.lr=0.01]
      as it is: []
    params:
      seed: 0,1
"""
ARMS = {
    "plain": ["norm=none"],
    "batch, own statistics": ["norm=batch", "norm.momentum=0.2"],
    "deeper": ["norm=l1", "model.widths=[8,8,8]", "optim=adam", "optim.lr=0.01"],
    "as it is": [],
}
MINE = [*MLP[2:], "experiment=mine"]  # data and batch size; the arms have the widths


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text(EXPERIMENT)
    return tmp_path


def sweep(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["experiments", "--config-dir", "own", *MINE, *arguments])
    code = main()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def expected(arm: str, *overrides: str) -> str:
    """The name of the run that these overrides alone describe, without any arm."""
    config = experiments.compose([*MINE, *ARMS[arm], *overrides], "own")
    return list_jobs([("", plain_config(config))])[0].path.name


@pytest.mark.long
def test_jobs_are_arms_times_values_times_seeds(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output, _ = sweep(
        "dry=true", "-m", "threads=1", "numerics=exact,fast", monkeypatch=monkeypatch, capsys=capsys
    )
    assert code == 0
    wanted = [
        (expected(arm, f"seed={seed}", f"numerics={numerics}"), arm)
        for arm in ARMS
        for seed in (0, 1)
        for numerics in ("exact", "fast")
    ]
    listed = [line.split("  ")[-1] for line in output.splitlines() if line.startswith("missing ")]
    assert listed == [f"{name} (arm={arm})" for name, arm in wanted]
    assert "16 runs: 16 missing" in output
    assert not (here / "runs").exists()


@pytest.mark.long
def test_arms_are_chosen_by_name_and_share_runs_with_whoever_asks_for_the_same(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = experiments.run(experiments.compose([*MINE, "arm='batch, own statistics'", "seed=0"], "own")).path
    assert own.name == expected("batch, own statistics", "seed=0")
    chosen = ["-m", "arm='batch, own statistics',plain", "seed=0", "launcher.workers=1"]
    code, output, _ = sweep(*chosen, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0
    plain = expected("plain", "seed=0")
    assert "1 of 2 runs are done already" in output
    final = json.loads((here / "runs" / plain / "status.json").read_text())["final"]
    assert f"[2/2] finished  {plain} (arm=plain) (test {final['test_accuracy']:.3g})\n" in output
    for name, arm in ((own.name, "batch, own statistics"), (plain, "plain")):
        described = json.loads((here / "runs" / name / "config.json").read_text())
        assert described["arm"] == described["config"]["arm"] == arm
        assert "arm" not in described["training"] | described["measurement"]
    without = [*ARMS["plain"], "hydra.sweeper.arms=null", "dry=true"]
    assert "2 runs: 1 finished, 1 missing" in sweep(*without, monkeypatch=monkeypatch, capsys=capsys)[1]


def test_status_names_the_arm_and_folders_from_before_there_were_arms_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        experiments.run(experiments.compose([*MINE, "arm=plain", f"seed={seed}"], "own"))
    old, new = runs(here / "runs")
    described = json.loads((old / "config.json").read_text())
    del described["arm"], described["config"]["arm"]
    (old / "config.json").write_text(json.dumps(described))
    assert analysis(["status", "runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"{old.name}  mine         finished  ")
    assert lines[2].startswith(f"{new.name}  mine: plain  finished  ")
    assert "2 runs: 2 finished" in sweep("arm=plain", "dry=true", monkeypatch=monkeypatch, capsys=capsys)[1]
    again = experiments.run(experiments.compose([*MINE, "arm=plain", "seed=0", "steps=6"], "own"))
    assert (again.path, again.state, again.step) == (old, "finished", 6)


def test_composing_one_arm_from_python(here: Path) -> None:
    for arm, overrides in ARMS.items():
        config = experiments.compose([*MINE, f"arm='{arm}'", "seed=1"], "own")
        assert config.arm == arm
        config.arm = None
        assert config == experiments.compose([*MINE, *overrides, "seed=1"], "own")
    assert experiments.compose([*MINE, "arm=null"], "own").arm is None
    with pytest.raises(WrongInput, match=r"^arm=plian: unknown arm; did you mean 'plain'"):
        experiments.compose([*MINE, "arm=plian"], "own")
    with pytest.raises(WrongInput, match=r"^norm=l2: the arm 'plain' sets norm=none"):
        experiments.compose([*MINE, "arm=plain", "norm=l2"], "own")


@pytest.mark.parametrize(
    ("added", "line"),
    [
        (
            "['norm=none,l1']",
            "arm 'added': norm=none,l1: is a sweep itself; give each value an arm, or all arms the sweep",
        ),
        ("['optim.lr=range(1,3)']", "arm 'added': optim.lr=range(1,3): is a sweep itself"),
        ("['norm=l1','norm.epz=1']", "arm 'added': norm.epz=1: unknown key; did you mean 'eps'?"),
        ("['norm=batchh']", "arm 'added': norm=batchh: unknown norm; did you mean 'batch'?"),
        ("['steps=many']", "arm 'added': steps=many: must be a whole number"),
        ("['steps']", "arm 'added': steps: cannot be read; write key=value"),
        ("['steps=-1']", "steps=-1: must be a whole number, at least 0 (arm=added seed=0)"),
        ("['hydra.mode=RUN']", "arm 'added': hydra.mode=RUN: hydra.mode is the sweep's, not an arm's"),
        ("['experiment=santurkar2018/vgg']", "arm 'added': experiment=santurkar2018/vgg: experiment is the sweep's"),
        ("['arm=plain']", "arm 'added': arm=plain: arm is the sweep's, not an arm's"),
        ("['seed=3']", "seed=0,1: the arm 'added' sets seed=3; "),
        ("norm", "hydra.sweeper.arms.added=norm: must be a list of overrides, for example ['norm=none']"),
        ("[{norm: l1}]", "hydra.sweeper.arms.added=[{'norm': 'l1'}]: must be a list of overrides"),
        (
            "['norm=none','threads=2']",
            "job 0 (arm=plain seed=0) and job 8 (arm=added seed=0) are one run, digits-mlp-none",
        ),
    ],
)
def test_a_wrong_arm_is_refused_in_one_line_before_anything_runs(
    added: str, line: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = sweep(f"+hydra.sweeper.arms.added={added}", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2, error
    assert error.startswith(f"error: {line}"), error
    assert error.count("\n") == 1, error
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["arm=plian"],
            "arm=plian: unknown arm; did you mean 'plain'? allowed: as it is, batch, own statistics, deeper",
        ),
        (["-m", "arm=plain,plian"], "arm=plian: unknown arm"),
        (["norm=l2"], "norm=l2: the arm 'deeper' sets norm=l1; choose among the arms (arm=...), or change them"),
        (["arm=plain", "hydra.sweeper.arms=null"], "arm=plain: only a sweep that lists arms has them"),
        (["arm=plain", "hydra.mode=RUN"], "arm=plain: only a sweep has arms; add --multirun (-m)"),
        (["hydra.sweeper.arms={}", "seed=interval(0,1)", "-m"], "seed=interval(0,1): not a list of values"),
    ],
)
def test_what_does_not_fit_the_arms_is_refused_in_one_line(
    arguments: list[str], line: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = sweep(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2, error
    assert error.startswith(f"error: {line}"), error
    assert error.count("\n") == 1, error
    assert not (here / "runs").exists()


@pytest.mark.long
def test_confirmatory_runs_are_the_same_jobs_with_seeds_of_their_own(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(*arguments: str) -> list[str]:
        code, output, error = sweep("dry=true", "threads=1", *arguments, monkeypatch=monkeypatch, capsys=capsys)
        assert (code, error) == (0, "")
        missing = [line.split() for line in output.splitlines() if line.startswith("missing")]
        return sorted(word for words in missing for word in words if word.startswith("digits-"))

    wanted = sorted(expected(arm, f"seed={seed}") for arm in ARMS for seed in range(10, 16))
    assert listed("confirm=true") == wanted
    assert listed("confirm=true", "arm=plain") == sorted(expected("plain", f"seed={s}") for s in range(10, 16))
    assert listed("confirm=false") == sorted(expected(arm, f"seed={seed}") for arm in ARMS for seed in (0, 1))
    refused = {
        ("confirm=true", "seed=3"): "seed=3: confirm=true has seeds of its own, 10 to 15; leave one of the two out",
        ("confirm=yes",): "confirm=yes: must be true (seeds 10 to 15) or false (the experiment's own)",
        ("confirm=true,false",): "confirm=true,false: must be true",
    }
    for arguments, said in refused.items():
        code, _, error = sweep("dry=true", *arguments, monkeypatch=monkeypatch, capsys=capsys)
        assert code == 2
        assert said in error
        assert len(error.splitlines()) == 1


def test_one_run_has_one_seed_and_no_confirmation(here: Path) -> None:
    with pytest.raises(WrongInput, match=r"^confirm=true: is of a sweep, whose seeds it chooses; .*give the seed$"):
        experiments.run(experiments.compose([*MLP, "confirm=true"]))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"final": {"test_accuracy": 0.97125, "test_data_loss": 0.1}, "diverged_at": None}, " (test 0.971)"),
        ({"final": {"test_data_loss": 43.21, "data_loss": 1.0}}, " (test loss 43.2)"),
        ({"final": {"test_accuracy": 0.1}, "diverged_at": 37}, " (at step 37)"),
        ({"final": {"test_accuracy": 0.1}, "diverged_at": 0}, " (at step 0)"),
        ({"final": {"accuracy": 1.0}}, ""),
        ({"final": None}, ""),
        (None, ""),
    ],
)
def test_what_an_ended_run_came_to(status: dict[str, Any] | None, told: str) -> None:
    assert came_to(status) == told
