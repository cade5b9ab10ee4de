"""Measures that only this paper asks for: percentiles over training, what trains at some rate, how a bias grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from analysis.across import Across, Over
from analysis.claims import BySeed
from analysis.drawing.layers import depth_order
from analysis.measures import Measure, each_layer, final, first
from analysis.progress import FEWEST_STEPS, progress, progress_at
from analysis.runs import Runs
from analysis.select import plain, words_of

STARTED = 2.0
"""Data loss in nats, below chance (ln 10): from here on a run has left its plateau."""


def percentiles(runs: Runs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By run: probed steps, and percentiles of what enters the last sigmoid or tanh; [steps, units, levels].

    Levels as probed, ascending, on the batch that stays the same: after the normalisation, else of the layer itself.
    """
    layers = runs.records("saturated", "fixed")
    last: dict[str, list[str]] = {}
    for run, own in layers.groupby(layers["run"].astype(str), observed=True):
        last.setdefault(depth_order(own["layer"].unique())[-1], []).append(str(run))
    found = {}
    for layer, names in last.items():
        arrays = runs.arrays("percentiles_before_normalisation", names, "fixed", [layer])
        arrays |= runs.arrays("percentiles_after_normalisation", names, "fixed", [layer])
        for (run, _), array in arrays.items():
            found[run] = array["step"].to_numpy(), array.to_numpy()
    return found


def _of_percentiles(name: str, says: str, number: Callable[[np.ndarray], float]) -> Measure:
    """`number` of the percentiles [steps, units, levels] from the first probed step on whose loss is below STARTED."""

    def per_run(runs: Runs) -> pd.Series:
        known, found = progress(runs), {}
        for run, (steps, values) in percentiles(runs).items():
            there = progress_at(steps, *known.get(run, (np.array([]), np.array([]))))
            begun = np.flatnonzero(there <= np.log(STARTED))
            if len(begun) and len(steps) - begun[0] >= FEWEST_STEPS:
                found[run] = number(values[begun[0] :])
        return pd.Series(found, dtype=float)

    says = f"{says}, from a data loss of {STARTED:g} on, median over units of the last hidden layer, fixed batch"
    return Measure(name, says, (("saturated", "fixed"), ("data_loss", "train")), per_run)


