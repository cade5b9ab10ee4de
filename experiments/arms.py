"""Arms of a sweep: named sets of overrides, each carried out with every combination of the swept values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from experiments.errors import WrongInput, near_miss

Arms: TypeAlias = "dict[str, list[Override]]"
"""By name, the overrides that make a job one of the arm's."""

KEY = "hydra.sweeper.arms"

_NOT_BY_ARM = ("arm", "experiment")


def read_arms(declared: Any, parser: OverridesParser) -> Arms:
    """The arms that a configuration declares under ``hydra.sweeper.arms``; none where that is null.

    Raises:
        WrongInput: not lists of overrides by name, or an override that no arm can have.
    """
    if OmegaConf.is_config(declared):
        declared = OmegaConf.to_container(declared, resolve=True)
    if declared is None:
        return {}
    if not isinstance(declared, Mapping):
        raise WrongInput(f"{KEY}={declared}: must be lists of overrides by name, for example {{plain: ['norm=none']}}")
    return {str(name): _read_arm(str(name), texts, parser) for name, texts in declared.items()}


def _read_arm(name: str, texts: Any, parser: OverridesParser) -> list[Override]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise WrongInput(f"{KEY}.{name}={texts}: must be a list of overrides, for example ['norm=none']")
    overrides: list[Override] = []
    for text in texts:
        try:
            override = parser.parse_overrides([text])[0]
        except HydraException as error:
            raise WrongInput(f"arm {name!r}: {text}: cannot be read; write key=value") from error
        if override.is_sweep_override():
            raise WrongInput(f"arm {name!r}: {text}: is a sweep itself; give each value an arm, or all arms the sweep")
        if override.is_hydra_override() or override.key_or_group in _NOT_BY_ARM:
            raise WrongInput(f"arm {name!r}: {text}: {override.key_or_group} is the sweep's, not an arm's")
        if any(override.key_or_group == other.key_or_group for other in overrides):
            raise WrongInput(f"arm {name!r}: {text}: {override.key_or_group} is set twice")
        overrides.append(override)
    return overrides


def choose_arms(arms: Arms, names: Iterable[str]) -> Arms:
    """Those of the arms that are asked for, in that order.

    Raises:
        WrongInput: there is none of that name.
    """
    chosen: Arms = {}
    for name in names:
        if name == "null" and arms and name not in arms:
            raise WrongInput(f"arm=null: leave it out for all arms, or choose; allowed: {', '.join(sorted(arms))}")
        if not arms:
            raise WrongInput(f"arm={name}: only a sweep that lists arms has them ({KEY})")
        if name not in arms:
            raise WrongInput(f"arm={name}: unknown arm; {near_miss(name, arms)}")
        chosen[name] = arms[name]
    return chosen


def refuse_keys_of_arms(arms: Arms, given: Iterable[Override]) -> None:
    """Refuses overrides for all jobs of keys that an arm sets: one of the two would be without effect.

    Raises:
        WrongInput: names both.
    """
    by_key = {(o.key_or_group, o.package): (name, o.input_line) for name, arm in arms.items() for o in arm}
    for override in given:
        if found := by_key.get((override.key_or_group, override.package)):
            name, text = found
            raise WrongInput(
                f"{override.input_line}: the arm {name!r} sets {text}; choose among the arms (arm=...), or change them"
            )
