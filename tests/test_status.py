"""The live view: what runs, what waits, what went wrong, how long it takes; read from the folders alone."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from rich.console import Console

import experiments
from analysis import folders, load_status
from analysis.__main__ import main
from analysis.status import Watch
from experiments.configuration import plain_config
from experiments.sweeps.job import list_jobs
from experiments.sweeps.launchers.local import Local
from experiments.sweeps.sweep import announced
from tests.runs import small


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs."""
    folder = tmp_path_factory.mktemp("finished")
    for seed in (0, 1, 2):
        experiments.run(small(folder, f"seed={seed}"))
    return folder


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """Two finished runs, and one that says that it runs: 30 of 60 steps in 15 seconds."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    run = sorted(tmp_path.iterdir())[-1]
    told = {"state": "running", "step": 30, "steps": 60, "from_step": 0, "since": time.time() - 15}
    status = {**json.loads((run / "status.json").read_text()), **told, "heartbeat": time.time()}
    (run / "status.json").write_text(json.dumps(status))
    return tmp_path


def text(watch: Watch, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=160, height=height)
    console.print(watch.drawn(height))
    return console.file.getvalue()


def test_rate_and_time_left_of_what_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(runs)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "running" in line).split()
    assert line[1:] == ["running", "30/60", "2/s", "15", "s"]
    watch = Watch([runs])
    watch.look()
    assert watch.going_on
    assert watch.seconds_left == pytest.approx(15, abs=1)
    assert "3 runs: 2 finished, 1 running; about 15 s left" in text(watch)


def test_experiment_and_arm_are_named_where_a_run_has_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(runs)]) == 0
    assert "experiment" not in capsys.readouterr().out
    first, second, _ = sorted(path for path in runs.iterdir() if (path / "config.json").exists())
    for run, told in ((first, {"experiment": "depth", "arm": "all trained"}), (second, {"experiment": "depth"})):
        described = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps({**described, **told}))
    assert main(["status", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"{first.name}  depth: all trained  ")
    assert lines[2].startswith(f"{second.name}  depth  ")
    table = load_status(runs).set_index("run")
    assert table["arm"].fillna("").tolist() == ["all trained", "", ""]
    watch = Watch([runs])
    watch.look()
    assert "depth: all trained" in text(watch)


def test_what_a_living_sweep_has_still_to_begin_is_waiting(runs: Path) -> None:
    (runs / ".sweep").mkdir()
    jobs = list_jobs([(str(s), plain_config(small(runs, f"seed={s}", "steps=60"))) for s in range(6)])
    with announced(jobs, Local(runs, workers=2).concurrent(jobs)):
        watch = Watch([runs])
        watch.look()
        assert len(watch.waiting) == 3
        # 15 s of the running one, three more of the average kind, two at a time.
        rates = [row.steps_per_second for row in watch.rows.values()]
        each = sum(row.steps / rate for row, rate in zip(watch.rows.values(), rates, strict=True)) / 3
        assert watch.seconds_left == pytest.approx(max(15, (15 + 3 * each) / 2), rel=0.1)
        assert "6 runs: 3 waiting, 2 finished, 1 running" in text(watch)
        [file] = (runs / ".sweep").glob("sweep-*.json")
        os.utime(file, (0, 0))  # as a killed sweep leaves it
        watch.look()
        assert not watch.waiting
    assert not list((runs / ".sweep").glob("sweep-*.json"))


def test_a_run_in_a_long_step_is_alive_by_its_lease_and_dead_without(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [run] = [path.parent for path in runs.glob("*/status.json") if '"running"' in path.read_text()]
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "heartbeat": time.time() - 300}))
    watch = Watch([runs])
    watch.look()
    assert not watch.going_on
    assert "no sign of life for 5 min; its sweep, called again, takes it over" in " ".join(text(watch).split())
    (run / "lease-1").write_text("{}")
    watch.look()
    assert watch.going_on
    assert "no sign of life" not in text(watch)


def test_what_has_ended_is_read_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = folders.read_run
    monkeypatch.setattr("analysis.loader.read_run", lambda folder: read.append(folder.name) or original(folder))
    watch = Watch([runs])
    watch.look()
    assert len(read) == 3
    watch.look()
    assert len(read) == 4  # the one that runs


def test_failures_come_first_where_the_terminal_is_short(runs: Path) -> None:
    run = sorted(runs.glob("*/status.json"))[1].parent
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "failed", "message": "RuntimeError: it broke"}))
    watch = Watch([runs])
    watch.look()
    lines = text(watch, height=8).splitlines()
    assert lines[1].startswith(run.name)
    assert "RuntimeError: it broke" in lines[1]


def test_watching_ends_when_nothing_moves(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [run] = [path.parent for path in runs.glob("*/status.json") if '"running"' in path.read_text()]
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "finished"}))
    assert main(["status", str(runs), "--watch", "0.1"]) == 0
    assert "3 runs: 3 finished" in capsys.readouterr().out
    assert main(["status", str(runs), "--watch", "0"]) == 2
    assert "--watch: invalid" in capsys.readouterr().err
    assert main(["status", str(runs / "nowhere"), "--watch", "1"]) == 2
