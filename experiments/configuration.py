"""A composed configuration as the rest of the suite takes it: plain dictionaries, checked."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.composition import explain
from experiments.errors import WrongInput
from experiments.keys import refuse_taken_away, refuse_unknown
from experiments.kinds import spelled_out
from experiments.schema import NAMED_GROUPS, Config
from experiments.source_keys import SOURCE_KEYS


def plain_config(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain dictionaries: checked against the schema, interpolations resolved, paths absolute.

    Raises:
        WrongInput: a key is missing or unknown, or a value is of the wrong type.
    """
    try:
        composed = isinstance(config, DictConfig) and OmegaConf.get_type(config) is Config  # typed already
        if composed:
            unresolved: Any = OmegaConf.to_container(config, resolve=False)  # quicker to ask
            refuse_unknown(unresolved, Config, config)
            refuse_taken_away(unresolved, Config)
        typed = config if composed else OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create(config))  # type: ignore[arg-type]
        container = OmegaConf.to_container(typed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise WrongInput(explain(error)) from error
    assert isinstance(container, dict)
    plain = {str(key): value for key, value in container.items()}
    for group in NAMED_GROUPS:
        if not isinstance(plain[group], dict) or not isinstance(plain[group].get("name"), str):
            raise WrongInput(f"{group}={plain[group]}: must be a group of options with a name, for example {group}=...")
        if not isinstance(plain[group].get("file"), (str, types.NoneType)) or plain[group].get("file") == "":
            raise WrongInput(f"{group}.file={plain[group]['file']}: must be the path of a Python file, or null")
    plain["evaluation"]["kinds"] = spelled_out(plain["evaluation"]["kinds"])
    _make_absolute(plain)
    for key in ("runs_dir", "probe_again"):
        if plain[key] is not None:
            _absolute(key, plain[key])
    return plain


def _make_absolute(node: dict[str, Any], prefix: str = "") -> None:
    """The user's source files and data, from now on independent of the working directory."""
    for key, value in node.items():
        if isinstance(value, dict):
            _make_absolute(value, f"{prefix}{key}.")
        elif key in {*SOURCE_KEYS, "root", "cache"} and isinstance(value, str):
            if key in SOURCE_KEYS and not value:
                raise WrongInput(f"{prefix}{key}=: must be the path of a file, or null")
            node[key] = _absolute(f"{prefix}{key}", value)


def _absolute(key: str, path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as error:
        raise WrongInput(f"{key}={path}: there is no such home directory; write the path without ~") from error
