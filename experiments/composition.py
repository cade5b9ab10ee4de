"""Where the configuration files are, and how they are composed outside the command line. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.errors import WrongInput, near_miss
from experiments.schema import register_schema


def config_directory() -> Path:
    """The folder conf/: beside this package in a checkout, within it when installed."""
    spec = find_spec("experiments.conf")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).absolute()
    return (Path(__file__).parent.parent / "conf").absolute()


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """One run's configuration, as the command line would compose it.

    Args:
        overrides: as on the command line, for example ["norm=l1", "optim.lr=0.5"].
        config_dir: a folder of the user's own, searched for groups beside the suite's.

    Raises:
        WrongInput: an unknown key or name, or a wrong type, in one line.
    """
    register_schema()
    check_overrides(overrides)
    more = [f"hydra.searchpath=[file://{Path(config_dir).expanduser().absolute()}]"] if config_dir else []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            return hydra_compose("config", overrides=[*overrides, *more])
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise WrongInput(explain(error, overrides)) from error


GROUPS = ("data", "model", "norm", "optim", "numerics", "scale", "experiment", "launcher", "mirror")
"""Groups of which one choice is made; probes may be several."""


def check_overrides(overrides: Sequence[str], *, sweep: bool = False) -> None:
    """Refuses what Hydra would accept and do something else with, or refuse in words that help nobody.

    Raises:
        WrongInput: in one line.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        if key not in GROUPS:
            continue
        if value.startswith(("[", "{")) or (value in ("", "null") and key != "experiment"):
            raise WrongInput(f"{override}: must be one of {', '.join(choices(key))}")
        if "," in value and not sweep:
            raise WrongInput(f"{override}: several values are a sweep; add --multirun (-m)")


def choices(group: str) -> list[str]:
    """The names that a group of the suite's own configuration offers."""
    return sorted(file.stem for file in (config_directory() / group).glob("*.yaml"))


def explain(error: Exception, overrides: Sequence[str] = ()) -> str:
    """One line for the person who typed: the key, the value, what is allowed."""
    text = str(error)
    if isinstance(error, MissingConfigException):
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={name}: unknown {group}; {near_miss(name, error.options or choices(group))}"
    unknown = re.search(r"Could not load '([^'/]+)/([^']+)'", text)
    if unknown:
        group, name = unknown.groups()
        return f"{group}={name}: unknown {group}; {near_miss(name, choices(group))}"
    override = next((o for o in overrides if o.lstrip("+~").split("=", 1)[0] in text.replace("'", " ").split()), None)
    for cause in _chain(error):
        key = getattr(cause, "full_key", None)
        message = str(cause).split("\n", 1)[0]
        if isinstance(cause, OmegaConfBaseException) and key and "not in" not in message:
            return f"{key}{_in_plain_words(message)}"
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"Could not find '([^']+)'", text)
    unknown = unknown or re.search(r"Key '([^']+)' not in 'Config'", text)
    if unknown:
        key = unknown.group(1)
        value = f"={override.split('=', 1)[1]}" if override and "=" in override else ""
        return f"{key}{value}: unknown key; {_nearest_key(key, overrides)}"
    missing = re.search(r"Error parsing override '([^']*)'", text)
    if missing or isinstance(error, OverrideParseException):
        typed = missing.group(1) if missing else getattr(error, "override", "")
        return f"{typed}: cannot be read; write key=value, with quotes around spaces and special characters"
    return " ".join(text.split())


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _in_plain_words(message: str) -> str:
    """OmegaConf's message as the rest of an error line that begins with the key."""
    wrong = re.fullmatch(r"Value '(.*)' of type '.*' could not be converted to (\w+)", message)
    if wrong:
        kinds = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
        return f"={wrong.group(1)}: must be {kinds.get(wrong.group(2), wrong.group(2))}"
    if "is not Optional" in message:
        return "=null: must be given"
    if "Missing mandatory value" in message:
        return ": must be given"
    return f": {message}"


def _nearest_key(key: str, overrides: Sequence[str]) -> str:
    """The known key nearest to an unknown one, and its neighbours."""
    groups = [o for o in overrides if re.fullmatch(r"[a-z_/]+=[\w./-]+", o) and "." not in o.split("=")[0]]
    register_schema()
    GlobalHydra.instance().clear()
    for chosen in (groups, []):
        try:
            with initialize_config_dir(str(config_directory()), version_base="1.3"):
                known = list(_keys(OmegaConf.to_container(hydra_compose("config", overrides=chosen))))  # type: ignore[arg-type]
            break
        except (HydraException, OmegaConfBaseException):
            continue
    else:
        return "see --cfg job"
    parent, _, last = key.rpartition(".")
    siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent]
    return near_miss(last, siblings or [k for k in known if "." not in k])


def _keys(node: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
