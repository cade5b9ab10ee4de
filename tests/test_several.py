"""Several experiments, one after another: what is left is told, what is finished left alone, a failure stops none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import experiments
from analysis import studies
from analysis.__main__ import main as analysis_main
from experiments.sweeps import several
from experiments.sweeps.job import Job, Result, list_jobs
from experiments.sweeps.launchers.local import Local

ROOT = Path(__file__).parent.parent
EXPERIMENT = """# @package _global_
defaults:
  - override /model: mlp
  - _self_
label: {name}
steps: {steps}
data: {{subset: 64, test_subset: 40}}
model: {{widths: [16]}}
optim: {{batch_size: 16, lr: 0.{steps}}}
evaluation: {{every: 2, population: false}}
hydra:
  mode: MULTIRUN
  sweeper:
    arms:
      plain: [norm=none]
      normalised: [norm=batch, norm.momentum=0.01]
    params:
      seed: 0,1
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A stand-in for the suite's experiments: two that are tiny."""
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    for name, steps in (("first", 4), ("second", 6)):
        (folder / f"{name}.yaml").write_text(EXPERIMENT.format(name=name, steps=steps))
    return tmp_path


def test_jobs_are_those_of_the_command(mine: Path) -> None:
    jobs = several.jobs_of(["experiment=first", "optim.lr=0.5"], str(mine / "mine"))
    each = [f"arm={arm} seed={seed}" for arm in ("plain", "normalised") for seed in (0, 1)]
    own = [experiments.compose(["experiment=first", *one.split(), "optim.lr=0.5"], mine / "mine") for one in each]
    assert [told for told, _ in jobs] == each
    assert [config["norm"] for _, config in jobs] == [several.plain_config(config)["norm"] for config in own]
    assert {(config["optim"]["lr"], config["steps"]) for _, config in jobs} == {(0.5, 4)}
    several_values = several.jobs_of(["experiment=first", "norm.eps=1e-3,1e-2", "arm=normalised"], str(mine / "mine"))
    assert [(config["norm"]["eps"], config["seed"]) for _, config in several_values] == [
        (1e-3, 0), (1e-2, 0), (1e-3, 1), (1e-2, 1),
    ]  # fmt: skip
    single = several.jobs_of(["norm=l1"])
    assert [(told, config["norm"]["name"]) for told, config in single] == [("", "l1")]


def test_what_refers_to_a_swept_value_is_each_jobs_own(mine: Path) -> None:
    jobs = several.jobs_of(["experiment=first", "run_name=x-${seed}-${norm.name}"], str(mine / "mine"))
    assert [config["run_name"] for _, config in jobs] == ["x-0-none", "x-1-none", "x-0-batch", "x-1-batch"]


def left_of(mine: Path, names: Sequence[str], *overrides: str) -> several.Left:
    jobs = {
        name: several.jobs_of([f"experiment={name}", f"runs_dir={mine / 'runs'}", *overrides], str(mine / "mine"))
        for name in names
    }
    of = {id(config): name for name, own in jobs.items() for _, config in own}
    return several.Left([job for own in jobs.values() for job in own], of)


