"""A run folder, read from the outside: which files it has, and what its small ones say, each opened at most once.

A folder is a run if it holds `config.json`. `status.json` is read with it; `provenance.json` and `fields.json`, which
say where the run comes from and what its probes record, when they are asked for. With `analysis.records` and
`analysis.arrays` this is the only place of this room that knows how a run folder is laid out.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from analysis.errors import DamagedFile, WrongInput

PathOrPaths: TypeAlias = str | Path | Sequence[str | Path]
Fields: TypeAlias = Mapping[str, Mapping[str, "Field"]]
_Item = TypeVar("_Item")
_Read = TypeVar("_Read")

# Column of the table -> key of the resolved config.
TEXT_KEYS = {
    "model": "model.name",
    "norm": "norm.name",
    "optimiser": "optim.name",
    "loss_reduction": "optim.loss",
    "schedule": "optim.schedule",
    "numerics": "numerics",
}
NUMBER_KEYS = {
    "lr": "optim.lr",
    "batch_size": "optim.batch_size",
    "weight_decay": "optim.weight_decay",
    "seed": "seed",
    "steps": "steps",
}
RUN_COLUMNS = ["run", "experiment", "state", "diverged_at", "data", "model", "norm", "optimiser", "lr", "batch_size"]
RUN_COLUMNS += ["weight_decay", "loss_reduction", "schedule", "seed", "steps", "numerics"]


@dataclass(frozen=True)
class Field:
    """What fields.json says of one key of a probe."""

    metric: str
    dims: tuple[str, ...]
    unit: str
    batch: str
    point: str
    layer: tuple[str, ...] | None
    x: tuple[float, ...] | None
    reference: str
    of_layer: str | None = None  # the one layer of an array without that dimension
    edges: tuple[float, ...] | None = None  # the numbers along another dimension of an array: edges of bins, levels

    @property
    def in_records(self) -> bool:
        return set(self.dims) <= {"layer", "x"}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a key in the records: layers, then x, as far as it has them."""
        return tuple(len(names) for names in (self.layer, self.x) if names is not None)


@dataclass
class Run:
    """One run folder. `files`: the names in it; `identity`: of the config, what changes the numbers."""

    folder: Path
    name: str
    experiment: str | None
    version: int
    config: Mapping[str, Any]
    identity: Mapping[str, Any]
    status: Mapping[str, Any]
    files: frozenset[str]

    @cached_property
    def starts(self) -> list[dict[str, Any]]:
        """The entries of provenance.json, one per start; empty where there is none. Raises DamagedFile."""
        path = self.folder / "provenance.json"
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
            if name.startswith("lease-"):
                with contextlib.suppress(OSError):  # released a moment ago
                    told.append((self.folder / name).stat().st_mtime)
        return max(told, default=None)

    @cached_property
    def fields(self) -> Fields:
        """Probe -> key -> what fields.json says of it; empty where there is none. Raises DamagedFile."""
        path = self.folder / "fields.json"
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
        if name == "data":  # the label tells apart two sets that one function reads, such as two image folders
            label, found = lookup(self.config, "data.label")
            return str(label) if found and label else text(self._required("data.name"))
        if name in NUMBER_KEYS:
            value = self._required(NUMBER_KEYS[name])
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise DamagedFile(f"{self.folder / 'config.json'}: {NUMBER_KEYS[name]} is {value!r}, not a number")
            return value
        return text(self._required(TEXT_KEYS[name]))

    def _required(self, key: str) -> Any:
        value, found = lookup(self.config, key)
        if not found:
            raise DamagedFile(f"{self.folder / 'config.json'} is damaged: it lacks the key {key} of the config")
        return value


