"""Records in which a comparison of a claim has a given number, whatever its measures are.

The first metric that a measure reads is changed by one parameter (how great it is, how late, how spread); the parameter
is searched for with the measure itself. The dimensions of a metric are those that a real probe declares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis.claims import Claim, Comparison
from analysis.measures import Levels, Measure
from analysis.runs import Runs
from tests.made_table import BASE, runs_of_table

LENGTH, EVERY, LEARNT_AT = 600, 15, 300
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
SEEDS = 6
TOLERANCE = 4e-3
Declared = Mapping[tuple[str, str], set[tuple[bool, tuple[float, ...]]]]
"""Metric and batch -> whether it has layers, and its step lengths; one entry for each probe that records it."""
Family = Callable[[np.ndarray, float, np.ndarray, np.ndarray], np.ndarray]
"""From the usual values (positive), the parameter, the steps, and places in [0, 1] among the rows."""


def usual(base: np.ndarray, theta: float, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    return base


def great(base: np.ndarray, theta: float, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    return base * theta


def late(base: np.ndarray, theta: float, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    return base * np.where(step > LEARNT_AT, theta, 1.0)


def spread(base: np.ndarray, theta: float, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    return base**theta


def positive(base: np.ndarray, theta: float, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    return place - theta


def risen(base: np.ndarray, theta: float, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.where(step == 0, 0.1, 0.1 + theta)


def reached(base: np.ndarray, theta: float, step: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.where(step < round(theta), 0.1, 1.0)


SIZES = np.concatenate([-np.geomspace(100, 0.01, 4), [0.0], np.geomspace(0.01, 100, 8)])
FAMILIES: dict[Family, np.ndarray] = {
    great: SIZES,
    spread: np.linspace(0, 12, 13),
    positive: np.linspace(0, 1, 11),
}
OF_ACCURACY: dict[Family, np.ndarray] = {risen: np.linspace(0, 0.9, 10), reached: np.arange(20.0, LENGTH, 40)}


@dataclass(frozen=True)
class Plant:
    """How the first metric of a measure is changed."""

    family: Family = usual
    theta: float = 1.0


def records(measure: Measure, plants: Mapping[str, Plant], declared: Declared) -> pd.DataFrame:
    """The rows of runs, by name: all that a measure reads, the first of it planted."""
    usual_rows = _usual(measure, declared)
    own = usual_rows.index == 0
    base, step, place = (usual_rows.loc[own, name].to_numpy(float) for name in ("value", "step", "place"))
    tables = []
    for run, plant in plants.items():
        values = usual_rows["value"].to_numpy().copy()
        values[own] = plant.family(base, plant.theta, step, place)
        tables.append(usual_rows.assign(value=values, run=run))
    return pd.concat(tables, ignore_index=True)


_rows: dict[Measure, pd.DataFrame] = {}


def _usual(measure: Measure, declared: Declared) -> pd.DataFrame:
    """The rows of one run, unplanted, those of the measure's n-th metric with index n."""
    if measure not in _rows:
        tables = []
        for metric, asked in measure.metrics:
            batch = asked or next(b for m, b in declared if m == metric)
            by_step = any("since_last" in name for name, _ in measure.metrics)  # from one step to the next
            every = 1 if (metric, batch) == ("accuracy", "train") or by_step else EVERY
            places = [
                (step, layer, x)
                for step in range(0, LENGTH, every)
                for layered, xs in sorted(declared[metric, batch])
                for layer in (LAYERS if layered else (None,))
                for x in xs or (math.nan,)
            ]
            table = pd.DataFrame(places, columns=["step", "layer", "x"]).assign(metric=metric, batch=batch)
            depth = table["layer"].map({layer: i for i, layer in enumerate(LAYERS)}).fillna(0)
            usual_values = (1 + 0.05 * depth + 0.2 * table["step"] / LENGTH) * (1 + 0.1 * table["x"].abs().fillna(0))
            tables.append(table.assign(value=usual_values, place=np.arange(len(table)) / len(table)))
        if ("accuracy", "train") not in measure.metrics:
            steps = np.arange(0, LENGTH, EVERY)
            own = {"step": steps, "metric": "accuracy", "batch": "train", "value": np.where(steps < LEARNT_AT, 0.1, 1)}
            tables.append(pd.DataFrame(own))
        levels = getattr(measure, "window", None)
        if isinstance(levels, Levels) and ("data_loss", "train") not in measure.metrics:
            steps = np.arange(0, LENGTH, EVERY)
            falling = np.geomspace(1.2 * levels.high, 0.8 * levels.low, len(steps))
            own = {"step": steps, "metric": "data_loss", "batch": "train", "value": falling}
            tables.append(pd.DataFrame(own))
        numbered = [table.set_axis([number] * len(table)) for number, table in enumerate(tables)]
        _rows[measure] = pd.concat(numbered).assign(probe="p", point="before", unit="1")
    return _rows[measure]


