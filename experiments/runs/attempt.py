"""What holds while a run is worked on, by training or by probing it again, and what came of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.errors import Interrupted, RunFailure, WrongInput
from experiments.options import users_place
from experiments.runs.folder import RunFolder
from experiments.runs.format import TRACEBACK
from experiments.runs.journal import StopRequest, log_file, stop_signals
from experiments.runs.lease import LeaseLost
from experiments.runs.provenance import end_provenance
from experiments.runs.records import RecordWriter
from experiments.runtime import restore_generator_states
from experiments.train import Training
from probes.errors import ProbeError

log = logging.getLogger("experiments")


@dataclass(frozen=True)
class Outcome:
    """How a run stands after it was asked for."""

    path: Path
    """The run folder."""
    state: str
    """finished, diverged or (``dry``) what it was found in."""
    step: int
    """Steps done."""
    trained: bool
    """False where nothing had to be done."""


@contextlib.contextmanager
def recorded(folder: RunFolder, records: RecordWriter, start: int, steps: int) -> Iterator[StopRequest]:
    """Within it the run is marked as running, logged, and may be stopped; whatever ends it is written to its folder.

    Raises:
        Interrupted: a signal asked to stop.
        WrongInput, RunFailure: in one line, what went wrong; the traceback is in the folder.
    """
    (folder.path / TRACEBACK).unlink(missing_ok=True)
    with log_file(folder.path), stop_signals() as stop:
        folder.set_status("running", start, steps)  # whoever reads it may send a signal
        try:
            yield stop
        except Interrupted:
            folder.set_status("interrupted", folder.step, steps, message="stopped by a signal")
            end_provenance(folder.path)
            raise
        except LeaseLost:
            raise  # nothing more is written here
        except Exception as error:
            folder.failed(folder.step, steps, error)
            log.info("%s: failed: %s: %s", folder.path.name, type(error).__name__, error)
            if isinstance(error, ProbeError):
                raise WrongInput(f"probes: {error}") from error
            if isinstance(error, (RunFailure, WrongInput, OSError)):
                raise
            first = str(error).splitlines()[0] if str(error) else ""
            place = users_place(error)
            raise RunFailure(
                f"{folder.path}: failed at step {folder.step}: {type(error).__name__}: {first} "
                f"({f'{place}; ' if place else ''}whole story in traceback.txt there)"
            ) from error
        finally:
            records.close()


def restore(training: Training, checkpoint: Mapping[str, Any], device: torch.device) -> None:
    """Puts weights, buffers, optimiser and generators back to the checkpoint's."""
    training.network.load_state_dict(checkpoint["network"])
    training.optimiser.load_state_dict(checkpoint["optimiser"])
    restore_generator_states(checkpoint["generators"], device)
