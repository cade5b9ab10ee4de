"""Sweeps: only what is missing is done, one job's failure is no other's, and a kill at any moment loses nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import experiments
from experiments.configuration import plain_config
from experiments.errors import WrongInput
from experiments.runs.folder import RunFolder
from experiments.sweeps import plugin
from experiments.sweeps.job import Job, Standing, list_jobs, seconds_left
from experiments.sweeps.launchers.local import Local
from experiments.sweeps.launchers.slurm import Slurm
from tests.runs import small
from tests.sweeping import (
    assert_same_results,
    kill,
    misbehaving,
    running_workers,
    runs,
    small_jobs,
    start,
    starts,
    states,
    status,
    sweep,
    times_trained,
    wait_until,
)
from tests.test_lease import left_by_another_host


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four jobs, none of a sweep."""
    return alone(tmp_path_factory.mktemp("undisturbed") / "runs")


def alone(runs_dir: Path, *overrides: str) -> Path:
    """The jobs of norm=none,batch seed=0,1, each as a run of its own in this process."""
    for norm in ("none", "batch"):
        for seed in (0, 1):
            chosen = small_jobs(f"norm={norm}", f"seed={seed}", f"runs_dir={runs_dir}", *overrides)
            experiments.run(experiments.compose(chosen))
    return runs_dir


