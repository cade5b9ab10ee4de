"""Which run it is: what is trained, what is measured on the way, and the name of its folder.

Two identities, each of what differs from the defaults only, so that a new option with a default renames nothing. What
measures changes no bit of what is trained: runs of one training lie side by side, under one name and one first hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.choices import chosen_name
from experiments.defaults import measurement_defaults, training_defaults
from experiments.discovery import source_hash
from experiments.errors import RunFailure, WrongInput
from experiments.runs.files import read_json
from experiments.runs.format import CONFIG, flat, kind_of_key, lost_config, training_of
from experiments.schema import NAMED_GROUPS
from experiments.source_keys import SOURCE_KEYS

RESULTS_VERSION = 2
"""Raised whenever a change makes equal configurations give other numbers."""
LATER_VERSIONS = {"deep_linear": 3}
"""Of the models that alone are touched by a change: the finished runs of all others keep their names. The next version
of all models lies above these."""


@dataclass(frozen=True)
class Identity:
    """Who a run is; plain values, as they stand in config.json."""

    training: dict[str, Any]
    """What is trained, as far as it differs from the defaults; with the hashes of users' files, and of the data."""
    measurement: dict[str, Any]
    """What is measured, likewise."""
    defaults: dict[str, Any]
    """Dotted key -> default of every training option that has one."""
    measurement_defaults: dict[str, Any] = field(default_factory=dict)
    """The same of what is measured."""
    results_version: int = RESULTS_VERSION
    """See :func:`results_version`."""

    @property
    def digests(self) -> tuple[str, str]:
        """Of training and measurement, hexadecimal; runs that are equal here are one run."""
        return _digest([self.results_version, self.training])[:8], _digest(self.measurement)[:4]


def identity_of(config: Mapping[str, Any], fingerprint: str) -> Identity:
    """The identity of the run that ``config`` describes.

    Args:
        config: the resolved configuration as plain dictionaries.
        fingerprint: of the data's contents, where the configuration does not determine them.

    Raises:
        WrongInput: a user's file cannot be read.
    """
    moot = without_effect(config)
    defaults = {key: _canonical(value) for key, value in training_defaults(config).items()}
    defaults = {key: value for key, value in defaults.items() if kind_of_key(key) == "training"}
    training = _differing(config, "training", defaults, moot)
    if not steps_change_results(config):
        del training["steps"]
    if fingerprint:
        training["data"]["fingerprint"] = fingerprint
    measured = {key: _canonical(value) for key, value in measurement_defaults(config).items()}
    measures = _differing(config, "measurement", measured, moot)
    return Identity(training, measures, defaults, measured, results_version(config))


def results_version(config: Mapping[str, Any]) -> int:
    """Of the results that a configuration gives today; a user's own model is as old as all others."""
    model = config["model"]
    later = LATER_VERSIONS.get(model["name"], 0) if model.get("file") is None else 0
    return max(RESULTS_VERSION, later)


def _differing(
    node: Mapping[str, Any], kind: str, defaults: Mapping[str, Any], moot: Container[str], prefix: str = ""
) -> dict[str, Any]:
    """The keys of one kind whose values are not their defaults; a user's file goes by the hash of its contents."""
    kept: dict[str, Any] = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        if path in moot:
            continue
        if isinstance(value, Mapping) and value:
            inner = _differing(value, kind, defaults, moot, f"{path}.")
            if inner:
                kept[key] = inner
        elif kind_of_key(path) != kind:
            continue
        elif key in SOURCE_KEYS:
            if value is not None:
                kept[f"{key}_sha256"] = source_hash(value, f"{path}={value}")
        elif path not in defaults or _spelled(_canonical(value)) != _spelled(defaults[path]):
            kept[key] = _canonical(value)
    return kept


def without_effect(config: Mapping[str, Any]) -> set[str]:
    """The dotted keys of options that nothing reads, as others are set.

    All of ``probes`` where nothing is probed, and its spacing where steps are listed; when further evaluations are due
    where there are none; milestones under a schedule that has none; what only an adaptive optimiser takes; the
    deviation of weights that are not drawn with it; where normalisations stand, and where their scales start, if there
    are none.
    """
    probes, optim, model = config["probes"], config["optim"], config["model"]
    moot = set() if optim["schedule"] == "step" else {"optim.milestones", "optim.factor"}
    if not optim.get("adaptive", True):
        moot.add("optim.eta")
    if model.get("initialisation") != "gaussian":
        moot.add("model.init_std")
    if config["norm"]["name"] == "none":
        moot |= {"model.norm_at", "model.gamma"}
    evaluation = config["evaluation"]
    if not evaluation.get("kinds") and not evaluation.get("population", True):
        moot.add("evaluation.kinds_every")
    if not probes["use"]:
        return moot | {"probes"}
    if probes["at"] is not None:
        return moot | {"probes.every", "probes.spacing"}
    return moot | {"probes.every"} if probes["spacing"] == "log" else moot


def _canonical(value: Any) -> Any:
    """One spelling of equal numbers: 1 for 1.0, also within lists."""
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _spelled(value: Any) -> str:
    """Equal for equal values of one type: true is not 1."""
    return json.dumps(value, sort_keys=True)


def steps_change_results(config: Mapping[str, Any]) -> bool:
    """Whether a longer run differs from a shorter one before its end: where a schedule depends on the length."""
    return bool(config["optim"]["schedule"] == "cosine")


