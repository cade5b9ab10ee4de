"""The run folder from the inside: the right to write to it, its description, its status, its checkpoints."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from experiments.errors import WrongInput
from experiments.runs import checkpoints
from experiments.runs.files import read_json, write_atomically, write_json
from experiments.runs.format import CONFIG, LOG, STATUS, TRACEBACK
from experiments.runs.identity import RESULTS_VERSION, Identity, check_identity, choices_of
from experiments.runs.lease import Lease, LeaseLost
from experiments.schema import HEARTBEAT_SECONDS


def came_to(status: Mapping[str, Any] | None) -> str:
    """What an ended run came to, in brackets: ` (test 0.97)`, its test accuracy; ` (test loss 43.1)`, for a regression;
    ` (at step 37)`, where it diverged; empty where its status has none of these.
    """
    final = (status or {}).get("final") or {}
    if status and status.get("diverged_at") is not None:
        return f" (at step {status['diverged_at']})"
    for metric, word in (("test_accuracy", "test"), ("test_data_loss", "test loss")):
        if metric in final:
            return f" ({word} {final[metric]:.3g})"
    return ""


def read_status(path: Path) -> dict[str, Any] | None:
    """What status.json of the folder says; None before the first start."""
    if not (path / STATUS).exists():
        return None
    return read_json(path / STATUS, ("state", "step", "steps", "host", "pid"))


Describe: TypeAlias = "Callable[[RunFolder], None]"


class RunFolder:
    """One run's folder, which this process alone may write to.

    Args:
        path: the folder; made if missing.
        lease_seconds: silence after which a process on another host counts as dead.

    Raises:
        WrongInput: the folder cannot be written.
        RunBusy: another process is writing to it.
    """

    def __init__(self, path: Path, lease_seconds: float = 60.0) -> None:
        self.path = path
        self._status: dict[str, Any] = {}
        self._beat = 0.0
        self.step = 0
        """Steps done, as last heard of."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.lease = Lease(path, lease_seconds)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise WrongInput(f"runs_dir={path.parent}: cannot write there: {error.strerror}") from error

        # What a killed process had begun to write; nobody else writes here while the lease is held.
        try:
            for leftover in (*path.glob("*.tmp"), *path.glob("arrays/*.tmp"), *path.glob("kept/*.tmp")):
                if not leftover.name.startswith("lease."):  # of others, who just ask
                    leftover.unlink(missing_ok=True)
        except BaseException:
            self.lease.release()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.lease.release()

    def describe(
        self, identity: Identity, config: Mapping[str, Any], data_label: str, spec: Mapping[str, Any] | None
    ) -> None:
        """Writes config.json, or checks that the run stored here is the same (see :func:`check_identity`)."""
        there = check_identity(self.path, identity)
        if there is not None and there.get("spec") is not None and there["config"]["steps"] == config["steps"]:
            return
        described = {**config, "data": {**config["data"], "label": data_label}}
        write_json(
            self.path / CONFIG,
            {
                "results_version": identity.results_version,
                "common_version": RESULTS_VERSION,
                "run": self.path.name,
                "experiment": there["experiment"] if there else config["label"],
                "arm": there.get("arm") if there else config.get("arm"),
                "spec": spec,
                "training": identity.training,
                "measurement": identity.measurement,
                "defaults": identity.defaults,
                "measurement_defaults": identity.measurement_defaults,
                "choices": choices_of(config),
                "config": described,
            },
        )

    def set_status(self, state: str, step: int, steps: int, **more: Any) -> None:
        """Writes status.json: running, finished, diverged, failed or interrupted, at ``step`` of ``steps``."""
        self.lease.check()
        self.step = step
        begun = {"since": self._status.get("since", time.time()), "from_step": self._status.get("from_step", step)}
        self._status = {
            "state": state,
            "step": step,
            "steps": steps,
            "heartbeat": time.time(),
            **begun,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "checkpoint": self._status.get("checkpoint"),
            "message": None,
            "diverged_at": None,
            "final": None,
            **more,
        }
        self._beat = time.monotonic()
        write_json(self.path / STATUS, self._status)

    def heartbeat(self, step: int) -> bool:
        """Renews status.json now and then while running; true when it did."""
        self.step = step
        if time.monotonic() - self._beat < HEARTBEAT_SECONDS:
            return False
        self.set_status("running", step, self._status["steps"])
        return True

    def died(self, status: Mapping[str, Any], reason: str) -> None:
        """Writes that the process died that wrote ``status`` last."""
        self._status = dict(status)
        self.set_status("failed", status.get("step", 0), status.get("steps", 0), message=reason)

    def save_checkpoint(self, state: Mapping[str, Any], *, keep: bool = False) -> None:
        """Writes ``state`` as the latest checkpoint; see :func:`experiments.runs.checkpoints.save_checkpoint`."""
        self.lease.check()
        checkpoints.save_checkpoint(self.path, state, keep=keep)
        self._status["checkpoint"] = state["step"]

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The latest checkpoint; None if there is none yet.

        Raises:
            RunFailure: it is damaged or gone; the line says what can be done.
        """
        self._status["checkpoint"] = (read_status(self.path) or {}).get("checkpoint")
        return checkpoints.latest_checkpoint(self.path, self._status["checkpoint"])

    def failed(self, step: int, steps: int, error: BaseException) -> None:
        """Records a failure: status and traceback.txt. Never raises: the disk may be what failed."""
        try:
            self.lease.check()
        except LeaseLost:
            return  # the run is another process's, and goes on there
        with contextlib.suppress(OSError):
            write_atomically(
                self.path / TRACEBACK,
                "".join(traceback.format_exception(error)).encode(),
            )
        with contextlib.suppress(OSError, LeaseLost):
            self.set_status("failed", step, steps, message=f"{type(error).__name__}: {error}".splitlines()[0])


def mark_dead(path: Path, pid: int, reason: str, last_words: str, lease_seconds: float, describe: Describe) -> None:
    """Writes into a run folder that the process that had it died.

    Args:
        path: the folder; made if the process died before it did.
        pid: of the dead one. What another process has made of the run since is left alone.
        reason, last_words: what became of it, and what it printed last.
        lease_seconds: see :class:`RunFolder`.
        describe: writes config.json where there is none.

    Raises:
        RunBusy: another process has taken the run up already.
        WrongInput, RunFailure, OSError: the folder cannot be read or written.
    """
    with RunFolder(path, lease_seconds) as folder:
        status = read_status(path)
        if status is not None and (status["pid"] != pid or status["state"] not in ("running", "failed")):
            return
        if not (path / CONFIG).exists():
            describe(folder)
        write_atomically(path / TRACEBACK, f"{reason}\n{last_words}".encode())
        if not (path / LOG).exists():
            write_atomically(path / LOG, f"{reason}\n".encode())
        folder.died(status or {}, reason)
