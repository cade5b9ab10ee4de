"""Run folders, read from the outside: the one file of this room that knows how they are laid out.

A folder is a run if it holds `config.json`. The records are read from `records.parquet` where the run has ended and
that file was made from the whole log (it says from how many bytes), and otherwise from the log itself, `records.jsonl`,
so that a run can be looked at while it trains. Arrays are read from `arrays.npz` and the chunks in `arrays/`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import DamagedFile, WrongInput, near_miss

if TYPE_CHECKING:
    import xarray as xr

PathOrPaths: TypeAlias = str | Path | Sequence[str | Path]

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
RECORD_COLUMNS = ["step", "probe", "metric", "batch", "point", "layer", "x", "value", "unit"]
RECORD_TEXTS = ["probe", "metric", "batch", "point", "layer", "unit"]
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

_TEXT = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [(name, {"step": pa.int64(), "x": pa.float64(), "value": pa.float64()}.get(name, _TEXT)) for name in RECORD_COLUMNS]
)


# ------------------------------------------------------------------------------------------------------- what is asked


def load_runs(path: PathOrPaths, columns: Sequence[str] = (), *, results_version: int | None = None) -> pd.DataFrame:
    """All records of all runs in one tidy table: one row per number.

    path: a folder of run folders, one run folder, or a list of either.
    columns: further keys of the config, dotted (`"norm.centered"`), each to become a column of that name; missing
        values where a run has no such key.
    results_version: only the runs of this version of the results. Without it, runs of different versions are refused:
        their numbers must not be compared.

    Columns: run, experiment, state, diverged_at, data, model, norm, optimiser, lr, batch_size, weight_decay,
    loss_reduction, schedule, seed, steps, numerics; then step, probe, metric, batch, point, layer, x, value, unit;
    then `columns`. `value` is in the unit that `unit` names and may be NaN or infinite; `layer` and `x` are missing
    where a metric has no such dimension. `data` is the label of the data set where it has one. Texts are categoricals.
    Rows keep the order of the log; runs are sorted by the name of their folder. A run without records has no rows.

    Raises WrongInput (no such path, no runs, mixed versions, an unknown key) and DamagedFile.
    """
    runs = _read_runs(path, results_version)
    tables = _in_parallel(_records, runs)
    counts = np.array([table.num_rows for table in tables])
    records = pa.concat_tables(tables).unify_dictionaries()
    del tables  # the chunks are now held by `records` alone, which gives them up column by column
    frame = {name: _run_column(name, runs).repeat(counts) for name in RUN_COLUMNS}
    for name in RECORD_COLUMNS:
        frame[name] = records.column(name).to_pandas().array
        records = records.drop_columns(name)
    for name in columns:
        frame[name] = _extra_column(name, runs).repeat(counts)
    return pd.DataFrame(frame, copy=False)


def load_status(path: PathOrPaths) -> pd.DataFrame:
    """How far each run is, one row per run, whatever its version; nothing but config.json and status.json is read.

    Columns: run, experiment, state (running, finished, diverged, failed, interrupted; `not started` without a
    status.json; `damaged`, with the reason as the message), step, steps, heartbeat (Unix seconds), message,
    diverged_at, seconds_left (of a running one, at its rate since its latest start), host, pid, data, model, norm, lr,
    seed, results_version, folder. WrongInput: there are no runs.
    """

    def row(folder: Path) -> dict[str, Any]:
        try:
            run = _read_run(folder)
        except DamagedFile as error:
            return {"run": folder.name, "state": "damaged", "message": str(error), "folder": str(folder)}
        own = {name: run.column(name) for name in ("run", "experiment", "state", "data", "model", "norm", "lr", "seed")}
        keys = ("step", "heartbeat", "message", "diverged_at", "host", "pid")
        return {
            **own,
            **{key: run.status.get(key) for key in keys},
            "seconds_left": _seconds_left(run.status),
            "steps": run.status.get("steps", run.column("steps")),
            "results_version": run.version,
            "folder": str(folder),
        }

    order = ["run", "experiment", "state", "step", "steps", "heartbeat", "message", "diverged_at", "seconds_left"]
    order += ["host", "pid"]
    order += ["data", "model", "norm", "lr", "seed", "results_version", "folder"]
    numbers = {"step", "steps", "heartbeat", "diverged_at", "seconds_left", "pid", "lr", "seed", "results_version"}
    rows = _in_parallel(row, find_runs(path))
    return pd.DataFrame(
        {name: (_numbers if name in numbers else _objects)([r.get(name) for r in rows]) for name in order}
    )


def _seconds_left(status: Mapping[str, Any]) -> float | None:
    """None unless running, and until the rate can be told."""
    if status.get("state") != "running" or not all(
        isinstance(status.get(key), (int, float)) for key in ("step", "steps", "heartbeat", "since", "from_step")
    ):
        return None
    done, seconds = status["step"] - status["from_step"], status["heartbeat"] - status["since"]
    return (status["steps"] - status["step"]) * seconds / done if done > 0 and seconds > 0 else None


def load_descriptions(path: PathOrPaths, *, results_version: int | None = None) -> list[dict[str, Any]]:
    """What was run and how, one dictionary per run, in the order of `load_runs`; no records are read.

    Keys: run, experiment, folder, results_version, config (the whole resolved one), identity (of it, what changes the
    numbers), status and starts (provenance: one entry per start, with its time, host, command, git_commit, versions,
    device and plan; empty where there is none).

    Raises WrongInput and DamagedFile as `load_runs` does.
    """

    def describe(run: _Run) -> dict[str, Any]:
        starts = _json(run.folder / "provenance.json").get("starts") if "provenance.json" in run.files else []
        if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
            raise DamagedFile(f"{run.folder / 'provenance.json'} is damaged: it must hold a list of starts")
        own = {"run": run.name, "experiment": run.experiment, "folder": run.folder, "results_version": run.version}
        identity = _json(run.folder / "config.json").get("identity") or {}
        return {**own, "config": run.config, "identity": identity, "status": run.status, "starts": starts}

    return _in_parallel(describe, _read_runs(path, results_version))


def load_arrays(
    metric: str, path: PathOrPaths, probe: str | None = None, *, results_version: int | None = None
) -> Arrays:
    """The arrays of one metric (histograms, quantiles, values per unit, ...) over all runs, each read when it is taken.

    metric: the name in fields.json; probe: only this probe's, where several record a metric of that name.
    Gives a sequence of xarray.DataArray, one per run and key of fields.json, dims ("step", then the declared ones),
    with a table of what there is in `.entries`; see `Arrays`.

    Raises WrongInput for an unknown metric (nearest name given) or one of the records, and as `load_runs` does.
    """
    runs = _read_runs(path, results_version)
    found: list[_Entry] = []
    seen: set[str] = set()
    in_records = False
    for run, fields in zip(runs, _in_parallel(_fields, runs), strict=True):
        for probe_name, keys in fields.items():
            for key, spec in keys.items():
                if probe is not None and probe_name != probe:
                    continue
                if not spec.in_records:
                    seen.add(spec.metric)
                if spec.metric == metric:
                    in_records |= spec.in_records
                    if not spec.in_records:
                        found.append(_Entry(run, probe_name, key, spec))
    if found:
        return Arrays(found)
    where = f"metric {metric!r}" + (f" of probe {probe!r}" if probe else "")
    if in_records:
        raise WrongInput(f"{where} lies in the records, not in arrays: take it from load_runs")
    if not seen:
        raise WrongInput(f"{where}: no arrays are recorded in {_names(run.folder for run in runs)}")
    raise WrongInput(f"{where}: no run records such an array; {near_miss(metric, seen)}")


class Arrays(Sequence["xr.DataArray"]):
    """Arrays that are read when taken: `arrays[3]`, or `for array in arrays.where(norm="batch", layer="conv1")`.

    `.entries` is a table with one row per array: run, probe, key, metric, batch, point, dims, layer (of an array of one
    layer), x (its edges or levels, where they are no dimension), unit, reference and the columns of the run (norm, lr,
    seed, ...). A DataArray has dims ("step", declared dims), coordinates step, layer and
    x where they are declared, and the row of `.entries` as attrs. Taking one raises DamagedFile where its file is
    damaged.
    """

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = list(entries)

    @cached_property
    def entries(self) -> pd.DataFrame:
        return pd.DataFrame([entry.attributes() for entry in self._entries])

    def where(self, **columns: Any) -> Arrays:
        """Those whose entries have these values, as in `where(norm="batch", seed=0)`. WrongInput: an unknown column."""
        for name in columns:
            if name not in self.entries:
                raise WrongInput(f"where({name}=...): no such column of the entries; {near_miss(name, self.entries)}")
        chosen = [e for e in self._entries if all(e.attributes()[name] == value for name, value in columns.items())]
        return Arrays(chosen)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        return Arrays(self._entries[index]) if isinstance(index, slice) else _read_array(self._entries[index])

    def __repr__(self) -> str:
        runs = len({entry.run.folder for entry in self._entries})
        return f"<{len(self)} arrays of {runs} runs, not read yet; .entries lists them>"


# ---------------------------------------------------------------------------------------------------------- run folders


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
        raise WrongInput(f"no runs in {_names(paths)}; a run is a folder that holds config.json")
    return sorted(folders, key=lambda folder: (folder.name, folder))


@dataclass
class _Run:
    folder: Path
    name: str
    experiment: str | None
    version: int
    config: Mapping[str, Any]
    status: Mapping[str, Any]
    files: set[str]

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
            label, found = _lookup(self.config, "data.label")
            return str(label) if found and label else _text(self._required("data.name"))
        if name in NUMBER_KEYS:
            value = self._required(NUMBER_KEYS[name])
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise DamagedFile(f"{self.folder / 'config.json'}: {NUMBER_KEYS[name]} is {value!r}, not a number")
            return value
        return _text(self._required(TEXT_KEYS[name]))

    def _required(self, key: str) -> Any:
        value, found = _lookup(self.config, key)
        if not found:
            raise DamagedFile(f"{self.folder / 'config.json'} is damaged: it lacks the key {key} of the config")
        return value


def _is_run(folder: Path | os.DirEntry[str]) -> bool:
    return os.path.exists(os.path.join(folder, "config.json"))


def _read_runs(path: PathOrPaths, results_version: int | None) -> list[_Run]:
    runs = _in_parallel(_read_run, find_runs(path))
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
            raise WrongInput(f"the same run {run.name} lies in {names[run.name]} and in {run.folder}: give one of them")
        names[run.name] = run.folder
    return runs


def _read_run(folder: Path) -> _Run:
    files = set(os.listdir(folder))
    described = _json(folder / "config.json")
    # Between the writing of config.json and of status.json a run has not started.
    status = _json(folder / "status.json") if "status.json" in files else {}
    name, config, version = described.get("run"), described.get("config"), described.get("results_version")
    if not isinstance(name, str) or not isinstance(config, dict) or not isinstance(version, int):
        raise DamagedFile(f"{folder / 'config.json'} is damaged: it must hold results_version, run and config")
    if "status.json" in files and not isinstance(status.get("state"), str):
        raise DamagedFile(f"{folder / 'status.json'} is damaged: it must hold a state")
    return _Run(folder, name, described.get("experiment"), version, config, status, files)


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


def _lookup(config: Mapping[str, Any], key: str) -> tuple[Any, bool]:
    """The value at a dotted key, and whether there is one."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None, False
        value = value[part]
    return value, True


