"""A run folder of what was measured elsewhere: by probes around somebody else's training loop."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.errors import WrongInput, near_miss
from experiments.runs.files import write_json
from experiments.runs.format import CONFIG, STATUS
from experiments.runs.identity import RESULTS_VERSION
from experiments.runs.records import RecordWriter

_DESCRIBED: Mapping[str, Any] = {
    "data": "own",
    "model": "own",
    "norm": "own",
    "optim": "own",
    "lr": None,
    "batch_size": None,
    "seed": 0,
    "task": "classification",
}
"""What can be said of such a run, and what is said of it otherwise."""


def save(
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]],
    records: Iterable[tuple[str, int, Mapping[str, Tensor]]],
    folder: str | Path,
    described: Mapping[str, Any],
) -> Path:
    """Writes a finished run.

    Args:
        fields: as of fields.json.
        records: (probe, step, values), in the order of the steps.
        folder: made if missing; its name is the run's.
        described: see ``_DESCRIBED``.

    Raises:
        WrongInput: a key of ``described`` that there is not; the folder holds a run already.
    """
    for key in described:
        if key not in _DESCRIBED:
            raise WrongInput(f"save, {key}={described[key]}: {near_miss(key, _DESCRIBED)}")
    said, path, records = {**_DESCRIBED, **described}, Path(folder), list(records)
    if (path / CONFIG).exists():
        raise WrongInput(f"save: {path} holds a run already; give another folder")
    path.mkdir(parents=True, exist_ok=True)
    done = records[-1][1] + 1
    choices = {group: str(said[group]) for group in ("data", "model", "norm", "optim")} | {"numerics": "own"}
    training: dict[str, Any] = {group: {"name": name} for group, name in choices.items()}
    training["optim"] |= {
        "lr": said["lr"],
        "batch_size": said["batch_size"],
        "weight_decay": None,
        "loss": "own",
        "schedule": "constant",
    }
    training |= {"seed": said["seed"]}
    config = {**training, "steps": done, "label": path.parent.name}
    description = {
        "results_version": RESULTS_VERSION,
        "run": path.name,
        "experiment": path.parent.name,
        "arm": None,
        "spec": {"task": said["task"]},
        "training": training,
        "measurement": {},
        "defaults": {},
        "measurement_defaults": {},
        "choices": choices,
        "config": {**config, "data": {**config["data"], "label": choices["data"]}},
    }
    writer = RecordWriter(path, fields)
    for probe, step, values in records:
        writer.append(probe, step, values)
        writer.end_step(step)
    writer.compact()
    writer.close()
    write_json(path / CONFIG, description)
    status = {"state": "finished", "step": done, "steps": done, "heartbeat": time.time(), "since": time.time()}
    status |= {
        "from_step": 0,
        "host": "",
        "pid": 0,
        "checkpoint": None,
        "message": None,
        "diverged_at": None,
        "final": None,
    }
    write_json(path / STATUS, status)
    return path