def median_travel() -> Measure:
    """How far the 50th percentile of a sigmoid's input travels, up and down, in half its 15-85 distance at the end.

    Half of that distance is the deviation of a normal distribution (times 1.04), read off the same percentiles.
    """

    def number(values: np.ndarray) -> float:
        travelled = np.abs(np.diff(values[:, :, values.shape[2] // 2], axis=0)).sum(0)
        with np.errstate(all="ignore"):
            return float(np.median(travelled / ((values[-1, :, -1] - values[-1, :, 0]) / 2)))

    says = "total variation of the 50th percentile over half the 15-85 distance at the end"
    return _of_percentiles("travel of the median", says, number)


def spread_range() -> Measure:
    """log(greatest / least) of the distance between the outer percentiles of a sigmoid's input."""

    def number(values: np.ndarray) -> float:
        spread = values[:, :, -1] - values[:, :, 0]
        with np.errstate(all="ignore"):
            return float(np.median(np.log(spread.max(0) / spread.min(0))))

    says = "log of greatest over least distance from the 15th to the 85th percentile"
    return _of_percentiles("range of the spread", says, number)


def least(measure: BySeed, key: str, values: Sequence[float]) -> Across:
    """The least of the measure at these values of the key, each seed by itself: what is reached at some of them.

    For whether a seed trains at all, with as many tries for every arm; for how well, it would be the maximum per seed.
    """

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        there = [value for value in values if value in table.number]
        numbers = table.number[there].min(axis=1, skipna=False).astype(float)
        numbers = numbers if len(there) == len(values) else pd.Series(np.nan, table.number.index)
        return pd.DataFrame({"number": numbers, "low": numbers, "high": numbers})

    told = ", ".join(map(plain, values))
    name = f"least {measure.name} over {words_of(key)}s {told}"
    says = f"{measure.says}, the least of each seed at the {words_of(key)}s {told}"
    return Across(key, name, says, (measure,), reduce, ragged=True, fixed=tuple(values))


def loss_left() -> Measure:
    """The last recorded training loss over the first."""

    def per_run(runs: Runs) -> pd.Series:
        return _last(runs, "data_loss") / first(runs, "data_loss", "train")

    return Measure("loss left", "last recorded data loss over the first", (("data_loss", "train"),), per_run)


def loss_moved() -> Measure:
    """The greatest |loss - first loss| over the first: 0 where nothing that is trained moves it."""

    def per_run(runs: Runs) -> pd.Series:
        start = first(runs, "data_loss", "train")
        rows = runs.records("data_loss", "train")
        away = (rows["value"] - rows["run"].astype(str).map(start)).abs().groupby(rows["run"].astype(str)).max()
        return away / start

    says = "greatest |data loss - first| over the first"
    return Measure("movement of the loss", says, (("data_loss", "train"),), per_run)


def growth_exponent() -> Measure:
    """Slope of log ||b|| on log step over the probed steps after the first, median over layers: 1 is linear growth."""

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records("bias_norm", "train")
        rows = rows[(rows["step"] > 0) & (rows["value"] > 0)]
        slopes = {
            key: float(np.polyfit(np.log(own["step"]), np.log(own["value"]), 1)[0])
            for key, own in rows.groupby([rows["run"].astype(str), rows["layer"].astype(str)])
            if own["step"].nunique() >= FEWEST_STEPS
        }
        found = pd.Series(slopes, dtype=float)
        return found.groupby(level=0).median() if len(found) else found

    says = "least-squares slope of log ||b|| on log step, median over layers"
    return Measure("growth of the bias over time", says, (("bias_norm", "train"),), per_run)


def _worst(sizes: pd.Series, run: pd.Series, layer: pd.Series) -> pd.Series:
    """By run: the greatest over layers and steps; NaN where a layer has numbers and a NaN among them.

    A layer that has no number at all is one that the metric does not speak of.
    """
    layers = sizes.groupby([run.astype(str), layer.astype(str)])
    known = layers.apply(lambda own: float(own.max(skipna=False)) if own.notna().any() else -np.inf)
    found = known.groupby(level=0).max()  # skips NaN, so those are put back
    found[known.isna().groupby(level=0).any()] = np.nan
    return found.replace(-np.inf, np.nan)


def greatest(metric: str, name: str) -> Measure:
    """The greatest size of a metric over layers and probed steps."""

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records(metric, "train")
        return _worst(rows["value"].abs(), rows["run"], rows["layer"])

    says = f"greatest {metric.replace('_', ' ')} over layers and probed steps"
    return Measure(name, says, ((metric, "train"),), per_run)


def _last(runs: Runs, metric: str, batch: str = "train") -> pd.Series:
    """By run: the last recorded value, though it be NaN."""
    rows = runs.records(metric, batch).sort_values("step", kind="stable")
    rows = rows.assign(run=rows["run"].astype(str)).drop_duplicates("run", keep="last")
    return rows.set_index("run")["value"].reindex(runs.each.index)


def radial_share() -> Measure:
    """The greatest |<W, dL/dW>| / (||W|| ||dL/dW||) over layers and probed steps: 0 where scale does not matter."""

    def per_run(runs: Runs) -> pd.Series:
        rows = each_layer(runs, "weight_gradient_product", "weight_norm", "gradient_norm")
        cosine = rows["weight_gradient_product"].abs() / (rows["weight_norm"] * rows["gradient_norm"])
        hidden = rows["layer"] != "head"
        return _worst(cosine[hidden], rows.loc[hidden, "run"], rows.loc[hidden, "layer"])

    says = "greatest |<W, dL/dW>| / (||W|| ||dL/dW||) over hidden layers and probed steps"
    metrics = (("weight_gradient_product", "train"), ("weight_norm", "train"), ("gradient_norm", "train"))
    return Measure("radial share of the gradient", says, metrics, per_run)


def moved_by(evaluation: str) -> Measure:
    """How far another evaluation moves the last test loss: |loss of it - loss| / loss."""

    def per_run(runs: Runs) -> pd.Series:
        usual, other = (_last(runs, "data_loss", batch) for batch in ("test", f"test, {evaluation}"))
        return (other - usual).abs() / usual

    metrics = (("data_loss", f"test, {evaluation}"), ("data_loss", "test"))
    return Measure(
        f"test loss moved by {evaluation}", "|test loss of it - test loss| / test loss, the last", metrics, per_run
    )


def generalisation_gap() -> Measure:
    """Final training accuracy, of the mini-batches, minus final test accuracy."""
    train, test = (final("accuracy", batch) for batch in ("train", "test"))
    says = f"training minus test accuracy, each the {train.says}"
    return Measure(
        "generalisation gap",
        says,
        (*train.metrics, *test.metrics),
        lambda runs: train.of(runs) - test.of(runs),
        diverged_count=True,
    )
