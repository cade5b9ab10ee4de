"""Measures of residual networks: how the stream grows over blocks, and at how many learning rates a network trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from analysis.across import Across, Over
from analysis.claims import BySeed
from analysis.measures import Measure
from analysis.runs import Runs

STREAM = ("second_moment_stream", "train")
FEWEST_BLOCKS = 10
"""For a growth over blocks."""


def stream(runs: Runs) -> dict[str, np.ndarray]:
    """By run: second moment of what leaves its residual blocks at step 0, from the first on; [blocks]."""
    rows = runs.records(*STREAM)
    rows = rows[rows["step"] == 0]
    return {  # layers are recorded in the order of the network
        str(run): own["value"].to_numpy(dtype=float) for run, own in rows.groupby(rows["run"].astype(str))
    }


def _slope(name: str, says: str, of_block: Callable[[np.ndarray], np.ndarray]) -> Measure:
    def per_run(runs: Runs) -> pd.Series:
        found = {}
        for run, values in stream(runs).items():
            if len(values) >= FEWEST_BLOCKS and np.isfinite(values).all() and (values > 0).all():
                x = of_block(np.arange(1.0, len(values) + 1))
                found[run] = float(np.polyfit(x, np.log(values), 1)[0])
        return pd.Series(found, dtype=float)

    return Measure(
        name, f"least-squares slope of log E[x_l^2] on {says}, over all blocks l at step 0", (STREAM,), per_run
    )


def growth() -> Measure:
    """Of the logarithm of the second moment, per block."""
    return _slope("log growth of the second moment per block", "l", lambda block: block)


def exponent() -> Measure:
    """Of the second moment as a power of depth, the stem counting as one block (De & Smith 2020, section 3)."""
    return _slope("exponent of the second moment over depth", "log(l + 1), the stem being the first", np.log1p)


def starts_finite() -> Measure:
    """1 where loss, stream and the gradient of every layer are numbers at step 0, before any update; else 0."""
    asked = (("data_loss", "train"), STREAM, ("gradient_norm", "train"))

    def per_run(runs: Runs) -> pd.Series:
        found = pd.Series(1.0, runs.each.index)
        for metric, batch in asked:
            rows = runs.records(metric, batch)
            rows = rows[rows["step"] == 0]
            finite = np.isfinite(rows["value"]).groupby(rows["run"].astype(str)).all().reindex(runs.each.index)
            found = found.where(finite.notna()) * finite.astype(float)
        return found

    says = "1 where loss, stream and each layer's gradient are finite numbers at step 0, before any update; else 0"
    return Measure("finite at the start", says, asked, per_run, diverged_count=True)


def at_every(measure: BySeed, key: str) -> Across:
    """The least number at any of the key's values."""

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        return pd.DataFrame({n: one.min(axis=1, skipna=False) for n, one in zip(_ENDS, table[:3], strict=True)})

    return Across(
        key, f"{measure.name} at every rate", f"least over learning rates of: {measure.says}", (measure,), reduce
    )


def rates_that_train(measure: BySeed, key: str, below: float) -> Across:
    """At how many of the key's values the measure lies below a level that was fixed beforehand."""

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        numbers = (table.number < below).sum(axis=1).where(table.number.notna().all(axis=1))
        return pd.DataFrame(dict.fromkeys(_ENDS, numbers.astype(float)))

    says = f"number of learning rates of the grid with {measure.name} below {below:g} ({measure.says})"
    return Across(key, "learning rates that train", says, (measure,), reduce)


_ENDS = ("number", "low", "high")
