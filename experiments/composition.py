"""Where the configuration files are, and how they are composed outside the command line. Imports no torch."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from experiments.arms import choose_arms, read_arms, refuse_keys_of_arms
from experiments.choices import Choices
from experiments.errors import WrongInput, near_miss, one_line
from experiments.keys import hint
from experiments.schema import NAMED_GROUPS, Config, register_schema

REFUSALS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)
"""What composing raises where a person must change something; :func:`explain` says it in one line."""


def config_directory() -> Path:
    """The folder conf/: beside this package in a checkout, within it when installed."""
    spec = find_spec("experiments.conf")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).absolute()
    return (Path(__file__).parent.parent / "conf").absolute()


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """One run's configuration, as the command line would compose it.

    Args:
        overrides: as on the command line, for example ["norm=l1", "optim.lr=0.5"]; ``arm=NAME`` is one arm of the
            experiment's sweep.
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
            overrides = [*overrides, *more]
            if any(override.startswith("arm=") for override in overrides):
                overrides += _overrides_of_arm(overrides)
            config = hydra_compose("config", overrides=overrides, return_hydra_config=True)
            with open_dict(config):
                chosen = Choices(config.pop("hydra"), GlobalHydra.instance().config_loader())
            chosen.note(config, overrides)
            return config
    except WrongInput:
        raise
    except REFUSALS as error:
        raise WrongInput(explain(error, overrides)) from error


def _overrides_of_arm(overrides: Sequence[str]) -> list[str]:
    """What the arm that is asked for sets; nothing for arm=null.

    Raises:
        WrongInput: there is no such arm, or another override sets one of its keys too.
    """
    whole = hydra_compose("config", overrides=list(overrides), return_hydra_config=True)
    parser = OverridesParser.create()
    arms = choose_arms(read_arms(whole.hydra.sweeper.get("arms"), parser), [] if whole.arm is None else [whole.arm])
    refuse_keys_of_arms(arms, parser.parse_overrides(list(overrides)))
    return [override.input_line or "" for arm in arms.values() for override in arm]


GROUPS = (*NAMED_GROUPS, "numerics", "scale", "experiment", "launcher", "mirror")
"""Groups of which one choice is made; probes may be several."""


def check_overrides(overrides: Sequence[str]) -> None:
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


