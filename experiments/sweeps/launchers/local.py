"""This machine: a few long-lived worker processes, each of which carries out one job after the other.

A worker imports torch once, so a job costs milliseconds beyond its training.
A worker that dies (killed, out of memory, a crash in C) takes its one job with it, and another takes its place.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from experiments.errors import Interrupted, WrongInput
from experiments.memory import keep_freed_memory
from experiments.sweeps.job import Job, Result, carry_out, mark_dead
from experiments.sweeps.launchers import LAUNCHERS, cores

LAST_WORDS = 20_000
"""Characters of a dead worker's output that are kept."""


@LAUNCHERS.register("local")
class Local:
    """Worker processes on this machine.

    Args:
        runs_dir: of the sweep.
        workers: jobs at a time; None: as many as the machine has cores for, by each run's ``threads``.
        gpus: numbers of the GPUs to use; None: all that torch sees; an empty list: none.
        gpu_share: part of a GPU that one job takes: 1 for large ones, 0.25 where four small ones share one.
    """

    def __init__(
        self,
        runs_dir: Path,
        *,
        workers: int | None = None,
        gpus: list[int] | None = None,
        gpu_share: float = 1.0,
    ) -> None:
        if workers is not None and workers < 1:
            raise WrongInput(f"launcher.workers={workers}: must be at least 1, or null")
        if not 0 < gpu_share <= 1:
            raise WrongInput(f"launcher.gpu_share={gpu_share}: must be above 0 and at most 1")
        seen = list(range(torch.cuda.device_count()))
        if not set(gpus or ()) <= set(seen):
            raise WrongInput(f"launcher.gpus={gpus}: this machine has {seen or 'none'}")
        self.workers = workers
        self.gpu_share = gpu_share
        self.gpus = seen if gpus is None else gpus
        self.hide_gpus = gpus == []
        self._started: list[_Worker] = []

    def concurrent(self, jobs: Sequence[Job]) -> int:
        return len(self._places(jobs))

    def _places(self, jobs: Sequence[Job]) -> list[dict[str, str]]:
        """One environment for each job that runs at a time."""
        for job in jobs:
            if str(job.config["device"]).startswith("cuda:"):
                raise WrongInput(
                    f"device={job.config['device']}: in a sweep each job sees its own GPU only; say device=cuda and "
                    f"launcher.gpus=[{job.config['device'].removeprefix('cuda:')}]"
                )
        threads = max((job.config["threads"] for job in jobs), default=1)
        number = min(self.workers or max(1, cores() // threads), len(jobs))
        if not self.gpus or all(job.config["device"] == "cpu" for job in jobs):
            hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.hide_gpus else {}
            return [dict(hidden) for _ in range(number)]
        on_each = int(1 / self.gpu_share + 1e-9)
        places = [{"CUDA_VISIBLE_DEVICES": _visible(gpu)} for _ in range(on_each) for gpu in self.gpus]
        return places[: min(self.workers or len(places), len(jobs))]

    def launch(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Result]]:
        waiting = list(reversed(jobs))
        places = self._places(jobs)
        self._started = []
        idle: list[_Worker] = []
        busy: dict[int, _Worker] = {}
        with tempfile.TemporaryDirectory(prefix="workers-") as folder:
            try:
                while waiting or busy:
                    idle = [worker for worker in idle if worker.process.is_alive()]
                    while waiting and len(busy) < len(places):
                        if not idle:
                            taken = {worker.place for worker in busy.values()}
                            place = next(i for i in range(len(places)) if i not in taken)
                            idle.append(_Worker.start(place, places[place], Path(folder)))
                            self._started.append(idle[-1])
                        worker = idle.pop()
                        busy[worker.pid] = worker
                        worker.give(waiting.pop())
                    ready = wait([source for worker in busy.values() for source in worker.sources])
                    for worker in [w for w in busy.values() if any(source in ready for source in w.sources)]:
                        del busy[worker.pid]
                        job, result = worker.take()
                        if worker.alive and result.state == "failed":
                            worker.end()  # whatever went wrong there shall not reach the next job
                        if worker.alive:
                            idle.append(worker)
                        yield job, result
            finally:
                self.stop()

    def stop(self) -> None:
        """Lets each worker save what it is doing, then ends it; a second interruption ends all at once."""
        living = [worker for worker in self._started if worker.alive]
        try:
            for worker in living:
                worker.connection.close()  # an idle one ends by this
                if worker.job is not None and worker.process.is_alive():
                    worker.process.terminate()  # its run saves a checkpoint after the current step
            for worker in living:
                worker.process.join()
                worker.alive = False
        except KeyboardInterrupt:
            for worker in living:
                worker.process.kill()
            raise


def _visible(gpu: int) -> str:
    """The GPU's name for a worker, where this process itself sees only some of the machine's."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",")[gpu].strip() if chosen else str(gpu)


@dataclass
class _Worker:
    """A worker process as its driver sees it."""

    process: Any
    connection: Connection
    output: Path
    place: int
    alive: bool = True
    job: Job | None = None
    _read: int = 0

    @classmethod
    def start(cls, place: int, environment: Mapping[str, str], folder: Path) -> _Worker:
        # Spawned by this process itself: a fork server would be one process more that a signal or a lack of memory can
        # end, and its children's deaths would be its to report.
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        handle, output = tempfile.mkstemp(dir=folder)
        os.close(handle)
        process = context.Process(target=_serve, args=(theirs, output, dict(environment)))
        process.start()
        theirs.close()
        return cls(process, mine, Path(output), place)

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def sources(self) -> tuple[Any, Any]:
        return self.connection, self.process.sentinel

    def give(self, job: Job) -> None:
        self.job, self._read = job, self.output.stat().st_size
        with contextlib.suppress(OSError):  # it died while idle: take() will tell
            self.connection.send(job.config)

    def end(self) -> None:
        """Lets an idle worker go."""
        self.alive = False
        self.connection.close()
        self.process.join()

    def take(self) -> tuple[Job, Result]:
        """The job that ended, or died with the worker, and its result."""
        assert self.job is not None
        job, self.job = self.job, None
        try:
            if self.connection.poll():
                return job, self.connection.recv()
        except (EOFError, OSError):
            pass
        self.alive = False
        self.process.join()
        reason = _reason(self.process.exitcode)
        self.connection.close()
        with open(self.output, "rb") as file:
            file.seek(self._read)
            last_words = file.read()[-LAST_WORDS:].decode(errors="replace")
        mark_dead(job, self.pid, reason, last_words)
        return job, Result("failed", reason)


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        more = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{more}"
    return f"its process ended with exit code {code}"


def _serve(connection: Connection, output: str, environment: Mapping[str, str]) -> None:
    """A worker: jobs in, results out, until its driver is gone."""
    os.setsid()  # Ctrl-C in the terminal is the driver's to handle, once
    os.environ.update(environment)
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable()
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr, force=True)
    for number in (signal.SIGINT, signal.SIGUSR2):  # a batch system's warning is the driver's to handle, too
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_freed_memory()
    threading.Thread(target=_end_with_driver, daemon=True).start()
    while True:
        try:
            config = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = carry_out(config)
        except Interrupted:
            result = Result("interrupted", "stopped by a signal")
        with contextlib.suppress(OSError):
            connection.send(result)


def _end_with_driver() -> None:
    """Asks the current job to save and stop once the driver is gone, however it went."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    wait([driver.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
