"""The Slurm launcher on a real Slurm, which tests/slurm/start sets up; skipped where none answers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sweeping import (
    assert_same_results,
    misbehaving,
    running_workers,
    runs,
    start,
    starts,
    states,
    status,
    sweep,
    times_trained,
    wait_until,
)


def answers() -> bool:
    if shutil.which("sinfo") is None:
        return False
    told = subprocess.run(["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, check=False)
    return {"main", "urgent"} <= set(told.stdout.split())


pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not answers(), reason="no Slurm with the test partitions answers here: tests/slurm/start makes one"
    ),
]
SLURM = ["launcher=slurm", "launcher.memory_gb=1", "launcher.partition=main"]
JOBS = ["norm=none,batch", "seed=0,1"]
SLOW = ["norm=waits", "seed=0,1,2,3", "steps=3000", "checkpoint.seconds=1", "probes=gradients", "probes.fixed_batch=20"]
"""Two normalisations that wait five milliseconds a step each: at least 30 seconds a job, however fast the machine."""


def queue(each: str = "%i %T %P") -> str:
    told = subprocess.run(["squeue", "--noheader", f"--format={each}"], capture_output=True, text=True, check=True)
    return told.stdout


def until_it_ends(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """Its output and errors; jobs that are queued again start at once, not after the two minutes that Slurm waits."""
    for _ in range(round(seconds)):
        try:
            return process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            told = subprocess.run(
                ["squeue", "--noheader", "--format=%A %r"], capture_output=True, text=True, check=True
            )
            for job, reason in (line.split(maxsplit=1) for line in told.stdout.splitlines()):
                if reason == "BeginTime":
                    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)
    process.kill()
    raise AssertionError(f"not done in {seconds} seconds; in the queue: {queue()}")


def test_a_sweep_on_slurm_gives_the_bits_of_a_local_one(tmp_path: Path) -> None:
    assert sweep(*JOBS, runs_dir=tmp_path / "local")[0] == 0
    for runs_per_job in (1, 3):
        mine = tmp_path / f"slurm{runs_per_job}"
        code, output, error = sweep(*JOBS, *SLURM, f"launcher.runs_per_job={runs_per_job}", runs_dir=mine)
        assert (code, error) == (0, "")
        assert f"submitted 4 runs as {-(-4 // runs_per_job)} Slurm jobs" in output
        assert states(mine) == states(tmp_path / "local")
        assert_same_results(tmp_path / "local", mine)
    assert sweep(*JOBS, *SLURM, runs_dir=mine)[1].startswith("4 of 4 runs are done already")


def test_what_is_queued_is_attached_to_and_not_submitted_twice(tmp_path: Path) -> None:
    mine, slow = tmp_path / "runs", [*misbehaving(tmp_path), *SLOW]
    code, output, _ = sweep(*slow, *SLURM, "launcher.wait=false", runs_dir=mine)
    assert code == 0
    assert "4 runs: 4 submitted" in output
    code, output, _ = sweep(*slow, *SLURM, runs_dir=mine, timeout=400)
    assert code == 0
    assert "runs are in the queue already" in output
    assert "submitted" not in output
    assert [times_trained(run) for run in runs(mine)] == [1] * 4


def test_a_preempted_and_a_timed_out_job_go_on_where_they_were(tmp_path: Path) -> None:
    mine, slow = tmp_path / "runs", [*misbehaving(tmp_path), *SLOW]
    assert sweep(*slow, "launcher.workers=4", runs_dir=tmp_path / "local", timeout=400)[0] == 0
    process = start(*slow, *SLURM, runs_dir=mine)
    try:
        wait_until(lambda: any(status(run).get("step", 0) > 100 for run in runs(mine)), 120)
        cores = subprocess.run(["sinfo", "--noheader", "-p", "urgent", "--format=%c"], capture_output=True, text=True)
        command = ["srun", "-p", "urgent", f"--cpus-per-task={cores.stdout.strip()}", "sleep", "2"]
        assert subprocess.run(command, timeout=200, check=False).returncode == 0  # takes every core from the sweep
        # A time limit in the middle of what is running now: Slurm sends its warning and ends the job.
        wait_until(lambda: "RUNNING" in queue(), 120)
        wait_until(lambda: bool(running_workers(mine)), 60)
        running = [line.split()[0] for line in queue().splitlines() if "RUNNING" in line]
        for job in running:
            subprocess.run(["scancel", "--signal=USR2", job], check=True)  # as at a time limit
        output, error = until_it_ends(process, 400)
    finally:
        process.kill()
    assert (process.returncode, error) == (0, "")
    assert "4 runs: 4 finished" in output
    assert sum(starts(run) for run in runs(mine)) >= 6  # two preempted, and one or two warned
    assert [times_trained(run) for run in runs(mine)] == [1] * 4
    assert_same_results(tmp_path / "local", mine)


def test_a_real_time_limit_is_outlived(tmp_path: Path) -> None:
    """Two minutes for a longer run: it saves at the warning, is queued again, and ends with the same bits.

    Slurm warns up to a minute early, so that no number of steps lasts just longer than the limit: what makes the run
    slow is gone once it is started again.
    """
    jobs = [*misbehaving(tmp_path), "norm=waits_at_first", "seed=0", "steps=1000", "checkpoint.seconds=3"]  # 400 s
    mine = tmp_path / "runs"
    limits = ["launcher.minutes=2", "launcher.warning_seconds=20"]
    process = start(*jobs, *SLURM, *limits, runs_dir=mine)
    try:
        _, error = until_it_ends(process, 300)
    finally:
        process.kill()
    assert (process.returncode, error) == (0, "")
    [run] = runs(mine)
    assert starts(run) == 2
    assert sweep(*jobs, runs_dir=tmp_path / "local", timeout=200)[0] == 0
    assert_same_results(tmp_path / "local", mine)


def test_failures_and_refusals_are_told_in_one_line(tmp_path: Path) -> None:
    own = misbehaving(tmp_path)
    code, output, error = sweep("norm=none,raises,kills_itself", *SLURM, *own, runs_dir=tmp_path / "runs")
    assert code == 1
    assert "3 runs: 1 finished, 2 failed" in output
    assert "RuntimeError: this normalisation never works" in error
    assert "killed by SIGKILL" in error
    elsewhere = [argument for argument in SLURM if "partition" not in argument]
    code, output, error = sweep(*JOBS, *elsewhere, "launcher.partition=gpu", runs_dir=tmp_path / "other")
    assert code == 2
    assert "error: launcher.partition=gpu: Slurm refused the job" in error
    assert "partitions here: main, urgent" in error
    assert not queue().strip()
    assert not runs(tmp_path / "other")
