"""Accuracy on changed inputs, at the end of training and where the accuracy on clean inputs comes to a level."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.measures import Measure, final
from analysis.measures import refuse_different_evaluations as refuse_different
from analysis.runs import Runs
from analysis.select import plain

LEVELS = (0.95, 0.96, 0.97)
OF_DATA: Mapping[str, tuple[float, ...]] = {"cifar10": (0.65, 0.7, 0.75)}
"""Clean test accuracies at which arms are compared, and those of data on which a plain network does not come so far."""


def against_clean(runs: Runs, evaluation: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By run: accuracy on clean inputs, and by another evaluation, at the steps that have both, in their order.

    Raises:
        Ambiguous: the evaluation is not the same in all runs, as by the radius of an attack.
    """
    changed = f"test, {evaluation}"
    rows = runs.records("accuracy", changed)
    if len(rows):
        refuse_different(runs, "accuracy", changed)
    clean = runs.records("accuracy", "test")
    both = clean[["run", "step", "value"]].merge(rows[["run", "step", "value"]], on=["run", "step"])
    both = both.sort_values("step", kind="stable")
    return {
        str(run): (own["value_x"].to_numpy(float), own["value_y"].to_numpy(float))
        for run, own in both.groupby(both["run"].astype(str))
    }


def where_first(clean: np.ndarray, other: np.ndarray, level: float) -> float:
    """The other value where the clean one first comes to a level, on a line from the evaluation before.

    NaN: it does not come there, or is there at once.
    """
    there = np.flatnonzero(clean >= level)
    if not len(there) or there[0] == 0:
        return math.nan
    after = there[0]
    share = (level - clean[after - 1]) / (clean[after] - clean[after - 1])
    return float(other[after - 1] + share * (other[after] - other[after - 1]))


def matched(evaluation: str, what: str) -> Measure:
    """Accuracy by another evaluation where training was when the clean test accuracy first came to given levels.

    Args:
        evaluation: its label.
        what: it, in a few words.
    """

    def per_run(runs: Runs) -> pd.Series:
        found = {}
        for run, (clean, other) in against_clean(runs, evaluation).items():
            levels = OF_DATA.get(plain(runs.value(run, "data")), LEVELS)
            found[run] = np.median([where_first(clean, other, level) for level in levels])  # of NaN it is NaN
        return pd.Series(found, dtype=float)

    others = "".join(f"; of {data} {_told(levels)}" for data, levels in OF_DATA.items())
    says = (
        f"accuracy on {what} where the accuracy on clean inputs first comes to {_told(LEVELS)}{others}, interpolated "
        "between evaluations, median over these levels; a run that does not come there has none"
    )
    metrics = (("accuracy", f"test, {evaluation}"), ("accuracy", "test"))
    # a run that diverges later has been where it was
    return Measure(f"accuracy on {what} at equal clean accuracy", says, metrics, per_run, diverged_count=True)


def at_the_end(evaluation: str, what: str) -> Measure:
    """Accuracy by another evaluation at the end of training, however high the clean one is."""
    usual = final("accuracy", "test", statistics=evaluation)
    says = usual.says.partition(", by ")[0]
    return replace(usual, name=f"final accuracy on {what}", says=f"accuracy on {what}, {says}")


def _told(levels: tuple[float, ...]) -> str:
    return ", ".join(f"{level:g}" for level in levels)
