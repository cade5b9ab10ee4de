"""Sweeps for tests: small jobs, some of which misbehave, started as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.runs import checkpoint, differences

ROOT = Path(__file__).parent.parent
SMALL = ["model=mlp", "model.widths=[16,16]", "data.subset=64", "data.test_subset=40", "optim.batch_size=16"]
SMALL += ["steps=40", "evaluation.every=10"]


def small_jobs(*arguments: str) -> list[str]:
    """Of small jobs, except in what ``arguments`` set: a key that is set twice is refused."""
    chosen = {argument.partition("=")[0] for argument in arguments}
    return [*(default for default in SMALL if default.partition("=")[0] not in chosen), *arguments]


MISBEHAVING = '''
import os
import signal
import time

import torch


class Waits(torch.nn.Module):
    """Does nothing, and takes five milliseconds for it: a run that lasts as long on a fast machine."""

    def __init__(self, layer):
        super().__init__()

    def forward(self, x):
        time.sleep(0.005)
        return x


class WaitsAtFirst(torch.nn.Module):
    """Takes a fifth of a second in a job that Slurm starts for the first time, and no time when it is started again."""

    def __init__(self, layer):
        super().__init__()

    def forward(self, x):
        first = "SLURM_JOB_ID" in os.environ and not int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        time.sleep(0.2 if first else 0)
        return x


class Raises(torch.nn.Module):
    """Raises at its sixth training step, however often the run is resumed."""

    def __init__(self, layer):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            self.seen = self.seen + 1
            if self.seen > 5:
                self.misbehave()
        return x

    def misbehave(self):
        raise RuntimeError("this normalisation never works")


class DiesAtOnce(torch.nn.Module):
    """Ends its process in its first forward pass, before there is a run folder."""

    def __init__(self, layer):
        super().__init__()

    def forward(self, x):
        os._exit(7)


class Doubles(torch.nn.Module):
    """Leaves torch another default type than it found."""

    def __init__(self, layer):
        super().__init__()
        torch.set_default_dtype(torch.float64)

    def forward(self, x):
        return x.double()


class KillsItself(Raises):
    """Kills its process there."""

    def misbehave(self):
        os.kill(os.getpid(), signal.SIGKILL)
'''


MISBEHAVING_NAMES = {
    "waits": "Waits",
    "waits_at_first": "WaitsAtFirst",
    "raises": "Raises",
    "kills_itself": "KillsItself",
}
MISBEHAVING_NAMES |= {"dies_at_once": "DiesAtOnce", "doubles": "Doubles"}


def misbehaving(folder: Path) -> list[str]:
    """Writes these normalisations there; the arguments that make them known as norm=raises, norm=kills_itself, ..."""
    (folder / "mine" / "norm").mkdir(parents=True)
    (folder / "mine" / "misbehaving.py").write_text(MISBEHAVING)
    for name, of in MISBEHAVING_NAMES.items():
        text = f"name: {of}\nfile: {folder}/mine/misbehaving.py\n"
        (folder / "mine" / "norm" / f"{name}.yaml").write_text(text)
    return ["--config-dir", str(folder / "mine")]


def start(*arguments: str, runs_dir: Path, python: str = sys.executable) -> subprocess.Popen[str]:
    """A sweep of small jobs, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [python, "-m", "experiments", "-m", *small_jobs(f"runs_dir={runs_dir}", *arguments)],
        env=environment,
        cwd=runs_dir.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sweep(*arguments: str, runs_dir: Path, python: str = sys.executable, timeout: float = 240) -> tuple[int, str, str]:
    """The same until it ends: exit code, output, errors."""
    process = start(*arguments, runs_dir=runs_dir, python=python)
    try:
        output, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output, error


def status(run: Path) -> dict:
    """status.json of a run folder, or nothing."""
    file = run / "status.json"
    return json.loads(file.read_text()) if file.exists() else {}


def runs(runs_dir: Path) -> list[Path]:
    """The run folders there, sorted by name."""
    return sorted(path.parent for path in runs_dir.glob("*/config.json"))


def states(runs_dir: Path) -> dict[str, str]:
    """Run -> state."""
    return {run.name: status(run).get("state", "missing") for run in runs(runs_dir)}


def times_trained(run: Path) -> int:
    """How often the run's log says that it came to its end: not at all where it was killed as it said so."""
    return (run / "log.txt").read_text().count(f"{run.name}: finished at step")


def starts(run: Path) -> int:
    """How often a process began or resumed it."""
    return len(json.loads((run / "provenance.json").read_text())["starts"])


def assert_same_results(one: Path, other: Path, named: str = "") -> None:
    """The finished runs of ``one``, all or those so ``named``, hold the same bits in ``other``.

    Of records, arrays, weights, buffers and the optimiser.
    """
    finished = [name for name, state in states(one).items() if state == "finished" and named in name]
    assert finished
    for name in finished:
        a, b = one / name, other / name
        assert (a / "records.jsonl").read_bytes() == (b / "records.jsonl").read_bytes(), name
        assert (a / "records.parquet").read_bytes() == (b / "records.parquet").read_bytes(), name
        if (a / "arrays.npz").exists():
            with np.load(a / "arrays.npz") as mine, np.load(b / "arrays.npz") as theirs:
                assert sorted(mine.files) == sorted(theirs.files), name
                assert all(mine[key].tobytes() == theirs[key].tobytes() for key in mine.files), name
        mine, theirs = checkpoint(a), checkpoint(b)
        for key in ("network", "optimiser"):
            assert differences(mine[key], theirs[key]) == [], (name, key)


def running_workers(runs_dir: Path) -> list[int]:
    """Process ids of those who say that they run something there, and live."""
    found = []
    for run in runs(runs_dir):
        told = status(run)
        if told.get("state") == "running":
            try:
                os.kill(told["pid"], 0)
                found.append(told["pid"])
            except ProcessLookupError:
                pass
    return found


def wait_until(condition, seconds: float = 60, every: float = 0.02) -> None:
    """Until ``condition()`` is true; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(every)


def kill(pid: int) -> None:
    """SIGKILL, to whoever is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
