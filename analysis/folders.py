"""Where runs lie: the run folders at a path, those that are damaged named and, if asked for, left out.

A folder is a run if it holds `config.json`, and a damaged one if it holds what a run has begun without it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from analysis.errors import DamagedFile, WrongInput
from analysis.run_folder import Run, read_run, read_small_files
from experiments.runs.format import (
    CONFIG,
    lost_config,
)

PathOrPaths: TypeAlias = str | Path | Sequence[str | Path]
Damaged: TypeAlias = dict[Path, str]
"""Folder of a damaged run -> what is wrong, in one line that names the file."""
_Item = TypeVar("_Item")
_Read = TypeVar("_Read")
_Place = TypeVar("_Place", "Run", Path)

_LEFT_OUT = "; this run is left out"


class RunFolders(Sequence[Run]):
    """Runs whose config and status have been read. Where a path is asked for, these save reading them again.

    `damaged`: where damaged runs are left out, those of the place they were read from; it is one object for all choices
    among them and grows where records or arrays prove damaged later. None: a damaged file raises DamagedFile.
    """

    def __init__(self, runs: Sequence[Run], damaged: Damaged | None = None) -> None:
        self._runs = list(runs)
        self.damaged = damaged

    @classmethod
    def read(
        cls,
        path: PathOrPaths | RunFolders,
        results_version: int | None = None,
        *,
        damaged: Damaged | None = None,
    ) -> RunFolders:
        """The runs at `path`, of one version of the results. Raises WrongInput and DamagedFile as `load_runs` says."""
        if isinstance(path, RunFolders):
            runs, damaged = list(path), path.damaged
        else:
            look = read_run if damaged is None else read_small_files
            runs = [run for _, run in undamaged(look, find_runs(path), damaged)]
            some_left(runs, damaged)
        runs = _of_one_version(runs, results_version)
        names: dict[str, Path] = {}
        for run in runs:
            if run.name in names:
                raise WrongInput(
                    f"the same run {run.name} lies in {names[run.name]} and in {run.folder}: give one of them"
                )
            names[run.name] = run.folder
        return cls(runs, damaged)

    def only(self, names: Collection[str]) -> RunFolders:
        """Those with these names."""
        return RunFolders([run for run in self if run.name in names], self.damaged)

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, index: Any) -> Any:
        return RunFolders(self._runs[index], self.damaged) if isinstance(index, slice) else self._runs[index]


def find_runs(path: PathOrPaths) -> list[Path]:
    """The run folders at or anywhere below `path` (one folder or a list of them), sorted by name, absolute.

    Folders of anything else (figures, say) are passed over. Raises WrongInput where nothing is found.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    for place in map(Path, paths):
        if not place.exists():
            raise WrongInput(f"no such folder: {place.absolute()}")
        if not place.is_dir():
            raise WrongInput(f"not a folder: {place.absolute()}; give a run folder or a folder above run folders")
    folders = [folder for folder in folders_below(Path(path).absolute() for path in paths) if _is_run(folder)]
    if not folders:
        raise WrongInput(f"no runs in {names_of(paths)}; a run is a folder that holds config.json")
    return sorted(folders, key=lambda folder: (folder.name, folder))


def folders_below(places: Iterable[Path]) -> Iterator[Path]:
    """Folders and all below them, but nothing within a run or a hidden one; each once, whatever links lead to it.

    A folder goes by the path that reaches it first, level by level, in the order of names.
    """
    seen: set[tuple[int, int]] = set()
    level = list(places)
    while level:
        deeper: list[Path] = []
        for folder in level:
            with contextlib.suppress(FileNotFoundError):  # removed a moment ago
                there = folder.stat()
                if (there.st_dev, there.st_ino) in seen:
                    continue
                seen.add((there.st_dev, there.st_ino))
                yield folder
                if not _is_run(folder):
                    with os.scandir(folder) as entries:
                        deeper += sorted(Path(e) for e in entries if e.is_dir() and not e.name.startswith("."))
        level = deeper


def _is_run(folder: Path) -> bool:
    return os.path.exists(os.path.join(folder, CONFIG)) or lost_config(Path(folder))


def in_parallel(read: Callable[[_Item], _Read], items: Sequence[_Item]) -> Iterator[_Read]:
    """`read` of every item, in order. Threads: on a shared file system, waiting for small files is most of the time."""
    if items:
        with ThreadPoolExecutor(min(8, len(items))) as pool:
            yield from pool.map(read, items)


def undamaged(
    read: Callable[[_Place], _Read], places: Sequence[_Place], damaged: Damaged | None
) -> list[tuple[_Place, _Read]]:
    """Each run and `read` of it; damaged ones are left out and named in `damaged`, or raise DamagedFile without it."""

    def attempt(place: _Place) -> tuple[_Place, _Read] | DamagedFile:
        try:
            return place, read(place)
        except DamagedFile as error:
            return error

    found: list[tuple[_Place, _Read]] = []
    for place, outcome in zip(places, in_parallel(attempt, places), strict=True):
        if not isinstance(outcome, DamagedFile):
            found.append(outcome)
        elif damaged is None:
            raise outcome
        else:
            damaged[place.folder if isinstance(place, Run) else place] = f"{outcome}{_LEFT_OUT}"
    return found


def some_left(runs: Sequence[Run], damaged: Damaged | None) -> None:
    """Raises DamagedFile if none is."""
    if damaged and not runs:
        whole = f"all {len(damaged)} runs are damaged: " if len(damaged) > 1 else ""
        raise DamagedFile(whole + next(iter(damaged.values())).removesuffix(_LEFT_OUT))


def names_of(paths: Iterable[str | Path]) -> str:
    names = [str(Path(path).absolute()) for path in paths]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _of_one_version(runs: list[Run], wanted: int | None) -> list[Run]:
    """Those of one version of the results for each model: a version is raised for all, or for the one it touches.

    Args:
        runs: of any versions.
        wanted: the runs of this version, and those of models that have none, of their newest before it that no change
            of all models has outdated; None: all.

    Raises:
        WrongInput: no run is of the wanted version; none is wanted, and runs are of several that do not go together.
    """
    every = sorted({run.version for run in runs})
    if wanted is not None:
        if wanted not in every:
            raise WrongInput(f"results version {wanted}: no such runs; there are {_counted(every)}")
        common = {run.common for run in runs if run.version == wanted}
        runs = [run for run in runs if run.version <= wanted and run.common in common]
    newest: dict[str, int] = {}
    for run in runs:
        newest[_model_of(run)] = max(run.version, newest.get(_model_of(run), run.version))
    last = [run for run in runs if run.version == newest[_model_of(run)]]
    if wanted is None and (len(last) < len(runs) or len({run.common for run in runs}) > 1):
        raise WrongInput(
            f"runs of different versions of the results, {_counted(every)}, are not comparable: "
            "choose one (results_version=, --results-version) or give the run folders of one"
        )
    return last


def _model_of(run: Run) -> str:
    """A user's own model goes by its file too: it may have the name of one of ours."""
    model = run.config["model"]
    return str(model["name"]) if model.get("file") is None else f"{model['name']} of {model['file']}"


def _counted(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions[:-1])) + (" and " if len(versions) > 1 else "") + str(versions[-1])
