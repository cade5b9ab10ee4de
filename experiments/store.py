"""The run folder from the inside: identity, status, checkpoints. From the outside only analysis' loader knows it."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import torch

from experiments.errors import RunFailure, WrongInput
from experiments.lease import HEARTBEAT_SECONDS, Lease, LeaseLost
from experiments.records import write_atomically, write_json
from experiments.registry import source_hash

RESULTS_VERSION = 2
"""Raised whenever a change makes equal configurations give other numbers."""

PROVENANCE_KEYS = frozenset(
    {
        "device",
        "threads",
        "launcher",
        "runs_dir",
        "run_name",
        "resume",
        "retry_diverged",
        "lease_seconds",
        "report",
        "mirror",
        "dry",
        "label",
        "checkpoint",
        "probe_again",
        "scale",
        "data.root",
        "data.download",
        "data.cache",
        "data.label",
    }
)
"""Configuration keys that do not change the numbers."""


def identity_of(config: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    """The scientific configuration: everything that changes the numbers, and nothing else.

    Args:
        config: the resolved configuration as plain dictionaries.
        fingerprint: of the data's contents, where the configuration does not determine them.
    """

    def scientific(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in node.items():
            path = f"{prefix}{key}"
            if path in PROVENANCE_KEYS:
                continue
            if key == "file":
                if value is not None:
                    kept["file_sha256"] = source_hash(value, f"{path}={value}")
            elif isinstance(value, Mapping):
                kept[key] = scientific(value, f"{path}.")
            else:
                kept[key] = _canonical(value)
        return kept

    identity = scientific(config, "")
    if not steps_change_results(config):
        del identity["steps"]
    if fingerprint:
        identity["data"]["fingerprint"] = fingerprint
    return identity


def _canonical(value: Any) -> Any:
    """One spelling of equal numbers: 1 for 1.0, also within lists."""
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def steps_change_results(config: Mapping[str, Any]) -> bool:
    """Whether a longer run differs from a shorter one before its end: where a schedule depends on the length."""
    return bool(config["optim"]["schedule"] == "cosine")


def run_name(config: Mapping[str, Any], identity: Mapping[str, Any], data_label: str) -> str:
    """The run folder's name: what a person looks for, then ten digits of the identity's hash."""
    if config["run_name"] is not None:
        name = str(config["run_name"])
        if not name or name != os.path.basename(name) or name.startswith("."):
            raise WrongInput(f"run_name={name}: must be a plain folder name")
        return name
    text = json.dumps([RESULTS_VERSION, identity], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    optim = config["optim"]
    parts = (data_label, config["model"]["name"], config["norm"]["name"], optim["name"])
    readable = "-".join([*parts, f"lr{optim['lr']:g}", f"seed{config['seed']}"])
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in readable) + f"-{digest}"


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys at which two nested mappings differ, with both values."""
    lines = []
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key} ({a} there, {b} here)")
    return lines


