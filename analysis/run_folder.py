"""A run folder, read from the outside: what its small files say, each opened at most once.

`status.json` is read with `config.json`; `provenance.json` and `fields.json`, which say where the run comes from and
what its probes record, when they are asked for. With `analysis.records` and `analysis.arrays` this is the only place of
this room that reads a run folder; how it is laid out stands in `experiments.runs.format`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from analysis.errors import DamagedFile
from experiments.runs.format import (
    CONFIG,
    FIELDS,
    LEASE,
    PROVENANCE,
    STATUS,
    Fields,
    fields_from_json,
    flat,
    kind_of_key,
    training_of,
)
from experiments.source_keys import HASHES, SOURCE_KEYS

# Column of the table -> group of the config that was chosen from, whose choice is named as it was typed.
CHOICES = {"data": "data", "model": "model", "norm": "norm", "optimiser": "optim"}
# Column of the table -> key of the resolved config.
TEXT_KEYS = {
    "loss_reduction": "optim.loss",
    "schedule": "optim.schedule",
    "numerics": "numerics",
}
_COLUMN_OF = {"data": "data", "model": "model", "norm": "norm", "optim": "optimiser", "numerics": "numerics"}
NUMBER_KEYS = {
    "lr": "optim.lr",
    "batch_size": "optim.batch_size",
    "weight_decay": "optim.weight_decay",
    "seed": "seed",
    "steps": "steps",
}
RUN_COLUMNS = ["run", "experiment", "state", "diverged_at", "data", "model", "norm", "optimiser", "lr", "batch_size"]
RUN_COLUMNS += ["weight_decay", "loss_reduction", "schedule", "seed", "steps", "numerics", "task"]

ENDED = ("finished", "diverged")
"""States in which nothing more is to be done."""
GROUPS = ("data", "model", "norm", "optim", "numerics")


@dataclass
class Run:
    """One run folder.

    Attributes:
        files: the names in it.
        training: by dotted key, every option that changes what is trained, defaults filled in.
        measurement: what is measured, as far as it differs from the defaults; empty for runs of before the two were
            told apart.
        arm: of the sweep that it was made for, if that had arms.
        task: the kind of task, as the specification of its data says.
        defaults: by dotted key, of every training option that has one; empty for older runs.
        common: version of the results of all models that no later change touched, when it was made.
    """

    folder: Path
    name: str
    experiment: str | None
    version: int
    config: Mapping[str, Any]
    training: Mapping[str, Any]
    measurement: Mapping[str, Any]
    status: Mapping[str, Any]
    files: frozenset[str]
    arm: str | None = None
    task: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    common: int | None = None

    @cached_property
    def trained(self) -> dict[str, Any]:
        """What was trained: the configuration's keys, dotted, that change its numbers, the seed excepted.

        A group's bare name is its choice; hashes of a user's files and of data are among them. Raises DamagedFile.
        """
        found: dict[str, Any] = {}
        for key, value in flat(self.config).items():
            group, _, option = key.partition(".")
            if option == "name" and group in GROUPS:
                found[group] = self.column(_COLUMN_OF[group])
            elif kind_of_key(key) != "training" or key == "seed" or option in SOURCE_KEYS:
                continue
            elif option or group not in GROUPS:
                found[key] = value
            else:
                found[group] = text(value)
        return found | {key: value for key, value in self.training.items() if key.rpartition(".")[2] in HASHES}

    @cached_property
    def starts(self) -> list[dict[str, Any]]:
        """The entries of provenance.json, one per start; empty where there is none. Raises DamagedFile."""
        path = self.folder / PROVENANCE
        starts = _json(path).get("starts") if path.name in self.files else []
        if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
            raise DamagedFile(f"{path} is damaged: it must hold a list of starts")
        if not all(isinstance(start.get("versions") or {}, dict) for start in starts):
            raise DamagedFile(f"{path} is damaged: versions must be an object")
        return starts

    @property
    def sign_of_life(self) -> float | None:
        """When its process was last heard of, in Unix seconds: by its status, or by its lease, which it renews while a
        long step is under way."""
        told = [float(self.status["heartbeat"])] if self.status.get("heartbeat") is not None else []
        for name in self.files:
            if name.startswith(LEASE):
                with contextlib.suppress(OSError):  # released a moment ago
                    told.append((self.folder / name).stat().st_mtime)
        return max(told, default=None)

    @cached_property
    def fields(self) -> Fields:
        """Probe -> key -> what fields.json says of it; empty where there is none. Raises DamagedFile."""
        path = self.folder / FIELDS
        return _fields(path) if path.name in self.files else {}

    def column(self, name: str) -> Any:
        """The value of one of RUN_COLUMNS (None: not set). Raises DamagedFile where the config lacks its key."""
        if name == "run":
            return self.name
        if name == "experiment":
            return self.experiment
        if name == "state":
            return self.status.get("state", "not started")
        if name == "diverged_at":
            return self.status.get("diverged_at")
        if name == "task":
            return self.task
        if name in CHOICES:
            return self._chosen(CHOICES[name])
        if name in NUMBER_KEYS:
            value = self._required(NUMBER_KEYS[name])
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise DamagedFile(f"{self.folder / CONFIG}: {NUMBER_KEYS[name]} is {value!r}, not a number")
            return value
        return text(self._required(TEXT_KEYS[name]))

    def _chosen(self, group: str) -> str | None:
        """A group's choice, as it was typed; in folders that do not say, by the name of what it built."""
        name = text(self._required(f"{group}.name"))
        label = text(lookup(self.config, "data.label")[0]) if group == "data" else None
        if label and label != name:  # it tells apart two sets that one function reads, such as two image folders
            return label
        return text(lookup(self.config, f"choices.{group}")[0]) or name

    def _required(self, key: str) -> Any:
        value, found = lookup(self.config, key)
        if not found:
            raise DamagedFile(f"{self.folder / CONFIG} is damaged: it lacks the key {key} of the config")
        return value


