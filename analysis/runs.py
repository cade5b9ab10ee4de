"""Runs as claims and figures take them: what was trained, records by metric, arrays read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from analysis.errors import WrongInput, near_miss
from analysis.folders import Damaged, RunFolders
from analysis.joined import join, read_arrays, trainings
from analysis.loader import Folders, read_records
from analysis.run_folder import Run
from analysis.select import CHOICE, FACTS, GROUPS, NORM, plain, shown

RECORD = ["run", "step", "batch", "layer", "x", "value", "unit"]
HASH = "file_sha256"
KEPT = 16
"""Metrics whose rows are kept: figures in a row share them; all of them would be another table."""

ReadArrays: TypeAlias = Callable[[str, Sequence[str], str, Sequence[str]], Iterable[Any]]
_Made = TypeVar("_Made")

COLUMN_KEYS = {
    "data": "data",
    "model": "model",
    "norm": NORM,
    "optimiser": "optim",
    "lr": "optim.lr",
    "batch_size": "optim.batch_size",
    "weight_decay": "optim.weight_decay",
    "loss_reduction": "optim.loss",
    "schedule": "optim.schedule",
    "steps": "steps",
    "numerics": "numerics",
}
"""Column of `analysis.load_runs` -> key of the configuration: what a table alone tells of its runs."""


class Runs:
    """Some trainings: what each was, and what was recorded of it.

    Runs that differ only in what looked at them are one training: their records are joined under the name of one.

    Attributes:
        table: the records, as `analysis.load_runs` gives them.
        each: one row per training, by name: `state`, `diverged_at`, `experiment`, `task`, `seed`.
        keys: the configuration's keys that some run has, in their order.
        folders: where they were read from; None for a table alone.
        training: run folder's name -> the name of the training that it is one of.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        each: pd.DataFrame,
        trained: Mapping[str, Mapping[str, Any]],
        read: ReadArrays | None = None,
        defaults: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.table, self.each, self._trained, self._read = table, each, trained, read
        self._defaults = defaults or {}
        self.folders: RunFolders | None = None
        self.training: Mapping[str, str] = {run: run for run in each.index}
        self._whole = self
        self._kept: dict[Hashable, Any] = {}

    @classmethod
    def load(cls, path: Folders, results_version: int | None = None, *, damaged: Damaged | None = None) -> Runs:
        """The runs at `path`, as `load_runs` finds them.

        Args:
            path: as `load_runs` takes it, or `RunFolders`.
            results_version: only the runs of this version of the results.
            damaged: takes what is wrong with damaged runs, which are then left out; None: they raise. Arrays that prove
                damaged when a figure takes them are missing from it, and their run is named there.

        Raises:
            WrongInput, DamagedFile: as `load_runs` does.
        """
        table, folders = read_records(RunFolders.read(path, results_version, damaged=damaged))
        trained = {run.name: run.trained for run in folders}
        defaults = {run.name: run.defaults for run in folders}
        one_of = trainings(folders, cls(table, _each(folders), trained, defaults=defaults))
        members: dict[str, list[str]] = {}
        for run, name in one_of.items():
            members.setdefault(name, []).append(run)
        if len(members) < len(one_of):
            table = join(table, one_of)
        found = cls(
            table,
            _each(folders).loc[list(members)],
            {name: trained[name] for name in members},
            partial(read_arrays, folders, members, one_of),
            defaults,
        )
        found.folders, found.training = folders, one_of
        return found

    @classmethod
    def of(cls, runs: Runs | pd.DataFrame | Folders) -> Runs:
        """Runs as they are, from a path, or from a table (then without arrays, and by its columns alone)."""
        if isinstance(runs, Runs):
            return runs
        return cls._of_table(runs) if isinstance(runs, pd.DataFrame) else cls.load(runs)

    @classmethod
    def _of_table(cls, table: pd.DataFrame) -> Runs:
        first = table.drop_duplicates("run").set_index("run").sort_index()
        first.index = first.index.astype(str)
        keys = {column: key for column, key in COLUMN_KEYS.items() if column in first}
        keys |= {column: column for column in first.columns if "." in str(column)}  # further keys, as asked for
        trained = {run: {key: _value(row[column]) for column, key in keys.items()} for run, row in first.iterrows()}
        each = pd.DataFrame({name: first.get(name) for name in FACTS}, index=first.index)
        if "seed" in first:
            for run in _twice(trained, first["seed"]):
                trained[run]["run"] = run
        return cls(table, _facts(each), {str(run): values for run, values in trained.items()})

    def only(self, names: Iterable[str]) -> Runs:
        """Some of them; nothing is copied."""
        part = Runs(self.table, self.each.loc[list(names)], self._trained, self._read, self._defaults)
        part._whole, part.folders, part.training = self._whole, self.folders, self.training
        return part

    def where(self, values: Mapping[str, Any]) -> Runs:
        """Those whose keys have these values, as in `runs.where({"optim.lr": 0.1})`.

        Raises:
            WrongInput: no run has such a key.
        """
        known = [*self.keys, NORM, *FACTS]
        for key in values:
            if key not in known:
                raise WrongInput(f"no run has the key {key!r}; {near_miss(key, known)}")
        told = {key: plain(value) for key, value in values.items()}
        return self.only([r for r in self.each.index if all(plain(self.value(r, k)) == v for k, v in told.items())])

    @property
    def whole(self) -> Runs:
        """All that were loaded together."""
        return self._whole

    # What was trained ------------------------------------------------------------------------------------------------

    @cached_property
    def keys(self) -> list[str]:
        """Keys of the configuration that some of these runs have; `norm` with its options is not among them."""
        found: dict[str, None] = {}
        for run in self.each.index:
            found |= dict.fromkeys(self._trained[run])
        return [key for key in found if key != NORM]

    def value(self, run: str, key: str) -> Any:
        """The value of a key in a run; None where it has none. `norm` is the label, with the options that differ."""
        if key == NORM:
            return self.label_of(run)
        if key == CHOICE:
            return self._trained[run].get(NORM)
        if key in FACTS:
            return self.each[key][run]
        own = self._trained[run]
        if key in own:
            return own[key]
        group = key.partition(".")[0]
        return self.default(group, own.get(group) if group in GROUPS else None, key)

    def default(self, group: str, choice: Any, key: str) -> Any:
        """The default of an option of a group's choice, as these runs tell it; None where none does."""
        return self._standard.get((group, plain(choice)), {}).get(key)

    def has(self, run: str, key: str) -> bool:
        """Whether a run has a key: its configuration says it, or it is older than the key, whose default is known."""
        return key in self._trained[run] or self.value(run, key) is not None

    def norm_of(self, run: str) -> tuple[str, dict[str, Any]]:
        """A run's normalisation, and its options that are not at their defaults."""
        choice = plain(self._trained[run].get(NORM))
        standard = self._options.get(choice, {})
        own = {key: value for key, value in self._trained[run].items() if key.startswith(f"{NORM}.")}
        return choice, {
            key: value for key, value in own.items() if key not in standard or standard[key] != plain(value)
        }

    def label_of(self, run: str) -> str:
        """A normalisation with the options in which it differs: `l2`, `l2 centered`, `group groups=4`."""
        choice, differing = self.norm_of(run)
        told = [choice]
        for key, value in differing.items():
            name = key.partition(".")[2]
            if name == HASH:  # of a user's file, of which several states were run
                name = "file"
            told.append(name if value is True else f"not {name}" if value is False else f"{name}={shown(key, value)}")
        return " ".join(told)

    @cached_property
    def _options(self) -> dict[str, dict[str, str]]:
        """Normalisation -> option -> what it is by default; without word of the defaults, what all runs share."""
        if self._whole is not self:
            return self._whole._options
        found: dict[str, dict[str, str]] = {}
        seen: dict[tuple[str, str], set[str]] = {}
        for run, values in self._trained.items():
            choice = plain(values.get(NORM))
            own = found.setdefault(choice, {})
            for key, value in self._defaults.get(run, {}).items():
                if key.startswith(f"{NORM}."):
                    own[key] = plain(value)
            for key, value in values.items():
                if key.startswith(f"{NORM}."):
                    seen.setdefault((choice, key), set()).add(plain(value))
        for (choice, key), values_seen in seen.items():
            if len(values_seen) == 1 and values_seen != {"true"}:  # what is switched on is said
                found[choice].setdefault(key, next(iter(values_seen)))
        return found

    @cached_property
    def _standard(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Group and choice -> its options' defaults, for runs that are older than an option."""
        if self._whole is not self:
            return self._whole._standard
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for run, defaults in self._defaults.items():
            for key, value in defaults.items():
                group = key.partition(".")[0]
                choice = self._trained.get(run, {}).get(group) if group in GROUPS else None
                found.setdefault((group, plain(choice)), {})[key] = value
        return found

    # What was recorded -----------------------------------------------------------------------------------------------

    def once(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """`make()`, the first time."""
        if key not in self._kept:
            self._kept[key] = make()
        made: _Made = self._kept[key]
        return made

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        return {str(name): places for name, places in self.table.groupby("metric", observed=True).indices.items()}

    def metrics(self) -> list[str]:
        """All metrics of the records."""
        return sorted(self._whole._places)

    def kinds(self) -> pd.DataFrame:
        """probe, metric, batch and `along` (whether it has step lengths) of all that is recorded."""
        columns = ["probe", "metric", "batch"]
        kinds = self.table.assign(along=self.table["x"].notna()).drop_duplicates([*columns, "along"])
        return kinds[[*columns, "along"]].astype(dict.fromkeys(columns, str))

    def records(self, metric: str, batch: str | None = None, probe: str | None = None) -> pd.DataFrame:
        """The rows of one metric: run, step, batch, layer, x, value, unit. Empty where no run records it.

        Where two probes record the same number (landscapes on two grids), it is taken once.
        """
        whole = self._whole
        key = ("records", metric, batch, probe)
        if key not in whole._kept:
            rows = [name for name in whole._kept if isinstance(name, tuple) and name[0] == "records"]
            if len(rows) >= KEPT:
                whole._kept.pop(rows[0])
            whole._kept[key] = whole._rows(metric, batch, probe)
        found: pd.DataFrame = whole._kept[key]
        return found if self is whole else found[found["run"].isin(self.each.index)]

    def _rows(self, metric: str, batch: str | None, probe: str | None) -> pd.DataFrame:
        part = self.table[["probe", *RECORD]].iloc[self._places.get(metric, np.array([], dtype=int))]
        if probe is not None:
            part = part[part["probe"] == probe]
        if batch is not None:
            part = part[part["batch"] == batch]
        if len(part) and len(part["probe"].unique()) > 1:
            part = part.drop_duplicates(["run", "step", "batch", "layer", "x"])
        return part[RECORD].assign(run=part["run"].astype(str).astype("category"))

    def recording(self, metric: str, batch: str | None) -> set[str]:
        """The runs that record a metric."""
        return self.once(("recording", metric, batch), lambda: set(self.records(metric, batch)["run"].unique()))

    def declaring(self, metric: str, batch: str | None) -> set[str]:
        """The runs that were asked for a metric: those that record it, and those that were to and have no number.

        Of a table alone, which does not tell, all that diverged count as asked.
        """
        found = self.recording(metric, batch)
        lacking = set(self.each.index) - found
        if self.folders is None:
            return found | {run for run in lacking if self.each["state"][run] == "diverged"}
        folders = self._whole.once("folders of a training", self._members)
        fields = {
            run: [field for one in folders[run] for keys in one.fields.values() for field in keys.values()]
            for run in lacking
        }
        return found | {
            run
            for run, declared in fields.items()
            if any(field.metric == metric and batch in (None, field.batch) for field in declared)
        }

    def _members(self) -> dict[str, list[Run]]:
        members: dict[str, list[Run]] = {}
        for run in self.folders or ():
            members.setdefault(self.training[run.name], []).append(run)
        return members

    def arrays(self, metric: str, runs: Sequence[str], batch: str, layers: Sequence[str]) -> dict[tuple[str, str], Any]:
        """(run, layer) -> xarray.DataArray with dims step and the declared ones, each read from its file now."""
        if self._read is None or not len(runs) or not len(layers):
            return {}
        found = self._read(metric, list(runs), batch, list(layers))
        return {(str(array.attrs["run"]), str(array.attrs["layer"])): array for array in found}

    @property
    def steps(self) -> pd.Series:
        """Length of each run, in steps."""
        return pd.Series({run: self.value(run, "steps") for run in self.each.index}, dtype=float)


def _value(value: Any) -> Any:
    """A cell of a table as the configuration has it: NaN is None."""
    return None if plain(value) == "none" else value


def _twice(trained: Mapping[Any, Mapping[str, Any]], seeds: pd.Series) -> list[Any]:
    """Runs of one seed that are alike in all that a table tells: they differ in what it does not, and stand apart."""
    alike: dict[tuple[str, ...], list[Any]] = {}
    for run, values in trained.items():
        alike.setdefault((*map(plain, values.values()), plain(seeds[run])), []).append(run)
    return [run for runs in alike.values() if len(runs) > 1 for run in runs]


def _facts(each: pd.DataFrame) -> pd.DataFrame:
    return each.assign(
        state=each["state"].astype(object).astype(str),
        seed=each["seed"].astype(float).fillna(0).astype(int),
        diverged_at=each["diverged_at"].astype(float),
        task=each["task"].astype(object),
    )[list(FACTS)]


def _each(folders: Sequence[Run]) -> pd.DataFrame:
    rows = {name: [run.column(name) for run in folders] for name in FACTS}
    return _facts(pd.DataFrame(rows, index=pd.Index([run.name for run in folders], name="run", dtype=object)))
