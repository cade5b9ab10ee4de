"""Each study by its own runs, where many studies were run into one folder."""

from __future__ import annotations

from collections.abc import Iterable

from analysis import select
from analysis.runs import Runs
from analysis.studies import Study


def own_runs(runs: Runs, study: Study) -> Runs:
    """The runs of a study's experiments, with those of other experiments that stand in a setting of its claims beside
    them, as where two experiments share some runs; all, where none is of its experiments.

    They know nothing of the others: settings are told apart among these alone.
    """
    experiments = runs.each["experiment"]
    own = set(experiments.index[experiments.isin(study.experiments)])
    if not own:
        return runs
    beside: set[str] = set()
    for claim in study.claims:
        if claim.untestable:
            continue
        for setting in select.settings(runs, claim.arms, free=claim.free, about=claim.about):
            here = set(setting.runs.each.index)
            beside |= here if here & own else set()
    return alone(runs, own | beside)


def alone(runs: Runs, names: Iterable[str]) -> Runs:
    """Some runs as if only these had been loaded."""
    names = set(names)
    part = Runs(
        runs.table[runs.table["run"].isin(names)],
        runs.each[runs.each.index.isin(names)],
        runs._trained,  # with those of the others: what an older run had by default a newer one tells
        runs._read,
        runs._defaults,
    )
    part.training = {folder: run for folder, run in runs.training.items() if run in names}
    part.folders = None if runs.folders is None else runs.folders.only(list(part.training))
    return part
