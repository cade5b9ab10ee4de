"""Runs that differ only in what looked at them are one training: their records and arrays under one name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.errors import DamagedFile, WrongInput
from analysis.folders import RunFolders
from analysis.loader import load_arrays
from analysis.run_folder import ENDED, Run
from analysis.select import NORM, plain
from experiments.source_keys import RESULT_HASHES

if TYPE_CHECKING:
    from analysis.runs import Runs


def trainings(folders: Sequence[Run], runs: Runs) -> dict[str, str]:
    """Run -> the run that stands for its training: the one that went furthest, an ended one first.

    Args:
        folders: the runs.
        runs: what each trained, with the defaults filled in for those that are older than a key. The length is a part
            of that: a longer run would take a seed away from the setting of the shorter ones.
    """
    alike: dict[tuple[str, ...], list[Run]] = {}
    for run in folders:
        told = [plain(runs.value(run.name, key)) for key in (NORM, *runs.keys)]
        told += [f"{key} {v}" for key, v in sorted(run.training.items()) if key.rpartition(".")[2] in RESULT_HASHES]
        alike.setdefault((*told, plain(run.column("seed"))), []).append(run)
    found: dict[str, str] = {}
    for some in alike.values():
        best = max(some, key=lambda run: (run.status.get("state") in ENDED, run.status.get("step") or 0, run.name))
        found |= {run.name: best.name for run in some}
    return {run.name: found[run.name] for run in folders}


def join(table: pd.DataFrame, one_of: Mapping[str, str]) -> pd.DataFrame:
    """The records under the names of the trainings, what two runs have both recorded once.

    Args:
        table: as `analysis.load_runs` gives it.
        one_of: as `trainings` gives it.
    """
    names = table["run"].astype(str)
    own = names.map(one_of)
    table = table.assign(run=own.astype("category"))
    keys = ["run", "step", "probe", "metric", "batch", "point", "layer", "x"]
    # the standing run's own numbers come first
    order = (names.loc[table.index] != own.loc[table.index]).to_numpy().argsort(kind="stable")
    kept = ~table.iloc[order].duplicated(keys)
    # What is measured since the last probed step depends on where that was: it is taken of one run.
    since = table["metric"].astype(str).str.contains("since_last")
    first = names.loc[table.index][since].groupby([table["run"][since].astype(str), table["metric"][since].astype(str)])
    one = first.transform(lambda some: own_or_first(some, one_of))
    kept &= (~since | (names.loc[table.index] == one.reindex(table.index))).loc[kept.index]
    return table.loc[kept.index[kept]].sort_index().reset_index(drop=True)


def own_or_first(names: pd.Series, one_of: Mapping[str, str]) -> str:
    """Of the runs that recorded something, the one that stands for their training, else the first by name."""
    standing = one_of[names.iloc[0]]
    return standing if (names == standing).any() else min(names)


def read_arrays(
    folders: RunFolders,
    members: Mapping[str, Sequence[str]],
    one_of: Mapping[str, str],
    metric: str,
    names: Sequence[str],
    batch: str,
    layers: Sequence[str],
) -> Iterator[Any]:
    """The arrays of a metric under the names of the trainings; those that are damaged are named and left out."""
    try:
        arrays = load_arrays(metric, folders.only([run for name in names for run in members[name]]))
    except WrongInput:  # none of these runs records it
        return
    arrays = arrays.where(batch=batch)
    places = {run.name: run.folder for run in folders}
    for i, entry in enumerate(arrays.entries.to_dict("records") if len(arrays) else ()):
        if entry["layer"] not in layers:
            continue
        try:
            array = arrays[i]
        except DamagedFile as error:
            if folders.damaged is None:
                raise
            folders.damaged[places[entry["run"]]] = f"{error}; figures of it lack this run"
        else:
            if array.size:  # else declared and not there: nothing probed yet, or a folder kept without its arrays
                yield array.assign_attrs(run=one_of[entry["run"]])