def choices_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Group -> what was chosen of it, as it was typed; else the name of what it builds."""
    return {group: chosen_name(config, group) for group in NAMED_GROUPS}


def run_name(config: Mapping[str, Any], identity: Identity, data_label: str) -> str:
    """The run folder's name: what a person looks for, then eight digits of the training's hash, four of the rest's."""
    if config["run_name"] is not None:
        name = str(config["run_name"])
        if not name or name != os.path.basename(name) or name.startswith("."):
            raise WrongInput(f"run_name={name}: must be a plain folder name")
        return name
    choices = choices_of(config)
    data = choices["data"] if data_label == config["data"]["name"] else data_label
    parts = (data, choices["model"], choices["norm"], choices["optim"])
    readable = "-".join([*parts, f"lr{config['optim']['lr']:g}", f"seed{config['seed']}"])
    plain = "".join(c if c.isalnum() or c in "-_.+" else "_" for c in readable)
    return "-".join([plain, *identity.digests])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def siblings(runs_dir: Path, identity: Identity) -> list[Path]:
    """The folders under ``runs_dir`` that are named as runs of one training are, whatever it was called."""
    if not runs_dir.is_dir():
        return []
    with os.scandir(runs_dir) as entries:
        return sorted(Path(e.path) for e in entries if re.fullmatch(f".*-{identity.digests[0]}-[0-9a-f]{{4}}", e.name))


def covers(there: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether one measurement has all probes of another, with the same options, and its evaluation.

    Only where schedule, fixed batch and type are the same too: steps that lie among more are not looked for.

    Args:
        there: the measurement of a run that has ended.
        asked: of the one that is asked for.
    """
    if "probed_again" in there or "probed_again" in asked or there.get("evaluation") != asked.get("evaluation"):
        return False
    has, wants = there.get("probes", {}), asked.get("probes", {})
    if not wants:
        return True
    if {**has, "use": None} != {**wants, "use": None}:  # when, on which fixed batch, in which type
        return False
    return all(has.get("use", {}).get(label) == options for label, options in wants["use"].items())


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted keys at which two nested mappings differ, with both values."""
    there, here = flat(one), flat(other)
    return [
        f"{key} ({there.get(key)} there, {here.get(key)} here)"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]


def read_description(path: Path) -> dict[str, Any] | None:
    """What config.json of a run folder says; None if no run is stored there yet.

    Raises:
        RunFailure: it is damaged, or lost by a run that has begun.
    """
    target = path / CONFIG
    if lost_config(path):
        raise RunFailure(
            f"{path}: {CONFIG} is missing; restore it, or delete the run folder to start anew "
            "(python -m experiments.runs.prune lists it as damaged)"
        )
    return read_json(target, ("results_version", "config", "experiment")) if target.exists() else None


def check_identity(path: Path, identity: Identity) -> dict[str, Any] | None:
    """What config.json of the folder says; None if no run is stored there yet.

    Raises:
        WrongInput: the folder holds a run of another configuration or results version; the differences are named.
    """
    there = read_description(path)
    if there is None:
        return None
    check_training(path, there, identity)
    differences = differing_keys(there["measurement"], json.loads(json.dumps(identity.measurement)))
    if differences:
        raise WrongInput(
            f"{path}: holds a run that measures otherwise: {'; '.join(differences)}; "
            "choose another run_name, or leave it out"
        )
    _refuse(path, changed_defaults(there, identity, "measurement"))
    return there


def check_training(path: Path, there: Mapping[str, Any], identity: Identity) -> None:
    """The same of what is trained alone; ``there`` is what config.json says."""
    if there["results_version"] != identity.results_version:
        raise WrongInput(
            f"{path}: made by results version {there['results_version']} of the suite, this is version "
            f"{identity.results_version}; choose another runs_dir or run_name"
        )
    if "training" not in there:
        raise WrongInput(
            f"{path}: its {CONFIG} was written before training and measurement were told apart; it can be read "
            "and probed again, but not gone on with: choose another run_name"
        )
    then, now = training_of(there), {**identity.defaults, **flat(json.loads(json.dumps(identity.training)))}
    named = flat(there["training"]).keys() | flat(identity.training).keys()
    one, other = ({key: told.get(key) for key in named} for told in (then, now))
    differences = differing_keys(one, other)
    if differences:
        raise WrongInput(
            f"{path}: holds a run of another configuration: {'; '.join(differences)}; "
            "choose another run_name, or leave it out"
        )
    _refuse(path, changed_defaults(there, identity, "training"))


def changed_defaults(
    there: Mapping[str, Any], identity: Identity, kind: Literal["training", "measurement"]
) -> list[str]:
    """The options of one kind that two runs leave at their defaults, and that were something else then.

    Args:
        there: what config.json of a run says; what an older one does not know is not compared.
        identity: of the run at hand.
        kind: of the options.
    """
    then, now = (
        (there["defaults"], identity.defaults)
        if kind == "training"
        else (there.get("measurement_defaults", {}), identity.measurement_defaults)
    )
    moot = without_effect(there["config"])
    left = (then.keys() & now.keys()) - flat(there[kind]).keys() - flat(getattr(identity, kind)).keys()
    left = {key for key in left if not {key, key.partition(".")[0]} & moot}
    return differing_keys({key: then[key] for key in left}, json.loads(json.dumps({key: now[key] for key in left})))


def _refuse(path: Path, changed: list[str]) -> None:
    if changed:
        raise WrongInput(
            f"{path}: holds a run of before a default was changed: {'; '.join(changed)}; choose another runs_dir or "
            "run_name"
        )
