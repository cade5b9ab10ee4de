"""One number per run, from its records: the first step with 90 % accuracy, a median over training, ..."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.claims.model import Measure

Along = Literal["max", "range", "last", "first"]
Window = Literal["all", "early", "late", "learning", "learnt"]

LEARNT = 0.9  # of the mini-batch: the accuracy whose first step counts as trained
FEWEST_STEPS, FEWEST_IN_PART = 5, 3  # probed steps, of all training and of a part; fewer do not stand for it
PAPER_GRID = (0.5, 4.0)  # Santurkar et al. 2018, section 3.1, VGG: step lengths in learning rates

_WINDOWS: dict[Window, str] = {
    "all": "median over training",
    "early": "median over the first third of training",
    "late": "median over the last third of training",
    "learning": "median over the steps until the run first has 90 % training accuracy",
    "learnt": "median over the steps after the run first had 90 % training accuracy",
}


class Records:
    """The table of `analysis.load_runs`, asked metric by metric; answers are kept. `runs`: one row per run."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame, self._whole = frame, self
        self._kept: dict[Hashable, Any] = {}
        self.runs = frame.drop_duplicates("run").set_index("run")
        self.runs.index = self.runs.index.astype(str)

    def only(self, runs: pd.Index) -> Records:
        """The same for some of the runs; the table is not copied."""
        part = copy.copy(self)
        part._kept, part.runs = {}, self.runs.loc[runs]
        return part

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """`make()`, the first time."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def rows(self, metric: str, batch: str | None) -> pd.DataFrame:
        """run, step, layer, x, value of one metric."""
        return self.once(("rows", metric, batch), lambda: self._rows(metric, batch))

    def _rows(self, metric: str, batch: str | None) -> pd.DataFrame:
        if self._whole is not self:
            rows = self._whole.rows(metric, batch)
            return rows[rows["run"].isin(self.runs.index)]
        chosen = (self._frame["metric"] == metric).to_numpy()
        if batch is not None:
            chosen = chosen & (self._frame["batch"] == batch).to_numpy()
        part = self._frame.loc[chosen, ["run", "step", "layer", "x", "value"]].reset_index(drop=True)
        return part.assign(run=part["run"].astype(str).astype("category"))

    def kinds(self) -> pd.DataFrame:
        """probe, metric, batch and `along` (whether it has step lengths) of all that is recorded."""
        columns = ["probe", "metric", "batch"]
        kinds = self._frame.assign(along=self._frame["x"].notna()).drop_duplicates([*columns, "along"])
        return kinds[[*columns, "along"]].astype(dict.fromkeys(columns, str))

    def recording(self, metric: str, batch: str | None) -> set[str]:
        """The runs that record a metric."""
        key = ("recording", metric, batch)
        return self.once(key, lambda: set(self.rows(metric, batch)["run"].unique()))

    def learnt_at(self) -> pd.Series:
        """By run: the first step whose mini-batch has 90 % accuracy; NaN: none, or no accuracy."""
        return self.once("learnt_at", self._learnt_at)

    def _learnt_at(self) -> pd.Series:
        rows = self.rows("accuracy", "train")
        steps = rows[rows["value"] >= LEARNT].groupby("run", observed=True)["step"].min()
        return steps.astype(float).reindex(self.runs.index)

    def spacing(self) -> pd.Series:
        """By run: steps between two evaluations; 0: there is one; NaN: there is none."""
        return self.once("spacing", self._spacing)

    def _spacing(self) -> pd.Series:
        steps = self.rows("accuracy", "train").groupby("run", observed=True)["step"]
        gaps = (steps.max() - steps.min()) / (steps.count() - 1).clip(lower=1)
        return gaps.reindex(self.runs.index)


# ---------------------------------------------------------------------------------------------------------- of training


def steps_to_learn() -> Measure:
    """First step with 90 % accuracy of its mini-batch. Never: the length of the run, which it is at least."""

    def per_run(records: Records) -> pd.Series:
        reached = records.learnt_at().fillna(records.runs["steps"].astype(float))
        return np.maximum(reached, records.spacing()).where(records.spacing().notna())

    says = "first step with 90 % accuracy on its mini-batch (never, or diverged: the run's length)"
    needed = (("accuracy", "train"),)
    return Measure(says, needed, per_run, Records.spacing, diverged_count=True)


def final(metric: str, batch: str) -> Measure:
    """Median over the last tenth of the evaluations. A diverged run: its untrained network's accuracy, or inf."""

    def per_run(records: Records) -> pd.Series:
        rows = records.rows(metric, batch)
        if not len(rows):
            return pd.Series(np.nan, records.runs.index)
        last = rows.groupby("run", observed=True)["step"].transform("max")
        values = rows[rows["step"] >= 0.9 * last].groupby("run", observed=True)["value"].median()
        values = values.reindex(records.runs.index)
        diverged = records.runs["state"] == "diverged"
        instead = _first(records, metric, batch) if metric == "accuracy" else np.inf
        return values.where(~diverged, instead)

    said = "that of its untrained network" if metric == "accuracy" else "infinite"
    says = (
        f"final {_batch(batch)} {metric.replace('_', ' ')} (median of the last tenth of evaluations; diverged: {said})"
    )
    return Measure(says, ((metric, batch),), per_run, diverged_count=True)


