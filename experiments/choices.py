"""What a composition chose of each group, and the user's files beside the YAML files that name them. Imports no torch.

Hydra's merged configuration no longer tells that ``norm=median`` was typed, nor in which folder ``median.yaml`` lies.
Both are noted here, right after composing, while Hydra still knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments.errors import WrongInput
from experiments.keys import refuse_unknown_to_hydra
from experiments.schema import NAMED_GROUPS
from experiments.source_keys import SOURCE_KEYS


def chosen_name(config: Mapping[str, Any], group: str) -> str:
    """What a run's choice of ``group`` is called: as it was typed, else by the name of what it builds.

    Args:
        config: the resolved configuration as plain dictionaries; one that was not composed carries no choices.
        group: one of :data:`experiments.schema.NAMED_GROUPS`.
    """
    return str((config.get("choices") or {}).get(group) or config[group]["name"])


class Choices:
    """The YAML files that one composition read.

    Args:
        hydra: the composed configuration's ``hydra`` node.
        loader: what composed it.
    """

    def __init__(self, hydra: HydraConf | DictConfig, loader: ConfigLoader) -> None:
        self._hydra, self._loader = hydra, loader

    def note(self, config: DictConfig, overrides: Iterable[str]) -> None:
        """Writes the choices into ``config``, and the user's files as absolute paths.

        A choice keeps its name only while it builds what its YAML file says: under another ``norm.name`` it goes by
        that. A ``file`` that a YAML file states is looked for beside it, then in the working directory; one that was
        typed, in the working directory only.

        Args:
            config: the composed configuration, without its ``hydra`` node; changed in place.
            overrides: what was typed.

        Raises:
            WrongInput: a file that a YAML file states is in neither place, a choice's name was set by hand, or a key
                was added to the node ``hydra``.
        """
        refuse_unknown_to_hydra(self._hydra.overrides.hydra)
        typed = {override.lstrip("+~").partition("=")[0] for override in overrides}
        by_hand = next((key for key in typed if key.split(".")[0] == "choices"), None)
        if by_hand:
            raise WrongInput(f"{by_hand}: cannot be set; it says what was chosen, for example by norm=batch")
        for group in NAMED_GROUPS:
            name, choice = OmegaConf.select(config, f"{group}.name"), self._hydra.runtime.choices.get(group)
            if isinstance(name, str):
                config.choices[group] = choice if self._names(group, choice, name) else name
        values = {key for key in typed if "." in key}
        for key, file in _files(OmegaConf.to_container(config, resolve=False)):
            if not any(key == value or key.startswith(f"{value}.") for value in values):
                OmegaConf.update(config, key, self._found(key, file))

    def _names(self, group: str, choice: Any, name: str) -> bool:
        if not isinstance(choice, str) or "/" in choice:
            return False
        return choice == name or [value for value, _ in self._stated.get(f"{group}.name", [])][-1:] == [name]

    def _found(self, key: str, file: str) -> str:
        """The path of a user's file; as it is where no YAML file states it."""
        beside = [folder / file for value, folder in reversed(self._stated.get(key, [])) if value == file]
        if not beside:
            return file
        places = [*beside, Path(file).absolute()]
        for place in places:
            if place.exists():
                return str(place)
        raise WrongInput(
            f"{key}={file}: no such file, neither {places[0]}, beside its YAML file, nor {places[-1]}, from the "
            "working directory"
        )

    @cached_property
    def _stated(self) -> Mapping[str, list[tuple[str, Path]]]:
        """By dotted key, the names and files that YAML files state, each with the file's folder, the last one wins.

        Read only where it is needed, since it takes as long again as composing.
        """
        overrides = [*self._hydra.overrides.hydra, *self._hydra.overrides.task]
        defaults = self._loader.compute_defaults_list(self._hydra.job.config_name, overrides, RunMode.RUN).defaults
        sources = [Path(source.path) for source in self._hydra.runtime.config_sources if source.schema == "file"]
        stated: dict[str, list[tuple[str, Path]]] = {}
        for entry in defaults:
            paths = (source / f"{entry.config_path}.yaml" for source in sources)
            path = next((path for path in paths if path.is_file()), None)
            if path is None:
                continue
            for key, value in _texts(OmegaConf.to_container(OmegaConf.load(path), resolve=False)):
                stated.setdefault(f"{entry.package}.{key}".lstrip("."), []).append((value, path.parent.absolute()))
        return stated


def _files(config: Any) -> Iterator[tuple[str, str]]:
    """The relative paths of Python files in a configuration, by key."""
    for key, value in _texts(config):
        if (
            key.rpartition(".")[2] in SOURCE_KEYS
            and value
            and "${" not in value
            and not Path(value).expanduser().is_absolute()
        ):
            yield key, value


def _texts(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every text within nested dictionaries, by dotted key."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, dict):
            yield from _texts(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            yield f"{prefix}{key}", value