def check_identity(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """What config.json of the folder says; None if no run is stored there yet.

    Raises:
        WrongInput: the folder holds a run of another configuration or results version; the differences are named.
    """
    target = path / "config.json"
    if not target.exists():
        return None
    there = read_json(target, ("results_version", "identity", "config", "experiment"))
    if there["results_version"] != RESULTS_VERSION:
        raise WrongInput(
            f"{path}: made by results version {there['results_version']} of the suite, this is version "
            f"{RESULTS_VERSION}; choose another runs_dir or run_name"
        )
    differences = differing_keys(there["identity"], json.loads(json.dumps(identity)))
    if differences:
        raise WrongInput(
            f"{path}: holds a run of another configuration: {'; '.join(differences)}; "
            "choose another run_name, or leave it out"
        )
    return there


def read_status(path: Path) -> dict[str, Any] | None:
    """What status.json of the folder says; None before the first start."""
    if not (path / "status.json").exists():
        return None
    return read_json(path / "status.json", ("state", "step", "steps", "host", "pid"))


def kept_steps(path: Path) -> list[int]:
    """Steps of the checkpoints kept for good in a run folder, ascending."""
    return sorted(int(file.stem.removeprefix("step-")) for file in (path / "kept").glob("step-*.pt"))


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
        self, identity: Mapping[str, Any], config: Mapping[str, Any], data_label: str, spec: Mapping[str, Any] | None
    ) -> None:
        """Writes config.json, or checks that the run stored here is the same (see :func:`check_identity`)."""
        there = check_identity(self.path, identity)
        if there is not None and there.get("spec") is not None and there["config"]["steps"] >= config["steps"]:
            return
        described = {**config, "data": {**config["data"], "label": data_label}}
        write_json(
            self.path / "config.json",
            {
                "results_version": RESULTS_VERSION,
                "run": self.path.name,
                "experiment": there["experiment"] if there else config["label"],
                "spec": spec,
                "identity": identity,
                "config": described,
            },
        )

    # Status ---------------------------------------------------------------------------------------------------------

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
        write_json(self.path / "status.json", self._status)

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

    # Provenance -----------------------------------------------------------------------------------------------------

    def begin_provenance(self, **facts: Any) -> None:
        """Adds this start to provenance.json."""
        path = self.path / "provenance.json"
        starts = read_json(path, ("starts",))["starts"] if path.exists() else []
        commit, dirty = _git_state()
        starts.append(
            {
                "started": _now(),
                "ended": None,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "command": shlex.join([sys.executable, *sys.argv]),
                "git_commit": commit,
                "git_dirty": dirty,
                **facts,
            }
        )
        write_json(path, {"starts": starts})

    def end_provenance(self) -> None:
        """Writes the time at which the latest start ended."""
        path = self.path / "provenance.json"
        starts = read_json(path, ("starts",))["starts"]
        starts[-1]["ended"] = _now()
        write_json(path, {"starts": starts})

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def save_checkpoint(self, state: Mapping[str, Any], *, keep: bool = False) -> None:
        """Writes ``state`` (tensors and plain values) as the latest checkpoint; the one before it stays too.

        Args:
            state: has the number of steps done under "step".
            keep: also keep it for good, under kept/.
        """
        self.lease.check()
        buffer = io.BytesIO()  # serialised in memory first: a full disk then is an OSError and never half a file
        torch.save(dict(state), buffer)
        latest, previous = self.path / "checkpoint.pt", self.path / "checkpoint.previous.pt"
        fresh = self.path / "checkpoint.next.pt"
        write_atomically(fresh, buffer.getvalue())
        if latest.exists():
            os.replace(latest, previous)
        os.replace(fresh, latest)
        self._status["checkpoint"] = state["step"]
        if keep:
            (self.path / "kept").mkdir(exist_ok=True)
            write_atomically(self.path / "kept" / f"step-{state['step']:08d}.pt", buffer.getvalue())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The latest checkpoint; None if there is none yet.

        Raises:
            RunFailure: it is damaged; the line says what can be done.
        """
        latest, previous = self.path / "checkpoint.pt", self.path / "checkpoint.previous.pt"
        status = read_status(self.path) or {}
        self._status["checkpoint"] = status.get("checkpoint")
        if not latest.exists() and not previous.exists():
            if status.get("checkpoint") is not None:
                raise RunFailure(
                    f"{latest}: is missing, though step {status['checkpoint']} was saved; restore it, or "
                    "delete the run folder to start anew"
                )
            return None
        path = latest if latest.exists() else previous
        way_out = f"delete it to go on from {previous.name}" if path == latest and previous.exists() else ""
        return load_checkpoint(path, way_out or "restore it, or delete the run folder to start anew")

    def failed(self, step: int, steps: int, error: BaseException) -> None:
        """Records a failure: status and traceback.txt. Never raises: the disk may be what failed."""
        try:
            self.lease.check()
        except LeaseLost:
            return  # the run is another process's, and goes on there
        with contextlib.suppress(OSError):
            write_atomically(
                self.path / "traceback.txt",
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
        if not (path / "config.json").exists():
            describe(folder)
        write_atomically(path / "traceback.txt", f"{reason}\n{last_words}".encode())
        if not (path / "log.txt").exists():
            write_atomically(path / "log.txt", f"{reason}\n".encode())
        folder.died(status or {}, reason)


CHECKPOINT_KEYS = ("step", "network", "optimiser", "probes", "generators", "log_bytes", "conditions")
"""What every checkpoint holds."""


def load_checkpoint(path: Path, way_out: str = "restore it") -> dict[str, Any]:
    """The tensors and plain values of one checkpoint file, on the CPU; its checksums are verified.

    Raises:
        RunFailure: the file is damaged; ``way_out`` says what can be done.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"checksum of {broken} differs")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = [key for key in CHECKPOINT_KEYS if key not in state]
        if missing:
            raise ValueError(f"has no {missing[0]!r}")
    except Exception as error:  # torch.load raises many types on damaged files
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RunFailure(f"{path}: the checkpoint is damaged ({reason}); {way_out}") from error
    return state


def read_json(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON file of the run folder, which must be an object with ``keys``.

    Raises:
        RunFailure: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in keys if key not in content]
        if not isinstance(content, dict) or missing:
            raise ValueError(f"has no {missing[0]!r}" if missing else "is no object")
    except (ValueError, TypeError) as error:
        raise RunFailure(f"{path}: damaged ({error}); restore it, or delete the run folder to start anew") from error
    return content


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an error of the disk into one line that names the file and says what is safe."""
    try:
        yield
    except OSError as error:
        file = error.filename or path
        raise RunFailure(
            f"{file}: {error.strerror or error}; the last checkpoint and all records up to it are intact: "
            "mend this and run the same command again"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache  # of the code that this process has loaded, whatever is committed while it runs
def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the suite's own checkout, and whether it has uncommitted changes; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no", "--", "."))
    except (OSError, subprocess.SubprocessError):
        return None, None