def learnt_share() -> Measure:
    """(final - first) / (1 - first) of the training accuracy: 0 nothing learnt, 1 everything. Diverged: 0."""
    end = final("accuracy", "train")

    def per_run(records: Records) -> pd.Series:
        first = _first(records, "accuracy", "train")
        return (end.per_run(records) - first) / (1 - first)

    says = "share learnt: (final - first) / (1 - first) of the training accuracy (diverged: 0)"
    return Measure(says, (("accuracy", "train"),), per_run, diverged_count=True)


def _first(records: Records, metric: str, batch: str) -> pd.Series:
    rows = records.rows(metric, batch).sort_values("step", kind="stable")
    return rows.groupby("run", observed=True)["value"].first().reindex(records.runs.index)


def _batch(batch: str | None) -> str:
    return {"train": "training", "test": "test"}.get(batch or "", "")


# -------------------------------------------------------------------------------------------------------- over training


def over_training(
    metric: str,
    *,
    batch: str | None = "train",
    along: Along | None = None,
    grid: tuple[float, float] | None = None,
    over: str | None = None,
    skip_first_layer: bool = False,
    window: Window = "all",
) -> Measure:
    """A probe's metric as one number per run: over step lengths `along` a line, then medians over layers and steps.

    grid: only these step lengths (in learning rates, ends included); over: divided by this metric of the same step
    and layer, for relative forms. A loss or gradient difference that is NaN at a point is infinite there.
    """

    def per_run(records: Records) -> pd.Series:
        key = (metric, batch, along, grid, over, skip_first_layer)
        values = records.once(key, lambda: _by_step(records, metric, batch, along, grid, over, skip_first_layer))
        return _over_steps(records, values, window)

    words = {"max": "greatest along the line", "range": "range along the line", None: ""}
    words |= {"last": "at the longest step", "first": "at the shortest step"}
    parts = [f"{metric.replace('_', ' ')}{f' / {over}' if over else ''}".replace("_", " "), words[along]]
    if grid:
        parts.append(f"{grid[0]:g} to {grid[1]:g} learning rates")
    needed = ((metric, batch), *(((over, batch),) if over else ()))
    return Measure(", ".join([*filter(None, parts), _WINDOWS[window]]), needed, per_run)


