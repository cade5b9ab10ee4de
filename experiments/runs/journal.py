"""What a run tells while it trains: records, heartbeat, checkpoints, log; and how it is asked to stop."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from experiments.errors import Interrupted
from experiments.runs.folder import RunFolder
from experiments.runs.format import LOG, TIMES
from experiments.runs.records import RecordWriter
from experiments.runs.unsaved import Unsaved
from experiments.runtime import generator_states
from experiments.train import Training

log = logging.getLogger("experiments")

LOG_SECONDS = 10.0


class RunJournal:
    """Writes what the training loop tells: records, heartbeat, checkpoints, log."""

    def __init__(
        self,
        folder: RunFolder,
        config: Mapping[str, Any],
        training: Training,
        records: RecordWriter,
        conditions: Mapping[str, Any],
        device: torch.device,
        start: int,
    ) -> None:
        self.folder, self.config, self.training, self.records = folder, config, training, records
        self.conditions, self.device = conditions, device
        self.done = start
        self.last_values: dict[str, float] = {}
        self.stop: StopRequest | None = None
        self._keep = set(config["checkpoint"]["keep"])
        self._started = self._saved = self._logged = time.monotonic()
        self._start = start
        self._saved_at: int | None = None
        self._bar: tqdm[Any] | None = None
        self._unsaved = Unsaved(training.network)

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """Records the built-in evaluation."""
        self.records.append("training", step, values)
        self.records.end_step(step)  # a diverged step is never done, but what was probed at it counts
        self.last_values = values

    def step_done(self, done: int, loss: float) -> None:
        """Heartbeat, log line, checkpoint where due; stops where a signal asked for it."""
        self.done = done
        self.records.end_step(done - 1)
        if self._bar is not None:
            self._bar.update()
            if self.folder.heartbeat(done):
                self._bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        elif self.folder.heartbeat(done):
            self._log_line(loss)
        keep = done in self._keep
        stopping = self.stop is not None and self.stop.number is not None
        if keep or stopping or time.monotonic() - self._saved >= self.config["checkpoint"]["seconds"]:
            self._save(keep)
        if stopping:
            assert self.stop is not None
            assert self.stop.number is not None
            raise Interrupted(self.stop.number)

    def trained(self, done: int) -> None:
        """Saves the end, so that a longer run goes on from it."""
        if self._saved_at != done:
            self._save(keep=False)

    @contextlib.contextmanager
    def bar(self, progress: bool) -> Iterator[None]:
        """Draws a progress bar if asked for and standard error is a terminal."""
        if not (progress and sys.stderr.isatty()):
            yield
            return
        with tqdm(total=self.config["steps"], initial=self.done, unit="step", dynamic_ncols=True) as self._bar:
            yield

    def _log_line(self, loss: float) -> None:
        now = time.monotonic()
        if now - self._logged < LOG_SECONDS:
            return
        self._logged = now
        rate = (self.done - self._start) / (now - self._started)
        left = (self.config["steps"] - self.done) / rate
        log.info(
            "%s: step %d of %d, loss %.4g, %.1f steps/s, %.0f s left",
            *(self.folder.path.name, self.done, self.config["steps"], loss, rate, left),
        )

    def _save(self, keep: bool) -> None:
        self._unsaved.check(self.training, self.done, self.device)
        self.folder.save_checkpoint(
            {
                "step": self.done,
                "network": self.training.network.state_dict(),
                "optimiser": self.training.optimiser.state_dict(),
                "probes": self.training.probes.state_dict(),
                "generators": generator_states(self.device),
                "log_bytes": self.records.sync(),
                "conditions": dict(self.conditions),
            },
            keep=keep,
        )
        self._saved, self._saved_at = time.monotonic(), self.done
        line = f'{{"step": {self.done}, "seconds": {self._saved - self._started:.3f}, "from_step": {self._start}}}\n'
        with open(self.folder.path / TIMES, "a", encoding="utf-8") as times:
            times.write(line)


@dataclass
class StopRequest:
    """The signal that asked the run to stop, if any."""

    number: int | None = None


@contextlib.contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Within it, SIGINT and SIGTERM ask the run to stop after the current step; a second SIGINT stops at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: types.FrameType | None) -> None:
        if request.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.number = request.number or number  # a batch system may send SIGTERM more than once

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Within it, what the suite logs also goes to the run's log.txt."""
    handler = logging.FileHandler(path / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
        log.setLevel(level)
