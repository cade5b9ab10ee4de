"""Where the configuration files are, and how they are composed outside the command line. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
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
    more = [f"hydra.searchpath=[file://{Path(config_dir).expanduser().absolute()}]"] if config_dir else []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            return hydra_compose("config", overrides=[*overrides, *more])
    except (HydraException, OmegaConfBaseException) as error:
        raise WrongInput(explain(error, overrides)) from error


def explain(error: Exception, overrides: Sequence[str] = ()) -> str:
    """One line for the person who typed: the key, the value, what is allowed."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={name}: unknown {group}; {near_miss(name, error.options)}"
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = str(error)
    override = next((o for o in overrides if o.lstrip("+~").split("=", 1)[0] in text.replace("'", " ").split()), None)
    for cause in chain:
        key = getattr(cause, "full_key", None)
        message = str(cause).split("\n", 1)[0]
        if isinstance(cause, OmegaConfBaseException) and key and "not in" not in message:
            return f"{key}: {message}"
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"Could not find '([^']+)'", text)
    if unknown:
        key = unknown.group(1)
        value = f"={override.split('=', 1)[1]}" if override and "=" in override else ""
        return f"{key}{value}: unknown key; {_nearest_key(key, overrides)}"
    return " ".join(text.split())


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
    parent = key.rpartition(".")[0]
    siblings = [k for k in known if k.rpartition(".")[0] == parent]
    return near_miss(key, siblings or [k for k in known if "." not in k])


def _keys(node: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
