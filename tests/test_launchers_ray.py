"""The Ray launcher on a real Ray of one node; skipped where Ray is not installed (it has an environment of its own)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeping import assert_same_results, misbehaving, runs, starts, states, status, sweep, times_trained

pytest.importorskip("ray", reason="Ray is not installed here: it is tested in an environment of its own")
pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(900)]
JOBS = ["norm=none,batch", "seed=0,1"]


def test_a_sweep_on_ray_gives_the_bits_of_a_local_one(tmp_path: Path) -> None:
    assert sweep(*JOBS, runs_dir=tmp_path / "local")[0] == 0
    code, output, error = sweep(*JOBS, "launcher=ray", "launcher.cpus=2", runs_dir=tmp_path / "ray")
    assert code == 0, error
    assert "4 runs: 4 finished" in output
    assert states(tmp_path / "ray") == states(tmp_path / "local")
    assert_same_results(tmp_path / "local", tmp_path / "ray")
    assert [times_trained(run) for run in runs(tmp_path / "ray")] == [1] * 4


def test_a_lost_process_is_retried_and_then_told(tmp_path: Path) -> None:
    own = misbehaving(tmp_path)
    mine = tmp_path / "runs"
    arguments = ["norm=none,raises,kills_itself", "launcher=ray", "launcher.cpus=2", "launcher.retries=1", *own]
    code, output, _ = sweep(*arguments, runs_dir=mine)
    assert code == 1
    assert "3 runs: 1 finished, 2 failed" in output
    for run in runs(mine):
        tried = {"none": 1, "raises": 1, "kills_itself": 2}[run.name.split("-")[2]]
        assert starts(run) == tried
        assert status(run)["state"] == ("finished" if "none" in run.name else "failed")
        assert (run / "traceback.txt").exists() == ("none" not in run.name)


def test_an_address_without_a_cluster_is_refused_in_one_line(tmp_path: Path) -> None:
    code, _, error = sweep(*JOBS, "launcher=ray", "launcher.address=127.0.0.1:1", runs_dir=tmp_path / "runs")
    assert code == 2
    assert "error: launcher.address=127.0.0.1:1: no Ray cluster there" in error
