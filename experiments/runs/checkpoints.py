"""The states of a run from which it can go on: the latest, the one before it, and those kept for good."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from experiments.errors import RunFailure
from experiments.runs.files import write_atomically
from experiments.runs.format import CHECKPOINT, KEPT, NEXT_CHECKPOINT, PREVIOUS_CHECKPOINT, step_name, step_of

CHECKPOINT_KEYS = ("step", "network", "optimiser", "probes", "generators", "log_bytes", "conditions")
"""What every checkpoint holds."""


def save_checkpoint(path: Path, state: Mapping[str, Any], *, keep: bool = False) -> None:
    """Writes ``state`` (tensors and plain values) as the latest checkpoint; the one before it stays too.

    Args:
        path: the run folder.
        state: has the number of steps done under "step".
        keep: also keep it for good, under kept/.
    """
    buffer = io.BytesIO()  # serialised in memory first: a full disk then is an OSError and never half a file
    torch.save(dict(state), buffer)
    latest, previous = path / CHECKPOINT, path / PREVIOUS_CHECKPOINT
    fresh = path / NEXT_CHECKPOINT
    write_atomically(fresh, buffer.getvalue())
    if latest.exists():
        os.replace(latest, previous)
    os.replace(fresh, latest)
    if keep:
        (path / KEPT).mkdir(exist_ok=True)
        write_atomically(kept_checkpoint(path, state["step"]), buffer.getvalue())


def latest_checkpoint(path: Path, saved: int | None) -> dict[str, Any] | None:
    """The latest checkpoint of a run folder; None if there is none yet.

    Args:
        path: the run folder.
        saved: the step that status.json says was saved last; None: none was.

    Raises:
        RunFailure: it is damaged or gone; the line says what can be done.
    """
    latest, previous = path / CHECKPOINT, path / PREVIOUS_CHECKPOINT
    if not latest.exists() and not previous.exists():
        if saved is not None:
            raise RunFailure(
                f"{latest}: is missing, though step {saved} was saved; restore it, or "
                "delete the run folder to start anew"
            )
        return None
    file = latest if latest.exists() else previous
    way_out = f"delete it to go on from {previous.name}" if file == latest and previous.exists() else ""
    return load_checkpoint(file, way_out or "restore it, or delete the run folder to start anew")


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


def kept_checkpoint(path: Path, step: int) -> Path:
    """The file of the checkpoint that a run folder keeps of ``step``."""
    return path / KEPT / f"{step_name(step)}.pt"


def kept_steps(path: Path) -> list[int]:
    """Steps of the checkpoints kept for good in a run folder, ascending."""
    return sorted(step_of(file.stem) for file in (path / KEPT).glob("step-*.pt"))