def read_run(folder: Path) -> Run:
    """Raises DamagedFile."""
    files = frozenset(os.listdir(folder))
    if CONFIG not in files:
        raise DamagedFile(f"{folder} is damaged: {CONFIG} is missing, though the run has begun")
    described = _json(folder / CONFIG)
    # Between the writing of config.json and of status.json a run has not started.
    status = _json(folder / STATUS) if STATUS in files else {}
    name, config, version = described.get("run"), described.get("config"), described.get("results_version")
    if not isinstance(name, str) or not isinstance(config, dict) or not isinstance(version, int):
        raise DamagedFile(f"{folder / CONFIG} is damaged: it must hold results_version, run and config")
    for key in ("identity", "training", "defaults", "measurement"):
        if not isinstance(described.get(key) or {}, dict):
            raise DamagedFile(f"{folder / CONFIG} is damaged: {key} must be an object")
    if "training" in described and not isinstance(described.get("defaults"), dict):
        raise DamagedFile(f"{folder / CONFIG} is damaged: it lacks the defaults")
    if STATUS in files and not isinstance(status.get("state"), str):
        raise DamagedFile(f"{folder / STATUS} is damaged: it must hold a state")
    for key in ("step", "steps", "heartbeat", "diverged_at"):
        if not isinstance(status.get(key, 0), int | float | None):
            raise DamagedFile(f"{folder / STATUS} is damaged: {key} is {status[key]!r}, not a number")
    spec, defaults = described.get("spec") or {}, described.get("defaults") or {}
    if not isinstance(spec, dict) or not isinstance(defaults, dict):
        raise DamagedFile(f"{folder / CONFIG} is damaged: spec and defaults must be objects")
    experiment, arm = (text(described.get(key) or config.get(key)) for key in ("experiment", "arm"))
    run = Run(
        folder=folder,
        name=name,
        experiment=experiment,
        version=version,
        common=version if (common := described.get("common_version")) is None else common,
        config=config,
        training=training_of(described),
        measurement=described.get("measurement") or {},
        status=status,
        files=files,
        arm=arm,
        task=spec.get("task"),
        defaults=defaults,
    )
    for column in RUN_COLUMNS:  # now, not when somebody asks
        run.column(column)
    return run


def read_small_files(folder: Path) -> Run:
    """The same with all that says what was run and recorded. Raises DamagedFile."""
    run = read_run(folder)
    _ = run.fields, run.starts
    return run


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: no JSON ({error})") from error
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise DamagedFile(f"{path} is damaged: not a JSON object")
    return content


def _fields(path: Path) -> Fields:
    try:
        return _described(path.read_bytes())
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise DamagedFile(f"{path} is damaged: no JSON ({error})") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFile(f"{path} is damaged: a field must hold metric, dims, unit, batch, ... ({error!r})") from error


@lru_cache(maxsize=64)  # runs of one network and probe set have equal files
def _described(content: bytes) -> Fields:
    return fields_from_json(json.loads(content))


def lookup(config: Mapping[str, Any], key: str) -> tuple[Any, bool]:
    """The value at a dotted key, and whether there is one."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None, False
        value = value[part]
    return value, True


def text(value: Any) -> str | None:
    """One word for a config value; a group of keys (a schedule with its options) goes by its name."""
    if isinstance(value, Mapping):
        value = value.get("name", json.dumps(value, sort_keys=True))
    return None if value is None else str(value)