def flags_and_words(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags, with their values, and all other words of a command line, which people type in any order."""
    valued = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
    flags, words = [], []
    remaining = iter(arguments)
    for argument in remaining:
        if argument in valued:
            flags += [argument, *(value for value in [next(remaining, None)] if value is not None)]
        elif argument.startswith("-"):
            flags.append(argument)
        else:
            words.append(argument)
    return flags, words


def check_typed(arguments: Sequence[str], overrides: Sequence[str]) -> None:
    """The same of a whole command line, on which a key stands once.

    Args:
        arguments: all of it.
        overrides: those of them that set a key.

    Raises:
        WrongInput: in one line.
    """
    check_overrides(overrides)
    named = flag(arguments, "--config-name", "-cn")
    folders = [flag(arguments, *flags) for flags in (("--config-dir", "-cd"), ("--config-path", "-cp"))]
    if folders[1] is not None and not (Path(folders[1]) / f"{named or 'config'}.yaml").is_file():
        raise WrongInput(
            f"--config-path {folders[1]}: holds no {named or 'config'}.yaml; leave it out for the suite's own, and "
            "give a folder of yours with --config-dir"
        )
    own = [Path(folder) / f"{named}.yaml" for folder in folders if folder is not None]
    if named not in (None, "config") and not any(file.is_file() for file in own):
        place = f" ({own[0]})" if own else ""
        raise WrongInput(f"--config-name {named}: no such file{place}; leave it out for the suite's own, config")
    seen: dict[str, str] = {}
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if override.startswith("+") and key in (*GROUPS, "probes"):
            raise WrongInput(f"{override}: is chosen already; write {override.lstrip('+')}")
        if key in seen:
            values = ",".join(text.partition("=")[2] for text in (seen[key], override))
            both = f"{key}=[{values}]" if key == "probes" else f"-m {key}={values}"
            raise WrongInput(
                f"{seen[key]} {override}: {key} is set twice, and one of the two would be without effect; for both "
                f"{both}"
            )
        seen[key] = override


def flag(arguments: Sequence[str], *spellings: str) -> str | None:
    """The value of a flag of the command line, ``--flag value`` or ``--flag=value``; None where it is not given.

    Of several the last, as argparse has it.
    """
    found = None
    for argument, following in zip(arguments, [*arguments, None][1:], strict=True):
        for spelling in spellings:
            if argument == spelling:
                found = following
            elif argument.startswith(f"{spelling}="):
                found = argument.removeprefix(f"{spelling}=")
    return found


def choices(group: str) -> list[str]:
    """The names that a group of the suite's own configuration offers; of a study's experiments ``study/name``."""
    folder = config_directory() / group
    files = [*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in files)


def explain(error: Exception, overrides: Sequence[str] = ()) -> str:
    """One line for the person who typed: the key, the value, what is allowed."""
    text = str(error)
    for cause in _chain(error):
        if isinstance(cause, WrongInput):
            return one_line(cause)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}: is no YAML: {error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    several = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'\s*(?:\n|requires)", text)
    if several:
        typed = several.group(1)
        or_list = "" if typed.partition("=")[0] in (*GROUPS, "probes") else ", or write [...] around a list"
        return f"{typed}: several values are a sweep; add --multirun (-m){or_list}"
    if isinstance(error, MissingConfigException):
        group, _, name = (error.missing_cfg_file or "").partition("/")
        if group not in GROUPS:
            group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return _unknown(group, name, error.options or ())
    unknown = re.search(r"Could not load '([^'/]+)/([^']+)'", text)
    if unknown:
        return _unknown(*unknown.groups())
    taken = re.search(r"Could not delete from config. '([^']+)' does not exist", text)
    if taken:
        key = taken.group(1)
        known = "leave it out" if hasattr(Config, key) or key in NAMED_GROUPS else _nearest_key(key, error)
        return f"~{key}: nothing is there to be taken away; {known}"
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
        return f"{key}{value}: unknown key; {_nearest_key(key, error)}"
    missing = re.search(r"Error parsing override '([^']*)'", text)
    if missing or isinstance(error, OverrideParseException):
        typed = missing.group(1) if missing else getattr(error, "override", "")
        return f"{typed}: cannot be read; write key=value, with quotes around spaces and special characters"
    return " ".join(text.split())


def _unknown(group: str, name: str, options: Sequence[str] = ()) -> str:
    """The line about a choice that does not exist; names the nearest, of every study where its name was left out."""
    allowed = {*options, *choices(group)}
    study, _, last = name.rpartition("/")
    close = difflib.get_close_matches(last, {choice.rpartition("/")[2] for choice in allowed}, n=1)
    nearest = sorted(choice for choice in allowed if choice.rpartition("/")[2] in close)
    nearest = difflib.get_close_matches(name, nearest, n=1, cutoff=0) if study else nearest
    return f"{group}={name}: unknown {group}; {near_miss(name, allowed, nearest)}"


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


def _nearest_key(key: str, error: Exception) -> str:
    """The known key that an unknown one is likely to mean, and its neighbours, where it was missed."""
    for cause in _chain(error):
        there = getattr(cause, "parent_node", None)
        if isinstance(there, DictConfig) and len(there):
            whole = OmegaConf.to_container(there._get_root(), resolve=False)
            missed = key[: key.find(str(cause.key)) + len(str(cause.key))]  # type: ignore[attr-defined]
            return hint(missed, map(str, there), typing.cast(dict[str, Any], whole))
    prefix, _, _ = key.rpartition(".")
    schema = OmegaConf.to_container(OmegaConf.structured(Config))
    there = OmegaConf.select(OmegaConf.create(schema), prefix) if prefix else schema
    if not there or prefix in NAMED_GROUPS:
        return "see --cfg job"
    if key in there:
        return "--config-name names a configuration that does not begin with config among its defaults"
    return hint(key, typing.cast(dict[str, Any], there), {})