def test_what_is_left_is_told_and_nothing_is_stored(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes as many seconds here as the experiment has steps; two jobs go at a time."""
    monkeypatch.setattr(several, "try_out", lambda config: (float(config["steps"]), ""))
    left = left_of(mine, ["first", "second"], "launcher.workers=2")
    assert [(p.name, p.runs, p.left, p.seconds) for p in left.parts.values()] == [
        ("first", 4, 4, 4 * 16 / 2), ("second", 4, 4, 4 * 36 / 2),
    ]  # fmt: skip
    assert left.told() == "2 experiments, 8 of 8 runs left: about 104 s"
    assert left_of(mine, ["first"], "launcher.workers=1").parts["first"].seconds == 4 * 16
    assert not (mine / "runs").exists()


def test_time_left_is_told_once_a_minute_by_how_long_the_runs_before_it_took(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(several, "monotonic", lambda: clock[0])
    monkeypatch.setattr(several, "try_out", lambda config: (float(config["steps"]), ""))
    left = left_of(mine, ["first", "second"], "launcher.workers=2")
    jobs = list_jobs(left.configs)
    clock[0] += 59.0
    assert left(jobs[4:]) == ""
    clock[0] += 5.0  # the four of 32 s took 64 s: of the 72 s that are left another half as much
    assert left(jobs[4:]) == "4 runs left: about 108 s"
    assert left(jobs[5:]) == ""
    clock[0] += 60.0
    assert left([]) == ""


@pytest.mark.parametrize(
    ("expected", "took", "factor"), [(100.0, 200.0, 1.5), (100.0, 10000.0, 2.5), (100.0, 1.0, 0.625), (0.5, 60.0, 1.0)]
)
def test_half_of_what_it_was_slower_and_within_bounds(expected: float, took: float, factor: float) -> None:
    assert several.longer(expected, took) == factor


def test_a_run_that_two_experiments_share_is_one_job(mine: Path) -> None:
    text = EXPERIMENT.format(name="third", steps=4)
    (mine / "mine" / "experiment" / "third.yaml").write_text(text.replace("seed: 0,1", "seed: 1,2"))
    left = left_of(mine, ["first", "third"])
    assert [(part.name, part.runs) for part in left.parts.values()] == [("first", 4), ("third", 2)]


@pytest.mark.parametrize("arguments", [[], ["seed=1"]])
def test_without_a_name(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["several", *arguments])
    assert several.main() == 2
    assert capsys.readouterr().err == "error: name at least one experiment, as santurkar2018/vgg\n"


def test_a_wrong_name_is_told_before_anything_runs(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["several", "--config-dir", str(mine / "mine"), "first", "seconnd"])
    monkeypatch.chdir(mine)
    assert several.main() == 2
    error = capsys.readouterr().err
    assert "seconnd" in error
    assert error.count("\n") == 1
    assert not (mine / "runs").exists()


def test_one_that_fails_stops_no_other_and_a_signal_stops_all(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is that of the main command, whose sweep it is."""
    asked: list[str] = []

    def carry_out(job: Job) -> Result:
        asked.append(job.config["label"])
        if stops:
            raise KeyboardInterrupt
        return Result("failed" if len(asked) == 2 else "finished", "nothing was trained")

    monkeypatch.setattr(several, "try_out", lambda config: (1.0, ""))
    monkeypatch.setattr(Local, "launch", lambda self, jobs: ((job, carry_out(job)) for job in jobs))
    monkeypatch.chdir(mine)
    monkeypatch.setattr(sys, "argv", ["several", "--config-dir", "mine", "first", "second", "seed=1"])
    stops = False
    assert several.main() == 1
    assert asked == ["first"] * 2 + ["second"] * 2
    told = capsys.readouterr()
    assert told.out.splitlines()[:2] == [
        "reading 2 experiments, and trying a few steps of each", "2 experiments, 4 of 4 runs left: about 10 s",
    ]  # fmt: skip
    assert "4 runs: 3 finished, 1 failed" in told.out
    assert told.err.count("nothing was trained") == 1
    asked.clear()
    stops = True
    assert several.main() == 130
    assert asked == ["first"]
    assert capsys.readouterr().err == "error: stopped; the same command goes on from here\n"


FOLDERS = [("--config-dir", "mine"), ("--config-dir=mine",), ("-cd", "mine"), ("-cd=nowhere", "-cd", "mine")]


@pytest.mark.parametrize("folder", FOLDERS, ids=" ".join)
@pytest.mark.parametrize("multirun", [(), ("-m",), ("--multirun",)], ids=" ".join)
def test_flags_are_those_of_the_main_command(
    folder: tuple[str, ...], multirun: tuple[str, ...], mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two values are two runs, where a sweep was asked for."""
    (mine / "mine" / "experiment" / "single.yaml").write_text(
        EXPERIMENT.partition("hydra:")[0].format(name="x", steps=2)
    )
    asked: list[int] = []
    monkeypatch.chdir(mine)
    monkeypatch.setattr(several, "try_out", lambda config: (1.0, ""))
    monkeypatch.setattr(several.command, "carry_out", lambda jobs, **_: asked.extend(c["seed"] for _, c in jobs()))
    values = "seed=0,1" if multirun else "seed=1"
    monkeypatch.setattr(sys, "argv", ["several", "single", *folder, values, *multirun])
    assert several.main() == 0
    assert asked == ([0, 1] if multirun else [1])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["a", "--cfg", "job"],
            "--cfg: is no flag of several experiments; allowed: --config-dir FOLDER, --multirun (-m)",
        ),
        (["a", "-x=1"], "-x: is no flag of several experiments; allowed: --config-dir FOLDER, --multirun (-m)"),
        (["a", "--config-dir=nowhere"], "--config-dir nowhere: no such folder"),
        (["a", "--config-dir"], "--config-dir : no such folder"),
        (
            ["a", "seed=1", "seed=2"],
            "seed=1 seed=2: seed is set twice, and one of the two would be without effect; for both -m seed=1,2",
        ),
    ],
)
def test_what_the_main_command_would_not_take_is_one_line(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["several", *arguments])
    assert several.main() == 2
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.long
def test_the_stand_in_runs_and_typed_again_it_does_what_is_missing(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["several", "--config-dir", "mine", *arguments, "launcher.workers=1"])
        assert several.main() == 0
        first, *told = capsys.readouterr().out.splitlines()
        assert first.startswith(("reading 1 experiment, ", "reading 2 experiments, "))
        return told

    monkeypatch.chdir(mine)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert typed("first", "second", "dry=true")[0].startswith("2 experiments, 8 of 8 runs left: about ")
    assert not (mine / "runs").exists()
    typed("first")
    again = typed("first", "second")
    assert again[0].startswith("2 experiments, 4 of 8 runs left: about ")
    assert again[1] == "4 of 8 runs are done already"
    assert again[-2] == "8 runs: 8 finished"
    states = [json.loads(path.read_text())["state"] for path in (mine / "runs").glob("*/status.json")]
    assert states == ["finished"] * 8


# ----------------------------------------------------------------------------------------------------------------- make


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
@pytest.mark.parametrize(("ends", "code", "reported"), [(0, 0, True), (1, 2, True), (130, 2, False)])
def test_make_atlas_runs_what_the_studies_name_and_ends_with_the_report(
    ends: int, code: int, reported: bool, tmp_path: Path
) -> None:
    """With a python that only writes down what it is asked for."""
    stand_in = tmp_path / "venv"
    (stand_in / "bin").mkdir(parents=True)
    script = f"""#!/bin/sh
case "$*" in *"analysis experiments") echo one/a; echo two/b;; *several*) echo "$@" >> {tmp_path}/asked; exit {ends};;
*) echo "$@" >> {tmp_path}/asked;; esac
"""
    (stand_in / "bin" / "python").write_text(script)
    (stand_in / "bin" / "python").chmod(0o755)
    (stand_in / ".installed").touch()
    os.utime(stand_in / ".installed", (time.time() + 3600,) * 2)
    command = ["make", "atlas", f"VENV={stand_in}", "ATLAS=runs/here"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "-m experiments.sweeps.several one/a two/b runs_dir=runs/here"
    assert asked[1:] == (["-m analysis report runs/here --apart"] if reported else [])


def test_the_analysis_lists_what_studies_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert analysis_main(["experiments"]) == 0
    listed = capsys.readouterr().out.split()
    assert listed == [name for study in studies.load() for name in study.experiments]
    assert analysis_main(["experiments", "wu2023", "lemma45"]) == 0
    assert capsys.readouterr().out.split() == [*studies.get("wu2023").experiments, *studies.get("lemma45").experiments]
    assert analysis_main(["experiments", "wu2032"]) == 2
    assert "did you mean 'wu2023'" in capsys.readouterr().err
