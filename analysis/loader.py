"""Run folders as tables: the doors of this room to what was run.

`load_runs` gives the records as one table, `load_arrays` histograms and other arrays, `load_status` how far each run
is, `load_descriptions` what was run and how. Each takes a path, a list of paths, or `RunFolders`, whose small files
have been read already. `analysis.folders`, `.records` and `.arrays` know how a run folder is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.arrays import Arrays, Entry
from analysis.columns import categories, column, numbers
from analysis.errors import DamagedFile, WrongInput, near_miss
from analysis.folders import Damaged, PathOrPaths, RunFolders, find_runs, in_parallel, names_of, some_left, undamaged
from analysis.records import records_of
from analysis.run_folder import NUMBER_KEYS, RUN_COLUMNS, Run, lookup, read_run, text
from experiments.runs.format import RECORD_COLUMNS, RECORD_TEXTS

BLOCK = 64  # runs whose records are held at once as they were read
Folders: TypeAlias = PathOrPaths | RunFolders


def load_runs(
    path: Folders,
    columns: Sequence[str] = (),
    *,
    results_version: int | None = None,
    damaged: Damaged | None = None,
) -> pd.DataFrame:
    """All records of all runs in one tidy table: one row per number.

    path: a folder at or anywhere below which run folders lie, or a list of such.
    columns: further keys of the config, dotted (`"norm.centered"`), each to become a column of that name, of the
        type that `analysis.columns.column` says; missing values where a run has no such key.
    results_version: only the runs of this version of the results, and of models that have none of it, of their newest
        before it: a version is raised for all models, or for the one that a change touches. Without it, runs of one
        model and different versions are refused: their numbers must not be compared.
    damaged: a dictionary, to leave damaged runs out and have them named there: folder -> why. Without it the first
        damaged file raises DamagedFile.

    Columns: run, experiment, state, diverged_at, data, model, norm, optimiser, lr, batch_size, weight_decay,
    loss_reduction, schedule, seed, steps, numerics, task; then step, probe, metric, batch, point, layer, x, value,
    unit; then `columns`. `value` is in the unit that `unit` names and may be NaN or infinite; `layer` and `x` are
    missing where a metric has no such dimension. `data` is the label of the data set where it has one, `task` what the
    specification of its data says it is for. Texts are categoricals.
    Rows keep the order of the log; runs are sorted by the name of their folder. A run without records has no rows.

    Raises WrongInput (no such path, no runs, mixed versions, an unknown key) and DamagedFile.
    """
    return read_records(RunFolders.read(path, results_version, damaged=damaged), columns)[0]


def read_records(runs: RunFolders, columns: Sequence[str] = ()) -> tuple[pd.DataFrame, RunFolders]:
    """The table of `load_runs`, and the runs that are in it: those whose records prove damaged are left out, if any
    may be."""
    for name in columns:
        _extra_column(name, runs)  # a wrong key is told before anything is read
    kept: list[Run] = []
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in RECORD_COLUMNS}
    words: dict[str, dict[str | None, int]] = {name: {} for name in RECORD_TEXTS}
    counts: list[int] = []
    # Text becomes codes, a block of runs at a time: the Arrow tables of all would need as much memory again.
    for start in range(0, len(runs), BLOCK):
        read = undamaged(records_of, runs[start : start + BLOCK], runs.damaged)
        kept += [run for run, _ in read]
        tables = [table for _, table in read]
        if not tables:
            continue
        counts += [table.num_rows for table in tables]
        for name in RECORD_COLUMNS:
            columns_of = [table.column(name) for table in tables]
            parts = [_codes(c, words[name]) if name in words else c.to_numpy() for c in columns_of]
            blocks[name].append(np.concatenate(parts))
    some_left(kept, runs.damaged)
    runs = RunFolders(kept, runs.damaged)
    further = {name: _extra_column(name, runs) for name in columns}
    recorded: dict[str, Any] = {}
    for name in RECORD_COLUMNS:
        whole = np.concatenate(blocks.pop(name))
        recorded[name] = pd.Categorical.from_codes(whole, list(words[name])) if name in words else whole
    frame = {name: _run_column(name, runs).repeat(counts) for name in RUN_COLUMNS} | recorded
    frame |= {name: column.repeat(counts) for name, column in further.items()}
    return pd.DataFrame(frame, copy=False), runs


def _codes(column: pa.ChunkedArray, words: dict[str | None, int]) -> np.ndarray:
    """The words of a column by their places in `words`, which takes up new ones; -1: none."""
    parts = [np.empty(0, np.int16)]
    for chunk in column.chunks:
        places = [words.setdefault(word, len(words)) for word in chunk.dictionary.to_pylist()]
        parts.append(np.array([*places, -1], np.int16)[chunk.indices.fill_null(-1).to_numpy()])
    return np.concatenate(parts)


def load_status(path: Folders) -> pd.DataFrame:
    """How far each run is, one row per run, whatever its version; nothing but config.json and status.json is read.

    Columns: run, experiment, arm (of its sweep, if that had arms), state (running, finished, diverged, failed,
    interrupted; `not started` without a status.json; `damaged`, with the reason as the message), step, steps, heartbeat
    (Unix seconds of its last sign of life), message, diverged_at, steps_per_second (since its latest start),
    seconds_left (of a running one, at that rate), host, pid, data, model, norm, lr, seed, results_version, folder.
    WrongInput: there are no runs.
    """

    def row(found: Path | Run) -> dict[str, Any]:
        try:
            run = read_run(found) if isinstance(found, Path) else found
        except DamagedFile as error:
            return {"run": found.name, "state": "damaged", "message": str(error), "folder": str(found)}
        own = {name: run.column(name) for name in ("run", "experiment", "state", "data", "model", "norm", "lr", "seed")}
        rate = _steps_per_second(run.status)
        keys = ("step", "heartbeat", "message", "diverged_at", "host", "pid")
        return {
            **own,
            "arm": run.arm,
            **{key: run.status.get(key) for key in keys},
            "heartbeat": run.sign_of_life,
            "steps_per_second": rate,
            "seconds_left": (run.status["steps"] - run.status["step"]) / rate
            if rate is not None and run.status.get("state") == "running"
            else None,
            "steps": run.status.get("steps", run.column("steps")),
            "results_version": run.version,
            "folder": str(run.folder),
        }

    order = ["run", "experiment", "arm", "state", "step", "steps", "heartbeat", "message", "diverged_at"]
    order += ["steps_per_second", "seconds_left", "host", "pid"]
    order += ["data", "model", "norm", "lr", "seed", "results_version", "folder"]
    numeric = {"step", "steps", "heartbeat", "diverged_at", "steps_per_second", "seconds_left", "pid", "lr", "seed"}
    numeric |= {"results_version"}
    found: Sequence[Path | Run] = path if isinstance(path, RunFolders) else find_runs(path)
    rows = list(in_parallel(row, found))
    return pd.DataFrame(
        {name: (numbers if name in numeric else _objects)([r.get(name) for r in rows]) for name in order}
    )


def _steps_per_second(status: Mapping[str, Any]) -> float | None:
    """Since the latest start; None until it can be told."""
    needed = ("step", "steps", "heartbeat", "since", "from_step")
    if not all(isinstance(status.get(key), (int, float)) for key in needed):
        return None
    done, seconds = status["step"] - status["from_step"], status["heartbeat"] - status["since"]
    return done / seconds if done > 0 and seconds > 0 else None


def load_descriptions(path: Folders, *, results_version: int | None = None) -> list[dict[str, Any]]:
    """What was run and how, one dictionary per run, in the order of `load_runs`; no records are read.

    Keys: run, experiment, folder, results_version, config (the whole resolved one), training (by dotted key, every
    option that changes what is trained, defaults filled in), measurement (what was measured, as far as it is no
    default), status and starts (provenance: one entry per start, with its time, host, command, git_commit, versions,
    device and plan; empty where there is none).

    Raises WrongInput and DamagedFile as `load_runs` does.
    """

    def describe(run: Run) -> dict[str, Any]:
        own = {"run": run.name, "experiment": run.experiment, "folder": run.folder, "results_version": run.version}
        about = {
            "config": run.config,
            "training": run.training,
            "measurement": run.measurement,
            "status": run.status,
            "starts": run.starts,
        }
        return {**own, **about}

    return list(in_parallel(describe, RunFolders.read(path, results_version)))


def load_arrays(metric: str, path: Folders, probe: str | None = None, *, results_version: int | None = None) -> Arrays:
    """The arrays of one metric (histograms, quantiles, values per unit, ...) over all runs, each read when it is taken.

    metric: the name in fields.json; probe: only this probe's, where several record a metric of that name.
    Gives a sequence of xarray.DataArray, one per run and key of fields.json, dims ("step", then the declared ones),
    with a table of what there is in `.entries`; see `Arrays`.

    Raises WrongInput for an unknown metric (nearest name given) or one of the records, and as `load_runs` does.
    """
    runs = RunFolders.read(path, results_version)
    found: list[Entry] = []
    seen: set[str] = set()
    in_records = False
    for run, fields in zip(runs, in_parallel(lambda run: run.fields, runs), strict=True):
        for probe_name, keys in fields.items():
            for key, spec in keys.items():
                if probe is not None and probe_name != probe:
                    continue
                if not spec.in_records:
                    seen.add(spec.metric)
                if spec.metric == metric:
                    in_records |= spec.in_records
                    if not spec.in_records:
                        found.append(Entry(run, probe_name, key, spec))
    if found:
        return Arrays(found)
    where = f"metric {metric!r}" + (f" of probe {probe!r}" if probe else "")
    if in_records:
        raise WrongInput(f"{where} lies in the records, not in arrays: take it from load_runs")
    if not seen:
        raise WrongInput(f"{where}: no arrays are recorded in {names_of(run.folder for run in runs)}")
    raise WrongInput(f"{where}: no run records such an array; {near_miss(metric, seen)}")


def _run_column(name: str, runs: Sequence[Run]) -> Any:
    values = [run.column(name) for run in runs]
    return numbers(values) if name in NUMBER_KEYS or name == "diverged_at" else categories(values)


def _extra_column(key: str, runs: Sequence[Run]) -> Any:
    found = [lookup(run.config, key) for run in runs]
    if not any(there for _, there in found):
        known = {name for run in runs for name in _dotted(run.config)}
        raise WrongInput(f"columns: no run has the config key {key!r}; {near_miss(key, known)}")
    return column([text(value) if isinstance(value, Mapping) else value for value, _ in found])


def _dotted(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")


def _objects(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, dtype=object)
