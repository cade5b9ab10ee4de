"""Runs as figures take them: the records split by metric once, arrays read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from analysis.errors import WrongInput
from analysis.folders import RunFolders
from analysis.loader import Folders, load_arrays, load_runs

RECORD = ["run", "step", "batch", "layer", "x", "value", "unit"]
PER_RUN = ["run", "state", "diverged_at", "data", "model", "norm", "optimiser", "lr", "batch_size", "weight_decay"]
PER_RUN += ["loss_reduction", "schedule", "seed", "numerics"]
KEPT = 16  # metrics whose rows are kept: figures in a row share them, all of them would be another table

ReadArrays: TypeAlias = Callable[[str, Sequence[str], str, Sequence[str]], Iterable[Any]]


class Runs:
    """What every figure's `compute` is given.

    table: as `analysis.load_runs` gives it.
    read: (metric, names of runs, batch, layers) -> their arrays, each with attrs run, layer and x; none without it.
    also: normalisations that every figure shows beside those that it is about.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        read: ReadArrays | None = None,
        also: Sequence[str] = (),
    ) -> None:
        self.table, self._read, self.also = table, read, tuple(also)
        self._records: dict[tuple[str, str | None, str | None], pd.DataFrame] = {}

    @classmethod
    def load(cls, path: Folders, results_version: int | None = None, also: Sequence[str] = ()) -> Runs:
        """The runs at `path`, as `load_runs` finds them. Raises WrongInput and DamagedFile."""
        folders = RunFolders.read(path, results_version)

        def read(metric: str, names: Sequence[str], batch: str, layers: Sequence[str]) -> Iterable[Any]:
            try:
                arrays = load_arrays(metric, folders.only(names))
            except WrongInput:  # none of these runs records it
                return []
            arrays = arrays.where(batch=batch)
            there = arrays.entries["layer"] if len(arrays) else []
            return [arrays[i] for i, layer in enumerate(there) if layer in layers]

        return cls(load_runs(folders), read, also)

    @classmethod
    def of(cls, runs: Runs | pd.DataFrame | Folders) -> Runs:
        """Runs as they are, or from a table (then without arrays) or a path."""
        if isinstance(runs, Runs):
            return runs
        return cls(runs) if isinstance(runs, pd.DataFrame) else cls.load(runs)

    @cached_property
    def each(self) -> pd.DataFrame:
        """One row per run: name, state, setting, norm, seed; `regression`: whether its loss is a squared error."""
        each = self.table.drop_duplicates("run")[PER_RUN].copy()
        for name in ("run", "norm", "state"):
            each[name] = each[name].astype(str)
        loss = self.records("loss", probe="training").drop_duplicates("run")
        squared = loss["run"][loss["unit"].astype(str).str.startswith("squared error")].astype(str)
        each["regression"] = each["run"].isin(set(squared))
        return each.sort_values("run", ignore_index=True)

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        return {str(name): places for name, places in self.table.groupby("metric", observed=True).indices.items()}

    def metrics(self) -> list[str]:
        """All metrics of the records."""
        return sorted(self._places)

    def records(self, metric: str, batch: str | None = None, probe: str | None = None) -> pd.DataFrame:
        """The rows of one metric: run, step, batch, layer, x, value, unit. Empty where no run records it.

        Where two probes record the same number (landscapes on two grids), it is taken once.
        """
        key = (metric, batch, probe)
        if key not in self._records:
            places = self._places.get(metric, np.array([], dtype=int))
            part = self.table[["probe", *RECORD]].iloc[places]
            if probe is not None:
                part = part[part["probe"] == probe]
            if batch is not None:
                part = part[part["batch"] == batch]
            if len(part) and len(part["probe"].unique()) > 1:
                part = part.drop_duplicates(["run", "step", "batch", "layer", "x"])
            if len(self._records) >= KEPT:
                self._records.pop(next(iter(self._records)))
            self._records[key] = part[RECORD]
        return self._records[key]

    def arrays(self, metric: str, runs: Sequence[str], batch: str, layers: Sequence[str]) -> dict[tuple[str, str], Any]:
        """(run, layer) -> xarray.DataArray with dims step and the declared ones, each read from its file now."""
        if self._read is None or not len(runs) or not len(layers):
            return {}
        found = self._read(metric, list(runs), batch, list(layers))
        return {(str(array.attrs["run"]), str(array.attrs["layer"])): array for array in found}