def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """A sweep whose driver is this process; its workers are processes of their own, which take a second to start."""
    from experiments.cli import main

    monkeypatch.setattr(sys, "argv", ["experiments", "-m", *small_jobs(*arguments)])
    code = main()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_sweep_gives_the_bits_of_single_runs_and_then_only_what_is_added(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "runs"
    code, output, error = sweep("norm=none,batch", "seed=0,1", runs_dir=mine)
    assert (code, error) == (0, "")
    assert output.splitlines()[-2:] == ["4 runs: 4 finished", f"  in {mine}"]
    assert_same_results(undisturbed, mine)
    again = ["norm=none,batch", "seed=0,1,2", f"runs_dir={mine}", "launcher.workers=1"]
    code, output, _ = in_process(monkeypatch, capsys, *again)
    assert code == 0
    assert "4 of 6 runs are done already" in output
    assert len(runs(mine)) == 6
    assert [starts(run) for run in runs(mine)] == [1] * 6


def test_a_sweep_says_which_of_its_runs_are_longer_than_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps in (5, 4):
        asked = small_jobs("norm=none", f"seed={steps}", f"steps={steps}", f"runs_dir={tmp_path}")
        run = experiments.run(experiments.compose(asked)).path
    code, output, _ = in_process(monkeypatch, capsys, "norm=none", "seed=4,5", "steps=4", f"runs_dir={tmp_path}")
    assert code == 0
    name = run.name.replace("seed4", "seed5").split("-seed5-")[0]
    assert "2 of 2 runs are done already\n" in output
    (told,) = [line for line in output.splitlines() if "asked for" in line]
    assert told.startswith(f"  {name}-seed5-")
    assert told.endswith("; 4 steps are asked for, but tables and claims count it as a run of 5")


@pytest.mark.long
def test_one_job_that_raises_and_one_that_kills_itself_harm_no_other(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, own = tmp_path / "runs", misbehaving(tmp_path)
    arguments = ["norm=raises,none,kills_itself,batch", "launcher.workers=1", f"runs_dir={mine}", *own]
    code, output, error = in_process(monkeypatch, capsys, *arguments)
    assert code == 1
    assert_same_results(undisturbed, mine, "-seed0-")
    by_state: dict[str, list[Path]] = {}
    for run in runs(mine):
        by_state.setdefault(status(run)["state"], []).append(run)
    assert {state: len(found) for state, found in by_state.items()} == {"finished": 2, "failed": 2}
    for run in by_state["failed"]:
        assert {"config.json", "log.txt", "traceback.txt", "status.json"} <= {file.name for file in run.iterdir()}
        why = "RuntimeError: this normalisation never works" if "-raises-" in run.name else "killed by SIGKILL"
        assert why in status(run)["message"]
        assert why in (run / "traceback.txt").read_text()
        assert f"error: {run.name}: " in error
    assert "4 runs: 2 finished, 2 failed" in output
    assert in_process(monkeypatch, capsys, *arguments)[0] == 1
    assert [starts(run) for run in by_state["finished"]] == [1] * 2
    assert [starts(run) for run in by_state["failed"]] == [2] * 2  # tried again


@pytest.mark.long
def test_a_process_that_dies_before_there_is_a_folder_leaves_one_and_no_dirt(undisturbed: Path, tmp_path: Path) -> None:
    mine, own = tmp_path / "runs", misbehaving(tmp_path)
    code, output, error = sweep(*["norm=doubles,dies_at_once,none,batch", "launcher.workers=1", *own], runs_dir=mine)
    assert code == 1
    assert_same_results(undisturbed, mine, "-seed0-")
    assert "4 runs: 3 finished, 1 failed" in output
    [dead] = [run for run in runs(mine) if "-dies_at_once-" in run.name]
    assert status(dead)["message"] == "its process ended with exit code 7"
    assert {"config.json", "log.txt", "traceback.txt", "status.json"} <= {file.name for file in dead.iterdir()}
    assert f"error: {dead.name}: its process ended with exit code 7" in error


@pytest.mark.long
def test_a_run_left_by_a_dead_host_is_waited_for_and_then_taken_over(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = alone(tmp_path / "runs", "steps=20")
    run = runs(mine)[0]
    told = {**status(run), "state": "running", "steps": 40}
    (run / "status.json").write_text(json.dumps(told))
    left_by_another_host(run, seconds_ago=0)
    # longer than a slow machine takes to begin
    jobs = ["norm=none,batch", "seed=0,1", "launcher.workers=1", f"runs_dir={mine}", "lease_seconds=45"]
    code, output, error = in_process(monkeypatch, capsys, *jobs)
    assert (code, error) == (0, "")
    assert "waiting for 1 runs that other processes have: " in output
    assert "process 4242 on node17, last heard of " in output
    assert "it counts as dead after lease_seconds=45 of silence" in output
    assert_same_results(undisturbed, mine)


@pytest.mark.long
def test_a_diverged_job_is_tried_again_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["norm=none", "optim.lr=1e30,0.1", f"runs_dir={tmp_path}", "launcher.workers=1"]
    for again, expected in ((False, 1), (False, 1), (True, 2)):
        code, output, _ = in_process(monkeypatch, capsys, *arguments, f"retry_diverged={again}")
        assert code == 0
        assert "2 runs: 1 " in output
        trained = {status(run)["state"]: starts(run) for run in runs(tmp_path)}
        assert trained == {"diverged": expected, "finished": 1}


@pytest.mark.long
def test_another_default_makes_new_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "norm").mkdir()
    yaml = tmp_path / "norm" / "mine.yaml"
    for eps in ("1.0e-5", "1.0e-3"):
        yaml.write_text(f"name: batch\nfile: null\neps: {eps}\n")
        arguments = ["norm=mine", "seed=0,1", f"runs_dir={tmp_path / 'runs'}", "--config-dir", str(tmp_path)]
        assert in_process(monkeypatch, capsys, *arguments, "launcher.workers=1")[0] == 0
    assert len(runs(tmp_path / "runs")) == 4
    assert [starts(run) for run in runs(tmp_path / "runs")] == [1] * 4


@pytest.mark.long
def test_two_sweeps_at_once_train_each_job_once(undisturbed: Path, tmp_path: Path) -> None:
    mine = tmp_path / "runs"
    both = [start("norm=none,batch", "seed=0,1", "launcher.workers=1", runs_dir=mine) for _ in range(2)]
    for process in both:
        output, error = process.communicate(timeout=240)
        assert (process.returncode, error) == (0, "")
        assert "4 runs: 4 finished" in output
    assert_same_results(undisturbed, mine)
    assert [times_trained(run) for run in runs(mine)] == [1] * 4


@pytest.mark.long
def test_ctrl_c_saves_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "runs"
    longer = ["steps=2000", "evaluation.every=500"]
    process = start("norm=none,batch", "seed=0,1", *longer, runs_dir=mine)
    wait_until(lambda: "running" in states(mine).values())
    time.sleep(0.3)  # for a first step
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in error
    assert "Traceback" not in error
    assert not running_workers(mine)
    saved = [status(run)["checkpoint"] for run in runs(mine) if status(run).get("state") == "interrupted"]
    assert max(saved) > 0  # a worker that had only begun may have had nothing to save
    jobs = ["norm=none,batch", "seed=0,1", "launcher.workers=1", f"runs_dir={mine}"]
    assert in_process(monkeypatch, capsys, *jobs, *longer)[0] == 0
    told = [json.loads((run / "provenance.json").read_text())["starts"] for run in runs(mine)]
    assert any(len(started) == 2 and started[1]["from_step"] > 0 for started in told)
    assert_same_results(alone(tmp_path / "again", *longer), mine)


@pytest.mark.long
def test_a_worker_that_was_told_to_stop_leaves_a_run_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "runs"
    process = start("norm=none,batch", "steps=2000", "evaluation.every=500", runs_dir=mine)
    wait_until(lambda: bool(running_workers(mine)))
    os.kill(running_workers(mine)[0], signal.SIGTERM)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "2 runs: 1 finished, 1 interrupted" in output
    assert "stopped by a signal" in error
    assert sorted(states(mine).values()) == ["finished", "interrupted"]
    jobs = ["norm=none,batch", "steps=2000", "evaluation.every=500", "launcher.workers=1", f"runs_dir={mine}"]
    assert in_process(monkeypatch, capsys, *jobs)[0] == 0
    assert sorted(starts(run) for run in runs(mine)) == [1, 2]


LONG_JOBS = ["norm=none,batch,l1", "seed=0,1,2,3,4,5,6,7,8,9", "steps=300", "evaluation.every=50", "probes=standard"]
LONG_JOBS += ["probes.every=100", "probes.fixed_batch=20", "checkpoint.seconds=0.3"]
SHORT_JOBS = ["norm=none,batch", "seed=0,1", "steps=300", "evaluation.every=50", "checkpoint.seconds=0.2"]


def disturbed(folder: Path, arguments: list[str], kills: int, draw: random.Random) -> list[Path]:
    """Sweeps of ``arguments``, killed at random moments and started again, until they are done; ``kills`` in all.

    By turns the driver is killed, or a worker and a moment later the driver. One moment in five lies in the start of
    the sweep, the others at most two seconds after the first job runs.
    """
    done: list[Path] = []
    happened = 0
    while happened < kills:
        runs_dir = folder / f"runs{len(done)}"
        for attempt in range(1000):
            process = start(*arguments, runs_dir=runs_dir)

            def going_on(process: subprocess.Popen[str] = process, runs_dir: Path = runs_dir) -> bool:
                return process.poll() is not None or bool(running_workers(runs_dir))

            if draw.random() < 0.2:
                time.sleep(draw.uniform(0.0, 4.0))
            else:
                wait_until(going_on, 120)
                time.sleep(draw.uniform(0.0, 2.0))
            if attempt % 2 and process.poll() is None and (workers := running_workers(runs_dir)):
                kill(draw.choice(workers))
                happened += 1
                time.sleep(draw.uniform(0.0, 1.0))
            if process.poll() is None and happened < kills:
                process.kill()
                happened += 1
            _, error = process.communicate()
            assert process.returncode != 2, error
            if process.returncode in (0, 1):
                break
        process = start(*arguments, runs_dir=runs_dir)  # what a killed worker left as failed is tried again
        process.communicate(timeout=600)
        done.append(runs_dir)
    return done


def check_disturbed(reference: Path, runs_dirs: list[Path]) -> None:
    for runs_dir in runs_dirs:
        assert states(runs_dir) == states(reference)
        assert_same_results(reference, runs_dir)
        told = [times_trained(run) for run in runs(runs_dir) if status(run)["state"] == "finished"]
        assert max(told) == 1
        assert told.count(0) <= 1  # killed between its status and the log's last line: rare, and nothing is lost


@pytest.mark.long
def test_kills_at_random_moments_lose_and_repeat_nothing(tmp_path: Path) -> None:
    alone(tmp_path / "reference", *SHORT_JOBS[2:])
    check_disturbed(tmp_path / "reference", disturbed(tmp_path, SHORT_JOBS, 3, random.Random(1)))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_kills_lose_and_repeat_nothing_though_some_jobs_misbehave(tmp_path: Path) -> None:
    own = misbehaving(tmp_path)
    arguments = [*LONG_JOBS, *own]
    arguments[0] += ",raises,kills_itself"
    arguments[arguments.index("probes=standard")] = "probes=gradients"  # the others need pure networks
    arguments.append("optim.lr=0.1,1e30")
    arguments[1] = "seed=0,1,2"
    assert sweep(*arguments, runs_dir=tmp_path / "reference", timeout=900)[0] == 1
    assert set(states(tmp_path / "reference").values()) == {"finished", "failed", "diverged"}
    check_disturbed(tmp_path / "reference", disturbed(tmp_path, arguments, 15, random.Random(2)))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_kills_of_thirty_probed_jobs_lose_and_repeat_nothing(tmp_path: Path) -> None:
    assert sweep(*LONG_JOBS, runs_dir=tmp_path / "reference", timeout=900)[0] == 0
    assert len(runs(tmp_path / "reference")) == 30
    check_disturbed(tmp_path / "reference", disturbed(tmp_path, LONG_JOBS, 15, random.Random(3)))


@pytest.mark.long
def test_the_dry_listing_says_what_stands_where_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = f"runs_dir={tmp_path / 'runs'}"
    code, output, _ = in_process(monkeypatch, capsys, "norm=none,batch", "seed=0,1", here, "dry=true")
    assert code == 0
    assert sum(line.startswith("missing ") for line in output.splitlines()) == 4
    assert "4 runs: 4 missing\n4 to do: about " in output
    assert "(from steps timed just now)" in output
    assert not (tmp_path / "runs").exists()
    assert in_process(monkeypatch, capsys, "norm=none", "seed=0,1", here, "launcher.workers=1")[0] == 0
    before = sorted((tmp_path / "runs").rglob("*"))
    run = runs(tmp_path / "runs")[0]
    held = RunFolder(tmp_path / "runs" / run.name, 60)
    told = {**status(run), "state": "running", "step": 7, "pid": 1}
    (run / "status.json").write_text(json.dumps(told))
    code, output, _ = in_process(monkeypatch, capsys, "norm=none,batch", "seed=0,1", here, "dry=true")
    held.lease.release()
    assert code == 0
    assert "4 runs: 2 missing, 1 running elsewhere, 1 finished\n2 to do: about " in output
    assert sorted((tmp_path / "runs").rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["seed=range(0,0)"], "error: the sweep has no jobs: a list of values is empty"),
        (["seed=1,1"], "error: job 0 and job 1 are one run, digits-mlp-batch-sgd-lr0.1-seed1-"),
        (["threads=1,2"], "error: job 0 (threads=1) and job 1 (threads=2) are one run, "),
        (["seed=0,1", "launcher=lokal"], "error: launcher=lokal: unknown launcher; did you mean 'local'?"),
        (["seed=0,1", "launcher.workers=0"], "error: launcher.workers=0: must be at least 1, or null"),
        (["seed=0,1", "launcher.workes=2"], "error: launcher.workes=2: unknown key; did you mean 'workers'?"),
        (["seed=0,1", "launcher.gpus=[7]"], "error: launcher.gpus=[7]: this machine has "),
        (["seed=0,1", "launcher.gpu_share=0"], "error: launcher.gpu_share=0.0: must be above 0 and at most 1"),
        (["seed=0,-1"], "error: seed=-1: must be a whole number, at least 0 (seed=-1)"),
        (
            ["seed=0,1", "device=cuda:1"],
            "error: device=cuda:1: in a sweep each job sees its own GPU only; say device=cuda",
        ),
        (["seed=0,1", "lease_seconds=1"], "error: lease_seconds=1.0: must be a number above 4.0"),
        (["seed=0,1", "mirror=tensorbord"], "error: mirror=tensorbord: unknown mirror; did you mean 'tensorboard'?"),
    ],
)
def test_a_wrong_sweep_is_refused_in_one_line_before_anything_runs(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_dir = tmp_path / "runs"
    code, _, error = in_process(monkeypatch, capsys, *arguments, f"runs_dir={runs_dir}")
    assert code == 2
    assert error.startswith(line), error
    assert error.count("\n") == 1
    assert not runs_dir.exists()


@pytest.mark.parametrize("launcher", ["slurm", "ray"])
def test_a_launcher_whose_package_is_missing_names_the_pip_line(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = {"slurm": "submitit", "ray": "ray"}[launcher]
    monkeypatch.setitem(sys.modules, package, None)
    code, _, error = in_process(
        monkeypatch, capsys, "seed=0,1", f"launcher={launcher}", f"runs_dir={tmp_path / 'runs'}"
    )
    assert code == 2
    assert error.startswith(f"error: launcher={launcher}: the package {package} is missing; pip install {package} ")


def test_a_place_that_cannot_be_written_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    code, _, error = in_process(monkeypatch, capsys, "seed=0,1", f"runs_dir={tmp_path / 'file' / 'runs'}")
    assert code == 2
    assert error.count("\n") == 1
    assert f"runs_dir={tmp_path / 'file' / 'runs'}: cannot write there: Not a directory" in error


@pytest.mark.long
def test_the_report_is_written_though_a_job_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = misbehaving(tmp_path)
    jobs = ["norm=none,raises", "launcher.workers=1", f"runs_dir={tmp_path / 'runs'}", *own]
    code, output, _ = in_process(monkeypatch, capsys, *jobs, "report=true")
    assert code == 1
    assert (tmp_path / "runs" / "report" / "index.html").exists() or list((tmp_path / "runs").glob("report/*.html"))
    assert "2 runs: 1 finished, 1 failed" in output


@pytest.mark.long
def test_jobs_are_composed_as_hydra_composes_them() -> None:
    """Values are put into a composed configuration; Hydra would compose every job anew."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    experiments.compose([])  # registers the schema, and would complain about anything wrong
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(experiments.composition.config_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        sweeper = plugin.SuiteSweeper()
        sweeper.loader = loader
        from hydra.types import RunMode

        sweeper.config = loader.load_configuration(
            "config", ["experiment=santurkar2018/vgg_batch", "scale=full"], RunMode.MULTIRUN
        )
        with_config_name = sweeper.config.hydra.job
        OmegaConf.set_readonly(sweeper.config.hydra, False)
        with_config_name.config_name = "config"
        jobs = [
            [
                "experiment=santurkar2018/vgg_batch",
                f"scale={scale}",
                f"norm={norm}",
                f"seed={seed}",
                f"optim.lr={lr}",
                f"data.subset={n}",
            ]
            for scale in ("demo", "full")
            for norm in ("none", "l1")
            for seed in (0, 3)
            for lr in ("0.1", "1e-3")
            for n in ("null", "64")
        ]
        jobs += [["probes=[ics,gradients]", "+model.extra={a: 1}", "probes.at=[0,2]", "norm.eps=1e-3"]]
        composed = list(sweeper._compose([(None, job) for job in jobs], OverridesParser.create(config_loader=loader)))
    for job, config in zip(jobs, composed, strict=True):
        expected = experiments.compose(job)
        assert OmegaConf.to_container(config, resolve=True) == OmegaConf.to_container(expected, resolve=True), job


def test_the_time_left_follows_from_runs_of_the_same_kind(tmp_path: Path) -> None:
    def job(*overrides: str) -> Job:
        return list_jobs([("", plain_config(small(tmp_path, "steps=100", *overrides)))])[0]

    def told(state: str, step: int, seconds: float, **more: int) -> Standing:
        return Standing(state, {"step": step, "from_step": 0, "since": 1000.0, "heartbeat": 1000.0 + seconds, **more})

    jobs = [job("seed=0"), job("seed=1"), job("seed=2"), job("seed=3"), job("norm=l1"), job("seed=4")]
    standings = [
        told("finished", 100, 20.0),  # 5 steps per second
        told("running", 40, 4.0),  # 10
        Standing("missing", {}),
        told("interrupted", 60, 12.0, checkpoint=50),  # 5
        Standing("missing", {}),  # of another kind
        told("diverged", 3, 1.0),
    ]
    # Of its kind: 5, 10, 5 and 3 steps per second, the median of which (upper of four) is 5.
    assert seconds_left(jobs, standings) == [0.0, 6.0, 20.0, 10.0, None, 0.0]


def test_small_jobs_share_a_gpu_and_large_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    jobs = list_jobs([(str(seed), plain_config(small(tmp_path, f"seed={seed}"))) for seed in range(12)])

    def visible(**options) -> list[str]:
        return [place["CUDA_VISIBLE_DEVICES"] for place in Local(tmp_path, **options)._places(jobs)]

    assert visible() == ["0", "1"]
    assert visible(gpu_share=0.25) == ["0", "1"] * 4
    assert visible(gpus=[1]) == ["1"]
    assert visible(workers=3, gpu_share=0.5) == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert visible() == ["4", "6"]
    on_cpu = list_jobs([(str(seed), plain_config(small(tmp_path, f"seed={seed}", "device=cpu"))) for seed in range(3)])
    assert Local(tmp_path, workers=2)._places(on_cpu) == [{}, {}]


@pytest.mark.long
def test_a_worker_that_dies_between_jobs_is_replaced(tmp_path: Path) -> None:
    jobs = list_jobs([(str(seed), plain_config(small(tmp_path, f"seed={seed}"))) for seed in range(4)])
    launcher = Local(tmp_path, workers=1)
    ended = []
    for job, result in launcher.launch(jobs):
        ended.append((job.config["seed"], result.state))
        if len(ended) == 2:
            kill(launcher._started[-1].pid)
            launcher._started[-1].process.join()
    assert sorted(ended) == [(seed, "finished") for seed in range(4)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"minutes": 1, "warning_seconds": 20}, "launcher.minutes=1: .* launcher.warning_seconds=20, .*; at least 2$"),
        ({"minutes": 2}, "launcher.minutes=2: .* launcher.warning_seconds=90, .*; at least 3$"),
        ({"minutes": 2, "warning_seconds": 60}, "launcher.minutes=2: .*; at least 3$"),
        ({"warning_seconds": -1}, "launcher.warning_seconds=-1: must be at least 0"),
    ],
)
def test_a_time_limit_within_which_slurm_may_warn_before_the_job_starts_is_refused(
    options: dict[str, int], line: str, tmp_path: Path
) -> None:
    """Slurm warns up to a minute early, and who is warned before it listens is ended."""
    with pytest.raises(WrongInput, match=f"^{line}"):
        Slurm(tmp_path, **options)