def _found(measures: Sequence[Measure], plants: Sequence[Plant], declared: Declared) -> np.ndarray:
    """The first measure (over the second, where there is one) on runs of the first one's records."""
    named = {f"p{i}": plant for i, plant in enumerate(plants)}
    table = records(measures[0], named, declared)
    runs = runs_of_table(table, {name: {**BASE, "steps": LENGTH} for name in named})
    numbers = [measure.of(runs).to_numpy() for measure in measures]
    return numbers[0] if len(numbers) == 1 else numbers[0] / numbers[1]


_solved: dict[Any, Plant | None] = {}
_below: dict[tuple[Measure, Plant], float] = {}


def solve(measures: Sequence[Measure], target: float, declared: Declared) -> Plant | None:
    """The plant with which the first measure (over the second) is the target; None where none of ours does it."""
    key = (tuple(measures), round(target, 9))
    if key not in _solved:
        families = FAMILIES
        if measures[0].metrics[0] == ("accuracy", "train"):
            families = OF_ACCURACY
        if len(measures) == 2:
            families = {late: SIZES[SIZES > 0]}
        tried = (_search(measures, target, declared, family, grid) for family, grid in families.items())
        _solved[key] = next((plant for plant in tried if plant), None)
    return _solved[key]


def _search(
    measures: Sequence[Measure], target: float, declared: Declared, family: Family, grid: np.ndarray
) -> Plant | None:
    for _ in range(3):
        away = _found(measures, [Plant(family, float(theta)) for theta in grid], declared) - target
        good = np.isfinite(away)
        nearest = int(np.argmin(np.where(good, np.abs(away), np.inf)))
        if good[nearest] and abs(away[nearest]) <= TOLERANCE * (abs(target) or 0.1):
            return Plant(family, float(grid[nearest]))
        crossing = [i for i in range(len(grid) - 1) if good[i] and good[i + 1] and away[i] * away[i + 1] < 0]
        if not crossing:
            return None
        i = crossing[0]
        between = grid[i] + away[i] / (away[i] - away[i + 1]) * (grid[i + 1] - grid[i])  # exact on a straight line
        grid = np.unique(np.concatenate([[between], np.linspace(grid[i], grid[i + 1], 8)]))
    return None


def planted(comparison: Comparison, claim: Claim, effect: float, declared: Declared) -> Runs | None:
    """Runs of six seeds in which a comparison has this number; None where no records are found that have it."""
    terms, ratio = comparison.terms, comparison.kind.unit == "ratio"
    if (
        len(terms) > 2
        or comparison.kind.unit == "count"
        or not all(isinstance(term.measure, Measure) for term in terms)
    ):
        return None
    measures: list[Any] = [term.measure for term in terms]
    if len(terms) == 1 or terms[0].arm == terms[1].arm:
        if len(terms) == 2 and (not ratio or measures[0].metrics != measures[1].metrics):
            return None
        plant = solve(measures, effect, declared)
        return plant and _runs(comparison, claim, [plant], declared)
    for below in (Plant(), Plant(reached, 240.0), Plant(risen, 0.3)):
        if (below.family is usual) == (measures[1].metrics[0] == ("accuracy", "train")):
            continue
        if (measures[1], below) not in _below:
            _below[measures[1], below] = float(_found(measures[1:], [below], declared)[0])
        number = _below[measures[1], below]
        plant = solve(measures[:1], number * effect if ratio else number + effect, declared)
        if plant:
            return _runs(comparison, claim, [plant, below], declared)
    return None


def _runs(comparison: Comparison, claim: Claim, plants: Sequence[Plant], declared: Declared) -> Runs:
    trained, facts = configurations(comparison, claim)
    tables = []
    for term, plant in zip(comparison.terms, plants, strict=False):
        named = {}
        for seed in range(SEEDS):
            theta = plant.theta * (1 + 1e-7 * (seed - SEEDS // 2))
            named[f"{term.arm.name}-{seed}"] = Plant(plant.family, theta)
        measure: Any = term.measure
        tables.append(records(measure, named, declared))
    return runs_of_table(pd.concat(tables, ignore_index=True), trained, facts, defaults_of(trained))


def options_of(norm: Any) -> dict[str, Any]:
    """What a normalisation's file says of its options, by key."""
    file = Path(__file__).parent.parent / "conf" / "norm" / f"{norm}.yaml"
    found = yaml.safe_load(file.read_text()) if file.exists() else {}
    return {f"norm.{option}": value for option, value in found.items()}


def defaults_of(trained: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What run folders say of the defaults of their normalisations' options, by run."""
    return {run: options_of(values.get("norm")) for run, values in trained.items()}


def configurations(comparison: Comparison, claim: Claim) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was trained and the facts of six runs for each arm, as the claim and the comparison are about."""
    about = {**claim.about, **comparison.about}
    keys = {key: value for key, value in about.items() if key != "task"}
    named = {key for term in comparison.terms for key, _ in term.arm.where}
    trained, facts = {}, {}
    for term in comparison.terms:
        own = {**keys, **dict(term.arm.where)}
        options = {key: value for key, value in options_of(own.get("norm")).items() if key in {*named, *BASE}}
        for seed in range(SEEDS):
            run = f"{term.arm.name}-{seed}"
            trained[run] = {**BASE, "steps": LENGTH, **options, **own}
            facts[run] = {"seed": seed, "task": about.get("task", "classification")}
    return trained, facts