def _by_step(
    records: Records,
    metric: str,
    batch: str | None,
    along: Along | None,
    grid: tuple[float, float] | None,
    over: str | None,
    skip_first_layer: bool,
) -> pd.Series:
    """By run and step."""
    rows = records.rows(metric, batch)
    if along:
        low, high = grid or (0.0, np.inf)
        # the ends with room for rounding
        rows = rows[(rows["x"] > 0) & (rows["x"] >= low * (1 - 1e-9)) & (rows["x"] <= high * (1 + 1e-9))]
        rows = rows.sort_values(["run", "step", "x"], kind="stable")
        if metric.startswith(("landscape", "gradient_difference")):
            rows = rows.assign(value=rows["value"].fillna(np.inf))
        groups = rows.groupby(["run", "step"], observed=True)["value"]
        with np.errstate(invalid="ignore"):
            made: pd.Series = groups.max() - groups.min() if along == "range" else groups.agg(along)
        made = made.fillna(np.inf) if along == "range" else made
        if over:
            below = records.rows(over, batch)  # a metric of this name may exist by layer too
            made = made / below[below["layer"].isna()].groupby(["run", "step"], observed=True)["value"].median()
        return made
    if skip_first_layer and len(rows):
        first = rows.groupby("run", observed=True)["layer"].transform("first")
        rows = rows[rows["layer"].astype(str) != first.astype(str)]
    if over:
        below = records.rows(over, batch)
        rows = rows.merge(below, on=["run", "step", "layer"], suffixes=("", "_below"))
        rows = rows.assign(value=rows["value"] / rows["value_below"])
    return rows.groupby(["run", "step"], observed=True)["value"].median()


def _over_steps(records: Records, values: pd.Series, window: Window) -> pd.Series:
    frame = values.rename("value").reset_index()
    if not len(frame):
        return pd.Series(np.nan, records.runs.index)
    run = frame["run"].astype(str)
    steps = frame["step"].to_numpy()
    length = run.map(records.runs["steps"]).to_numpy(dtype=float)
    learnt = run.map(records.learnt_at()).to_numpy(dtype=float)
    inside = {
        "all": np.ones(len(frame), bool),
        "early": steps <= length / 3,
        "late": steps >= length * 2 / 3,
        "learning": ~(steps > learnt),
        "learnt": steps > learnt,
    }[window]
    groups = frame[inside].dropna(subset="value").groupby(run[inside])["value"]
    enough = groups.count() >= (FEWEST_STEPS if window == "all" else FEWEST_IN_PART)
    return groups.median().where(enough).reindex(records.runs.index)


def drift(what: str, *, batch: str, relative: bool = False, window: Window = "all") -> Measure:
    """Drift between probed steps of what enters the non-linearity: after the normalisation, else of the layer.

    what: "mean", "variance" or "wasserstein"; relative: divided by the standard deviation of the layer at that step.
    """
    stem = f"{what}_drift_since_last"

    def values(records: Records, metric: str) -> pd.DataFrame:
        after = records.rows(f"{metric}_after_normalisation", batch)
        before = records.rows(f"{metric}_before_normalisation", batch)
        both = pd.concat([after, before])
        # of a layer that has both, the first: after
        return both.drop_duplicates(["run", "step", "layer"])[["run", "step", "layer", "value"]]

    def per_run(records: Records) -> pd.Series:
        def make() -> pd.Series:
            rows = values(records, stem)
            if relative:
                rows = rows.merge(values(records, "variance"), on=["run", "step", "layer"], suffixes=("", "_of_layer"))
                rows = rows.assign(value=rows["value"] / np.sqrt(rows["value_of_layer"]))
            # at the first probed step there is no earlier one
            rows = rows[rows["step"] > rows.groupby("run", observed=True)["step"].transform("min")]
            return rows.groupby(["run", "step"], observed=True)["value"].median()

        return _over_steps(records, records.once(("drift", stem, batch, relative), make), window)

    names = {"wasserstein": "Wasserstein-1 distance"}
    unit = " in standard deviations of the layer" if relative else ""
    says = f"{names.get(what, what)} between probed steps of what enters the activation, {batch} batch{unit}"
    needed = [(f"{stem}_before_normalisation", batch)]
    needed += [("variance_before_normalisation", batch)] if relative else []
    return Measure(f"{says}, median over layers, {_WINDOWS[window]}", tuple(needed), per_run)