class RunFolders(Sequence[Run]):
    """Runs whose config and status have been read. Where a path is asked for, these save reading them again."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = list(runs)

    @classmethod
    def read(cls, path: PathOrPaths | RunFolders, results_version: int | None = None) -> RunFolders:
        """The runs at `path`, of one version of the results. Raises WrongInput and DamagedFile as `load_runs` says."""
        runs = list(path) if isinstance(path, RunFolders) else list(in_parallel(read_run, find_runs(path)))
        versions = sorted({run.version for run in runs})
        if results_version is not None:
            runs = [run for run in runs if run.version == results_version]
            if not runs:
                raise WrongInput(f"results version {results_version}: no such runs; there are {_counted(versions)}")
        elif len(versions) > 1:
            raise WrongInput(
                f"runs of different versions of the results, {_counted(versions)}, are not comparable: "
                f"choose one (results_version=, --results-version) or give the run folders of one"
            )
        names: dict[str, Path] = {}
        for run in runs:
            if run.name in names:
                raise WrongInput(
                    f"the same run {run.name} lies in {names[run.name]} and in {run.folder}: give one of them"
                )
            names[run.name] = run.folder
        return cls(runs)

    def only(self, names: Collection[str]) -> RunFolders:
        """Those with these names."""
        return RunFolders([run for run in self if run.name in names])

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, index: Any) -> Any:
        return RunFolders(self._runs[index]) if isinstance(index, slice) else self._runs[index]


def find_runs(path: PathOrPaths) -> list[Path]:
    """The run folders at `path` (one of them, a folder of them, or a list of either), sorted by name, absolute.

    Folders without config.json (figures, say) are passed over. Raises WrongInput where nothing is found.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    folders: dict[Path, None] = {}
    for place in map(Path, paths):
        if not place.exists():
            raise WrongInput(f"no such folder: {place.absolute()}")
        if not place.is_dir():
            raise WrongInput(f"not a folder: {place.absolute()}; give a run folder or a folder of run folders")
        inside = [place] if _is_run(place) else [Path(e) for e in os.scandir(place) if e.is_dir() and _is_run(e)]
        folders.update((folder.absolute(), None) for folder in inside)
    if not folders:
        raise WrongInput(f"no runs in {names_of(paths)}; a run is a folder that holds config.json")
    return sorted(folders, key=lambda folder: (folder.name, folder))


def _is_run(folder: Path | os.DirEntry[str]) -> bool:
    return os.path.exists(os.path.join(folder, "config.json"))


def read_run(folder: Path) -> Run:
    """Raises DamagedFile."""
    files = frozenset(os.listdir(folder))
    described = _json(folder / "config.json")
    # Between the writing of config.json and of status.json a run has not started.
    status = _json(folder / "status.json") if "status.json" in files else {}
    name, config, version = described.get("run"), described.get("config"), described.get("results_version")
    identity = described.get("identity") or {}
    if not isinstance(name, str) or not isinstance(config, dict) or not isinstance(version, int):
        raise DamagedFile(f"{folder / 'config.json'} is damaged: it must hold results_version, run and config")
    if not isinstance(identity, dict):
        raise DamagedFile(f"{folder / 'config.json'} is damaged: identity must be an object")
    if "status.json" in files and not isinstance(status.get("state"), str):
        raise DamagedFile(f"{folder / 'status.json'} is damaged: it must hold a state")
    for key in ("step", "steps", "heartbeat", "diverged_at"):
        if not isinstance(status.get(key, 0), int | float | None):
            raise DamagedFile(f"{folder / 'status.json'} is damaged: {key} is {status[key]!r}, not a number")
    return Run(folder, name, described.get("experiment"), version, config, identity, status, files)


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
    return {
        probe: {
            key: Field(
                metric=spec["metric"],
                dims=tuple(spec["dims"]),
                unit=spec["unit"],
                batch=spec["batch"],
                point=spec["point"],
                layer=tuple(spec["layer"]) if "layer" in spec["dims"] and spec["layer"] is not None else None,
                x=tuple(map(float, spec["x"])) if "x" in spec["dims"] and spec["x"] is not None else None,
                reference=spec["reference"],
                of_layer=spec["layer"][0] if "layer" not in spec["dims"] and spec["layer"] else None,
                edges=tuple(map(float, spec["x"])) if "x" not in spec["dims"] and spec["x"] is not None else None,
            )
            for key, spec in keys.items()
        }
        for probe, keys in json.loads(content).items()
    }


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


def in_parallel(read: Callable[[_Item], _Read], items: Sequence[_Item]) -> Iterator[_Read]:
    """`read` of every item, in order. Threads: on a shared file system, waiting for small files is most of the time."""
    if items:
        with ThreadPoolExecutor(min(8, len(items))) as pool:
            yield from pool.map(read, items)


def names_of(paths: Iterable[str | Path]) -> str:
    names = [str(Path(path).absolute()) for path in paths]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _counted(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions[:-1])) + (" and " if len(versions) > 1 else "") + str(versions[-1])
