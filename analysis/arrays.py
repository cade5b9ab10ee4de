"""The arrays of runs (histograms, quantiles, values per unit), each read from its file when it is taken.

They are read from `arrays.npz` and the chunks in `arrays/`.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.columns import column
from analysis.errors import DamagedFile, WrongInput, near_miss
from analysis.run_folder import RUN_COLUMNS, Run
from experiments.runs.format import ARRAYS, CHUNKS, FieldDescription, step_of

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Entry:
    """One array: the run, and what its fields.json says of it."""

    run: Run
    probe: str
    key: str
    spec: FieldDescription

    @cached_property
    def attributes(self) -> dict[str, Any]:
        return {
            "run": self.run.name,
            "probe": self.probe,
            "key": self.key,
            "metric": self.spec.metric,
            "batch": self.spec.batch,
            "point": self.spec.point,
            "dims": self.spec.dims,
            "layer": self.spec.of_layer,
            "x": self.spec.edges,
            "unit": self.spec.unit,
            "reference": self.spec.reference,
            **{name: self.run.column(name) for name in RUN_COLUMNS if name != "run"},
        }


class Arrays(Sequence["xr.DataArray"]):
    """Arrays that are read when taken: `arrays[3]`, or `for array in arrays.where(norm="batch", layer="conv1")`.

    `.entries` is a table with one row per array: run, probe, key, metric, batch, point, dims, layer (of an array of one
    layer), x (its edges or levels, where they are no dimension), unit, reference and the columns of the run (norm, lr,
    seed, ...), of the types that `analysis.columns.column` says. A DataArray has dims ("step", declared dims),
    coordinates step, layer and x where they are declared, and the row of `.entries` as attrs. Taking one raises
    DamagedFile where its file is damaged.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = list(entries)

    @cached_property
    def entries(self) -> pd.DataFrame:
        rows = [entry.attributes for entry in self._entries]
        nested = ("dims", "x")  # tuples
        return pd.DataFrame(
            {
                name: pd.Series(values, dtype=object) if name in nested else column(values)
                for name in (rows[0] if rows else ())
                for values in [[row[name] for row in rows]]
            }
        )

    def where(self, **columns: Any) -> Arrays:
        """Those whose entries have these values, as in `where(norm="batch", seed=0)`. WrongInput: an unknown column."""
        for name in columns:
            if name not in self.entries:
                raise WrongInput(f"where({name}=...): no such column of the entries; {near_miss(name, self.entries)}")
        chosen = [e for e in self._entries if all(e.attributes[name] == value for name, value in columns.items())]
        return Arrays(chosen)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        return Arrays(self._entries[index]) if isinstance(index, slice) else _read_array(self._entries[index])

    def __repr__(self) -> str:
        runs = len({entry.run.folder for entry in self._entries})
        return f"<{len(self)} arrays of {runs} runs, not read yet; .entries lists them>"


def has_arrays(folder: Path) -> bool:
    """Whether a run folder holds arrays, of whatever metric."""
    return (folder / ARRAYS).exists() or (folder / CHUNKS).is_dir()


def _read_array(entry: Entry) -> xr.DataArray:
    import xarray as xr

    folder, name, spec = entry.run.folder, f"{entry.probe}/{entry.key}", entry.spec
    by_step: dict[int, np.ndarray] = {}
    merged = folder / ARRAYS
    if merged.exists():
        by_step.update(_from_merged(merged, name))
    # A run that went on after its end has later chunks beside the merged file.
    for chunk in sorted((folder / CHUNKS).glob("step-*.npz")):
        with _damage_named(chunk), chunk.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if name in archive.files:
                by_step[_step(chunk.stem, chunk)] = archive[name]
    steps = sorted(by_step)
    shapes = {value.shape for value in by_step.values()} or {(0,) * len(spec.dims)}
    known = {dim: np.array(names) for dim, names in (("layer", spec.layer), ("x", spec.x)) if names is not None}
    if len(shapes) > 1 or len(min(shapes)) != len(spec.dims):
        raise DamagedFile(
            f"{folder}: the arrays {name} have shapes {sorted(shapes)}, not one of dims {list(spec.dims)}"
        )
    shape = min(shapes)
    if steps and any(len(names) != shape[spec.dims.index(dim)] for dim, names in known.items()):
        raise DamagedFile(f"{folder}: the arrays {name} have shape {shape}, which does not fit fields.json")
    values = np.stack([by_step[step] for step in steps]) if steps else np.empty((0, *shape))
    return xr.DataArray(
        values,
        dims=("step", *spec.dims),
        coords={"step": np.array(steps, dtype=np.int64), **(known if steps else {})},
        name=spec.metric,
        attrs=entry.attributes,
    )


def _step(text: str, path: Path) -> int:
    try:
        return step_of(text)
    except ValueError:
        raise DamagedFile(f"{path} is damaged: {text!r} is no step") from None


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedFile(f"{path} is damaged ({str(error) or type(error).__name__})") from error


def _from_merged(path: Path, name: str) -> dict[int, np.ndarray]:
    with _damage_named(path):
        state = path.stat()
        archive, members = _opened(path, state.st_size, state.st_mtime_ns)
        if f"{name}/steps.npy" not in members:
            return {}
        steps, values = (_member(archive, f"{name}/{part}.npy") for part in ("steps", "values"))
        if steps.ndim != 1 or values.shape[:1] != steps.shape:
            raise ValueError(f"{name} has {values.shape} values for {steps.shape} steps")
        return dict(zip(steps.tolist(), values, strict=True))


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        found: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return found


@lru_cache(maxsize=8)  # the list of contents of a run is long, and figures take several arrays of one run
def _opened(path: Path, size: int, modified: int) -> tuple[zipfile.ZipFile, frozenset[str]]:
    archive = zipfile.ZipFile(path)
    return archive, frozenset(archive.namelist())
