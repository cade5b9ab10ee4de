"""What every option is where nobody sets it: the typed signatures of what is named, and the schema."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import MISSING

from experiments.data import DATA
from experiments.discovery import Registry
from experiments.errors import WrongInput
from experiments.evaluations import PARTS
from experiments.kinds import DEFAULTS
from experiments.models import MODELS
from experiments.norms import NORMS
from experiments.optimisers import OPTIMISERS
from experiments.probing import PROBES
from experiments.schema import GROUP_DEFAULTS, Config, Evaluation, Numerics, Probing

GROUPS: Mapping[str, tuple[Registry[Any], int]] = {
    "data": (DATA, 1),
    "model": (MODELS, 2),
    "norm": (NORMS, 1),
    "optim": (OPTIMISERS, 2),
}
"""Of each group of what is trained: the registry, and how many arguments the suite passes by position."""


def training_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The default of every option that has one and is not of what measures, by dotted key.

    Args:
        config: the configuration as plain dictionaries; it says what is named.
    """
    found = dict(_of_schema(Config))
    found |= {f"numerics.{key}": value for key, value in _of_schema(Numerics).items()}
    for group, (registry, positional) in GROUPS.items():
        shared = {key: value for key, value in GROUP_DEFAULTS[group].items() if key != "file" and value != MISSING}
        found |= {f"{group}.{key}": value for key, value in shared.items()}
        own = _of_named(registry, config[group], positional)
        found |= {f"{group}.{key}": value for key, value in own.items()}
    return found


def measurement_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same of what measures: the probes, their schedule, and the built-in evaluation."""
    found = {f"evaluation.{key}": value for key, value in _of_schema(Evaluation).items()}
    found["evaluation.kinds"] = {}
    for label, chosen in config["evaluation"].get("kinds", {}).items():
        for part, registry in PARTS.items():
            options = {"name": DEFAULTS[part], **_of_named(registry, chosen.get(part, {"name": DEFAULTS[part]}), 0)}
            found |= {f"evaluation.kinds.{label}.{part}.{key}": value for key, value in options.items()}
    found |= {f"probes.{key}": value for key, value in _of_schema(Probing).items() if key != "use"}
    for label, options in config["probes"]["use"].items():
        if isinstance(options, Mapping) and "name" in options:
            own = _of_named(PROBES, options, 0)
            found |= {f"probes.use.{label}.{key}": value for key, value in own.items()}
    return found


def _of_named(registry: Registry[Any], options: Mapping[str, Any], positional: int) -> Mapping[str, Any]:
    try:
        entry = registry.get(options["name"], options.get("file"))
    except WrongInput:  # said by whoever builds it; until then every option counts
        return {}
    return _of_signature(entry, positional)


@functools.lru_cache(maxsize=256)
def _of_signature(entry: Callable[..., Any], positional: int) -> Mapping[str, Any]:
    """The defaults that configurations can spell of what follows the first ``positional`` parameters."""
    try:
        parameters = list(inspect.signature(entry).parameters.values())[positional:]
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty and _is_plain(p.default)}


@functools.cache
def _of_schema(schema: type) -> Mapping[str, Any]:
    own = {entry.name: entry.default for entry in dataclasses.fields(schema)}
    return {name: value for name, value in own.items() if value not in (dataclasses.MISSING, MISSING)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