def _text(value: Any) -> str | None:
    """One word for a config value; a group of keys (a schedule with its options) goes by its name."""
    if isinstance(value, Mapping):
        value = value.get("name", json.dumps(value, sort_keys=True))
    return None if value is None else str(value)


def _run_column(name: str, runs: Sequence[_Run]) -> Any:
    values = [run.column(name) for run in runs]
    return _numbers(values) if name in NUMBER_KEYS or name == "diverged_at" else _categories(values)


def _extra_column(key: str, runs: Sequence[_Run]) -> Any:
    found = [_lookup(run.config, key) for run in runs]
    if not any(there for _, there in found):
        known = {name for run in runs for name in _dotted(run.config)}
        raise WrongInput(f"columns: no run has the config key {key!r}; {near_miss(key, known)}")
    values = [value for value, _ in found]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values if value is not None):
        return _numbers(values)
    return _categories([json.dumps(v) if isinstance(v, dict | list | bool) else _text(v) for v in values])


def _dotted(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """int64 where every value is an integer, else float64 with NaN for None."""
    if values and all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _objects(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, dtype=object)


def _categories(values: Sequence[str | None]) -> pd.Categorical:
    names = sorted({value for value in values if value is not None})
    place = {name: code for code, name in enumerate(names)}
    codes = [-1 if value is None else place[value] for value in values]
    return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype="str"))


