"""Measures that only this paper asks for: how far a step can go, what grows where training diverges, the least rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from analysis import derived
from analysis.across import Across, Over
from analysis.best import FEWEST_VALUES
from analysis.claims import BySeed, NotRun
from analysis.measures import Measure
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs
from analysis.select import words_of

TENFOLD = 10.0
"""The loss over the one before the step, from which on a step has failed (Bjorck et al. 2018, figure 2)."""
FIRST_STEPS = range(FEWEST_STEPS)
"""Those of training, in which a network that is to diverge does so: as few as stand for a part of training."""

_ENDS = ("number", "low", "longest")


def tenfold(unit: Literal["gradients", "distance"]) -> Measure:
    """The shortest step against the gradient after which the data loss is above ten times itself; never: a bound.

    Median over the first eight steps of training. In multiples of the gradient (a learning rate), or as the distance
    eta ||g|| in parameter space. It lies between that step of the grid and the one before.
    """

    def ends(runs: Runs) -> pd.DataFrame:
        """By run: number (inf: on no step of the grid), low, and the grid's end."""
        return runs.once(("tenfold", unit), lambda: _ends(runs, unit))

    def per_run(runs: Runs) -> pd.Series:
        own = ends(runs)
        return own["number"].where(np.isfinite(own["number"]), own["longest"])

    told = {"gradients": "as a multiple of the gradient", "distance": "as a distance"}[unit]
    says = f"shortest step against the gradient, {told}, with a data loss above {TENFOLD:g} times that before it, "
    says += f"median over the first {len(FIRST_STEPS)} steps of training"
    metrics = [("landscape_data_loss", "train"), ("data_loss", "train")]
    metrics += [("gradient_norm", "train")] if unit == "distance" else []
    return Measure(
        f"step to ten times the loss, {told}",
        says,
        tuple(metrics),
        per_run,
        lambda runs: ends(runs).eval("number - low").where(np.isfinite(ends(runs)["number"]), 0.0),
        diverged_count=True,
        never=lambda runs: np.isinf(ends(runs)["number"]),
    )


def _ends(runs: Runs, unit: str) -> pd.DataFrame:
    line = runs.records("landscape_data_loss", "train")
    line = derived.failing_is_infinite(derived.along_line(line[line["step"].isin(FIRST_STEPS)]))
    line = derived.relative(line, runs.records("data_loss", "train"))
    lengths = derived.step_length(runs, line)
    if unit == "distance":
        norm = runs.records("gradient_norm", "train")
        norm = norm[norm["layer"].isna()].assign(run=norm["run"].astype(str)).drop_duplicates(["run", "step"])
        norm = norm.set_index(["run", "step"])["value"]
        lengths = lengths * norm.reindex(pd.MultiIndex.from_arrays([line["run"].astype(str), line["step"]])).to_numpy()
    line = line.assign(run=line["run"].astype(str), length=lengths)
    found: dict[str, dict[str, float]] = {}
    for run, own in line.groupby("run"):
        if own["step"].nunique() == len(FIRST_STEPS):
            steps = [_crossing(one.sort_values("x")) for _, one in own.groupby("step")]
            found[str(run)] = dict(zip(_ENDS, np.median(steps, axis=0), strict=True))
    return pd.DataFrame.from_dict(found, orient="index", columns=list(_ENDS), dtype=float).reindex(runs.each.index)


def _crossing(line: pd.DataFrame) -> tuple[float, float, float]:
    """Of one line: its shortest step with more than ten times the loss, the one before it, and the longest of all."""
    lengths, failed = line["length"].to_numpy(float), line["value"].to_numpy(float) > TENFOLD
    if not failed.any():
        return math.inf, math.inf, float(lengths[-1])
    first = int(failed.argmax())
    return float(lengths[first]), float(lengths[first - 1]) if first else 0.0, float(lengths[-1])


def last_variances(runs: Runs) -> dict[str, np.ndarray]:
    """Run -> variance of what enters each hidden layer's activation, from the input on, where a run diverged.

    At the last probed step at which all of them are finite, averaged over units, on the training batch. The logits are
    left out; so are runs that did not diverge.
    """
    rows = derived.entering_activation(runs, "variance", "train")
    rows = rows.assign(run=rows["run"].astype(str))
    diverged = runs.each.index[runs.each["state"] == "diverged"]
    order = runs.records("variance_before_normalisation", "train")
    found = {}
    for run, own in rows[rows["run"].isin(diverged)].groupby("run"):
        layers = list(dict.fromkeys(order.loc[order["run"].astype(str) == run, "layer"].astype(str)))[:-1]
        table = own.assign(layer=own["layer"].astype(str)).pivot_table(index="step", columns="layer", values="value")
        table = table.reindex(columns=layers).sort_index()
        whole = table[np.isfinite(table).all(axis=1) & (table > 0).all(axis=1)]
        if len(whole):
            found[str(run)] = whole.iloc[-1].to_numpy(dtype=float)
    return found


def growth_at_divergence() -> Measure:
    """Least-squares slope of log variance on the hidden layer's number, where a run diverged, before it did."""

    def per_run(runs: Runs) -> pd.Series:
        found = {
            run: float(np.polyfit(np.arange(len(own)), np.log(own), 1)[0])
            for run, own in last_variances(runs).items()
            if len(own) > 2
        }
        return pd.Series(found, dtype=float)

    says = "least-squares slope over hidden layers of the log variance of what enters their activation, at the last "
    says += "probed step of a run that diverged"
    needed = (("variance_before_normalisation", "train"),)
    return Measure("growth of the variance per layer", says, needed, per_run, diverged_count=True)


def at_least(measure: BySeed, key: str) -> Across:
    """The measure at the least value of the key that was run, the same for all arms; others may be of one arm alone."""

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        if len(table.number.columns) < FEWEST_VALUES:
            raise NotRun(f"the least {words_of(key)} of a range needs {FEWEST_VALUES} values or more")
        least = min(table.number.columns)
        return pd.DataFrame({"number": table.number[least], "low": table.low[least], "high": table.high[least]})

    name = f"{measure.name} at the least {words_of(key)}"
    return Across(key, name, f"{measure.says}, at the least {words_of(key)} that was run", (measure,), reduce, True)
