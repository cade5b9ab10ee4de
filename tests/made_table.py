"""Runs made up in memory: rows of records as plain dictionaries, and what was trained by key."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.runs import Runs

BASE: dict[str, Any] = {
    "data": "digits",
    "data.subset": None,
    "model": "vgg_small",
    "model.width": 1.0,
    "model.activation": "relu",
    "norm": "batch",
    "norm.eps": 1e-5,
    "norm.momentum": 0.1,
    "optim": "sgd",
    "optim.lr": 0.1,
    "optim.batch_size": 64,
    "optim.momentum": 0.0,
    "optim.schedule": "constant",
    "steps": 120,
    "numerics": "exact",
}
COLUMNS = ["run", "step", "probe", "metric", "batch", "point", "layer", "x", "value", "unit"]


def made(
    rows: Iterable[Mapping[str, Any]],
    trained: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Runs:
    """Runs of these rows. `trained`: by run; `facts` (seed, state, diverged_at, task): by run, over what is usual."""
    table = pd.DataFrame([{"probe": "p", "batch": "train", "point": "before", "unit": "1", **row} for row in rows])
    return runs_of_table(table, trained, facts, defaults)


def runs_of_table(
    table: pd.DataFrame,
    trained: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Runs:
    """The same, of rows in a table."""
    start = {"state": "finished", "diverged_at": math.nan, "experiment": None, "task": "classification", "seed": 0}
    facts = facts or {}
    each = pd.DataFrame([{**start, **facts.get(run, {})} for run in trained], index=pd.Index(trained, name="run"))
    table = table.reindex(columns=COLUMNS).astype({"x": float, "value": float})
    for name in ("run", "probe", "metric", "batch", "point", "layer", "unit"):
        table[name] = table[name].astype("category")
    return Runs(table, each, {run: dict(values) for run, values in trained.items()}, None, defaults)


def row(run: str, step: int, metric: str, value: float, **more: Any) -> dict[str, Any]:
    """One row of the records."""
    return {"run": run, "step": step, "metric": metric, "value": value, "layer": None, "x": math.nan, **more}


LAYERS = ("conv1", "conv2", "fc", "head")
X = (-1.0, 0.0, 0.25, 0.5, 1.0, 4.0, 8.0)


def awkward(
    seed: int,
    metrics: Sequence[str],
    *,
    by_layer: bool = False,
    by_x: bool = False,
    whole_too: bool = False,
    batches: Sequence[str] = ("train",),
    positive: bool = False,
) -> list[dict[str, Any]]:
    """Random rows of four runs r0 ... r3, the kind that real records are: NaN, infinities, steps and layers that are
    missing, steps in no even distances, a number that two probes record, a run with few steps.

    whole_too: besides the layers, the same metric of the whole network.
    """
    draw, probed = random.Random(seed), random.Random(0)
    rows = []
    for run in range(4):
        steps = sorted(probed.sample(range(120), 4 if run == 3 else 60))
        for metric in metrics:
            own = [step for step in steps if draw.random() > 0.1]
            for step in own:
                for batch in batches:
                    layers: list[str | None] = list(LAYERS) if by_layer else [None]
                    layers += [None] if whole_too and by_layer else []
                    for layer in layers:
                        for x in X if by_x else (math.nan,):
                            kind = draw.random()
                            value = math.exp(draw.gauss(0, 1)) if positive else draw.gauss(0.5, 1)
                            value = math.nan if kind < 0.05 else math.inf if kind < 0.07 and not positive else value
                            if kind > 0.94:
                                continue
                            rows.append(row(f"r{run}", step, metric, value, batch=batch, layer=layer, x=x))
                            if kind > 0.8:
                                rows.append({**rows[-1], "probe": "q"})
    return rows


def accuracies(seed: int, *, batches: Sequence[str] = ("train", "test")) -> list[dict[str, Any]]:
    """Accuracies of r0 ... r3 on the grid of evaluations, some reaching 90 % and falling again; r2 never learns."""
    draw = random.Random(seed)
    rows = []
    for run in range(4):
        every = draw.choice((1, 3, 5))
        for batch in batches:
            falls = draw.uniform(30, 40)
            for step in range(0, 120, every):
                share = 0.1 if run == 2 else 0.1 + 0.9 * (1 - math.exp(-step / draw.uniform(15, 40)))
                rows.append(row(f"r{run}", step, "accuracy", share, batch=batch, probe="training"))
                # now and then it falls by more than one level
                loss = 2.5 * math.exp(-step / falls) * draw.uniform(0.8, 1.2)
                rows.append(row(f"r{run}", step, "data_loss", loss, batch=batch, probe="training"))
    draw.shuffle(rows)  # an order of the log that is no order of steps
    return rows


def four(rows: Iterable[Mapping[str, Any]], *, diverged: Sequence[str] = (), **more: Any) -> Runs:
    """The runs r0 ... r3, seeds 3 to 0, of these rows."""
    names = [f"r{i}" for i in range(4)]
    facts = {
        name: {"seed": 3 - i, "state": "diverged" if name in diverged else "finished", "diverged_at": 60.0}
        for i, name in enumerate(names)
    }
    return made(rows, {name: {**BASE, "steps": 120 + 30 * i} for i, name in enumerate(names)}, facts, **more)