def _in_parallel(read: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """`read` of every item, in order. Threads: on a shared file system, waiting for small files is most of the time."""
    with ThreadPoolExecutor(min(8, len(items))) as pool:
        return list(pool.map(read, items))


def _names(paths: Iterable[str | Path]) -> str:
    names = [str(Path(path).absolute()) for path in paths]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _counted(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions[:-1])) + (" and " if len(versions) > 1 else "") + str(versions[-1])


# -------------------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class _Field:
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


def _fields(run: _Run) -> dict[str, dict[str, _Field]]:
    if "fields.json" not in run.files:
        return {}
    path = run.folder / "fields.json"
    described = _json(path)
    try:
        return {
            probe: {
                key: _Field(
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
            for probe, keys in described.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFile(f"{path} is damaged: a field must hold metric, dims, unit, batch, ... ({error!r})") from error


def _records(run: _Run) -> pa.Table:
    log = run.folder / "records.jsonl"
    if run.status.get("state") in ("finished", "diverged") and "records.parquet" in run.files:
        table = _from_parquet(run, log.stat().st_size if "records.jsonl" in run.files else None)
        if table is not None:
            return table
    if "records.jsonl" not in run.files:
        return _SCHEMA.empty_table()
    try:
        content = log.read_bytes()
    except OSError as error:
        raise DamagedFile(f"{log} cannot be read: {error.strerror}") from error
    return _from_log(log, content, _fields(run))


def _from_parquet(run: _Run, log_bytes: int | None) -> pa.Table | None:
    """The compacted records; None where they were made from another state of the log (the run went on since)."""
    path = run.folder / "records.parquet"
    try:
        with pq.ParquetFile(path, read_dictionary=RECORD_TEXTS) as file:
            made_from = (file.metadata.metadata or {}).get(b"records_bytes")
            if log_bytes is not None and (made_from is None or int(made_from) != log_bytes):
                return None
            table = file.read(columns=RECORD_COLUMNS, use_threads=False)
        return table.select(RECORD_COLUMNS).cast(_SCHEMA).replace_schema_metadata(None)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        cure = "" if log_bytes is None else "; delete it, and the run is read from its log records.jsonl"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFile(f"{path} is damaged{cure} ({reason})") from error


@dataclass
class _Block:
    """All values of one key of one probe, as they stand in the log."""

    spec: _Field
    steps: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def _from_log(path: Path, content: bytes, fields: Mapping[str, Mapping[str, _Field]]) -> pa.Table:
    """The records of a log, one row per number, in the order of the log."""
    blocks: dict[tuple[str, str], _Block] = {}
    order = 0
    # What stands behind the last newline is being written at this moment, or was when the process was killed.
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
            step, probe, values = entry["step"], entry["probe"], entry["values"]
            if type(step) is not int:
                raise TypeError(f"step is {step!r}")
            for key, value in values.items():
                block = blocks.get((probe, key))
                if block is None:
                    block = blocks[probe, key] = _Block(fields[probe][key])
                block.steps.append(step)
                block.values.append(value)
                block.order.append(order)
                block.lines.append(number)
                order += 1
        except (ValueError, TypeError, AttributeError) as error:
            raise DamagedFile(f"{path} is damaged in line {number}: no record of a step ({error})") from error
        except KeyError as error:
            raise DamagedFile(
                f"{path} is damaged in line {number}: {error} is missing, or not in fields.json"
            ) from error
    if not blocks:
        return _SCHEMA.empty_table()

    words: dict[str, dict[str, int]] = {name: {} for name in RECORD_TEXTS}

    def code(column: str, name: str) -> int:
        return words[column].setdefault(name, len(words[column]))

    parts: dict[str, list[np.ndarray]] = {name: [] for name in [*RECORD_COLUMNS, "order"]}
    for (probe, _), block in blocks.items():
        spec = block.spec
        values = _values(path, block)
        cells = math.prod(spec.shape)
        parts["value"].append(values.ravel())
        parts["step"].append(np.repeat(np.array(block.steps, dtype=np.int64), cells))
        parts["order"].append(np.repeat(np.array(block.order, dtype=np.int64), cells))
        layers = np.array([code("layer", name) for name in spec.layer] if spec.layer is not None else [-1], np.int32)
        xs = np.array(spec.x if spec.x is not None else [math.nan])
        parts["layer"].append(np.tile(np.repeat(layers, len(xs)), len(values)))
        parts["x"].append(np.tile(xs, len(layers) * len(values)))
        texts = {"probe": probe, "metric": spec.metric, "batch": spec.batch, "point": spec.point, "unit": spec.unit}
        for column, text in texts.items():
            parts[column].append(np.full(values.size, code(column, text), np.int32))
    in_order = np.argsort(np.concatenate(parts.pop("order")), kind="stable")
    arrays = []
    for name in RECORD_COLUMNS:
        values = np.concatenate(parts[name])[in_order]
        if name in words:
            known = pa.array(list(words[name]), type=pa.string())
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(values, mask=values < 0), known))
        else:
            arrays.append(pa.array(values, mask=np.isnan(values) if name == "x" else None))
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _values(path: Path, block: _Block) -> np.ndarray:
    """[lines, layers, x] of one key, float64; without a look at every number where they are plain and of one shape."""
    flat: list[Any] = block.values
    regular = True
    for length in block.spec.shape:
        regular = regular and set(map(type, flat)) == {list} and set(map(len, flat)) == {length}
        flat = list(itertools.chain.from_iterable(flat)) if regular else []
    if regular and set(map(type, flat)) <= {int, float}:
        return np.array(flat, dtype=np.float64).reshape(len(block.values), *block.spec.shape)
    plain = []
    for line, value in zip(block.lines, block.values, strict=True):
        try:
            plain.append(_number_or_list(value, block.spec.shape))
        except (ValueError, TypeError, KeyError):
            expected = f"numbers of shape {list(block.spec.shape)}" if block.spec.shape else "a number"
            raise DamagedFile(f"{path} is damaged in line {line}: {block.spec.metric} is not {expected}") from None
    return np.array(plain, dtype=np.float64)


def _number_or_list(value: Any, shape: tuple[int, ...]) -> Any:
    if shape:
        if not isinstance(value, list) or len(value) != shape[0]:
            raise ValueError
        return [_number_or_list(inner, shape[1:]) for inner in value]
    if isinstance(value, str):
        return NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


# --------------------------------------------------------------------------------------------------------------- arrays


@dataclass(frozen=True)
class _Entry:
    run: _Run
    probe: str
    key: str
    spec: _Field

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


def _read_array(entry: _Entry) -> xr.DataArray:
    import xarray as xr

    folder, name, spec = entry.run.folder, f"{entry.probe}/{entry.key}", entry.spec
    by_step: dict[int, np.ndarray] = {}
    merged = folder / "arrays.npz"
    if merged.exists():
        by_step.update(_from_merged(merged, name))
    # A run that went on after its end has later chunks beside the merged file.
    for chunk in sorted(folder.glob("arrays/step-*.npz")):
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
        attrs=entry.attributes(),
    )


def _step(text: str, path: Path) -> int:
    try:
        return int(text.removeprefix("step-"))
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
