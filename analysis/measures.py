"""One number per run, from its records: the first step with 90 % accuracy, a median over training, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import derived
from analysis.measure import Measure, refuse_different_evaluations, refuse_two_of_a_seed, shared_levels
from analysis.progress import FEWEST_STEPS, LEARNT, PART, Curve, Levels, Part, Window, curves, learnt_at
from analysis.runs import Runs

__all__ = [
    "Along",
    "Levels",
    "Measure",
    "Window",
    "drift",
    "each_layer",
    "final",
    "first",
    "forms",
    "learnt_at",
    "learnt_share",
    "median_over_layers",
    "over_training",
    "over_window",
    "probed_enough",
    "refuse_two_of_a_seed",
    "shared_levels",
    "spacing",
    "steps_to_learn",
]

Along = Literal["max", "range", "last", "first"]
Since = Literal["update", "start", "step"]

END = 0.1
"""Share of the evaluations that stand for the end of training."""


def _nth(number: int) -> str:
    return {2: "half", 3: "third", 4: "quarter", 10: "tenth"}.get(number, f"{number}th")


_LEARNT = f"{100 * LEARNT:g} %"
_WINDOWS: dict[Part, str] = {
    "all": "median over the steps of training",
    "early": f"median over the steps of the first {_nth(PART)} of training",
    "late": f"median over the steps of the last {_nth(PART)} of training",
    "learning": f"median over the steps until the run first has {_LEARNT} training accuracy",
    "learnt": f"median over the steps after the run first had {_LEARNT} training accuracy",
}
_SHORT: dict[Part, str] = {
    "all": "",
    "early": f" in the first {_nth(PART)}",
    "late": f" in the last {_nth(PART)}",
    "learning": "",
    "learnt": f" after {_LEARNT} accuracy",
}
FORMS: Mapping[str, Window] = {"equal loss": Levels(), "equal step": "all", "own window": "learning"}
"""What can be held against each other: networks at equal data loss, at the same steps, each while it learns."""


def _says(window: Window) -> str:
    if isinstance(window, Levels):
        return f"median over levels of the data loss from {window.high:g} to {window.low:g}"
    return _WINDOWS[window]


def _short(window: Window) -> str:
    return " at equal loss" if isinstance(window, Levels) else _SHORT[window]


def forms(measure: Callable[..., Measure], *given: Any, **options: Any) -> dict[str, Measure]:
    """A measure of what probes measured in each of its defensible forms, the deciding one first.

    ``forms(over_training, "ics_l2")["equal loss"]``; see `FORMS`.
    """
    return {form: measure(*given, window=window, **options) for form, window in FORMS.items()}


# ---------------------------------------------------------------------------------------------------------- of training


def spacing(runs: Runs) -> pd.Series:
    """By run: steps between two evaluations; 0: there is one; NaN: there is none."""

    def make() -> pd.Series:
        steps = runs.records("accuracy", "train").groupby("run", observed=True)["step"]
        gaps = (steps.max() - steps.min()) / (steps.count() - 1).clip(lower=1)
        return gaps.reindex(runs.each.index)

    return runs.once("spacing", make)


def steps_to_learn() -> Measure:
    """First step with 90 % accuracy of its mini-batch. Never: the length of the run, which it is at least."""

    def per_run(runs: Runs) -> pd.Series:
        reached = learnt_at(runs).fillna(runs.steps)
        return np.maximum(reached, spacing(runs)).where(spacing(runs).notna())

    name = f"steps to {_LEARNT} training accuracy"
    says = f"first step with {_LEARNT} accuracy on its mini-batch (never, or diverged: the run's length)"
    metrics = (("accuracy", "train"),)
    return Measure(
        name,
        says,
        metrics,
        per_run,
        lambda runs: (spacing(runs) - 1).clip(lower=0),  # it may have come at any step after the evaluation before
        diverged_count=True,
        never=lambda runs: learnt_at(runs).isna(),
        in_steps=True,
    )


def final(metric: str, batch: str, *, statistics: str = "running") -> Measure:
    """Median over the last tenth of the evaluations. A diverged run: its untrained network's accuracy, or inf.

    Args:
        metric, batch: what is recorded.
        statistics: of the test set, which ones normalisations take: running, as in evaluation mode; population, exact
            over training batches, which are recorded at the end; or those of another of the run's evaluations.
    """
    usual, batch = batch, batch if statistics == "running" else f"{batch}, {statistics}"

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records(metric, batch)
        if not len(rows):
            return pd.Series(np.nan, runs.each.index)
        if statistics != "running":
            refuse_different_evaluations(runs, metric, batch)
        last = rows.groupby("run", observed=True)["step"].transform("max")
        values = rows[rows["step"] >= (1 - END) * last].groupby("run", observed=True)["value"].median()
        values = values.reindex(runs.each.index)
        diverged = runs.each["state"] == "diverged"
        instead = first(runs, metric, usual) if metric == "accuracy" else np.inf
        return values.where(~diverged, instead)

    name = f"final {_BATCHES.get(usual, usual)} {metric.replace('data_loss', 'loss').replace('_', ' ')}"
    said = "that of its untrained network" if metric == "accuracy" else "infinite"
    says = f"median of the last {_nth(round(1 / END))} of evaluations (diverged: {said})"
    if statistics != "running":
        name, says = f"{name} ({statistics} statistics)", f"{says}, by {statistics} statistics"
    return Measure(name, says, ((metric, batch),), per_run, diverged_count=True)


def learnt_share() -> Measure:
    """(final - first) / (1 - first) of the training accuracy: 0 nothing learnt, 1 everything. Diverged: 0."""
    end = final("accuracy", "train")

    def per_run(runs: Runs) -> pd.Series:
        start = first(runs, "accuracy", "train")
        return (end.per_run(runs) - start) / (1 - start)

    says = "(final - first) / (1 - first) of the training accuracy (diverged: 0)"
    return Measure("share learnt", says, (("accuracy", "train"),), per_run, diverged_count=True)


_BATCHES = {"train": "training", "test": "test"}


def first(runs: Runs, metric: str, batch: str) -> pd.Series:
    """By run: the first recorded value."""
    rows = runs.records(metric, batch).sort_values("step", kind="stable")
    return rows.groupby("run", observed=True)["value"].first().reindex(runs.each.index)


# -------------------------------------------------------------------------------------------------------- over training


def over_training(
    metric: str,
    *,
    name: str | None = None,
    batch: str | None = "train",
    along: Along | None = None,
    grid: tuple[float, float] | None = None,
    over: str | None = None,
    skip_first_layer: bool = False,
    window: Window = "all",
) -> Measure:
    """A probe's metric as one number per run: over step lengths `along` a line, then medians over layers and window.

    Args:
        metric, batch: what is recorded.
        name: in a few words; by default the metric's own.
        along: the number of each line of step lengths: greatest, range, at the longest or the shortest step. A loss or
            a change of the gradient that is no number at a point is infinite there.
        grid: only these step lengths (in learning rates, ends included).
        over: divided by this metric of the same step and layer, for relative forms.
        skip_first_layer: without the first layer of each run.
        window: the part of training, or levels of the data loss.
    """

    def per_step(runs: Runs) -> pd.DataFrame:
        rows = runs.records(metric, batch)
        if along:
            rows = derived.along_line(rows, grid)
            if metric.startswith(("landscape", "gradient_difference")):
                rows = derived.failing_is_infinite(rows)
            rows = derived.over_line(rows, along)
            rows = rows.assign(layer=None, value=rows["value"].fillna(np.inf) if along == "range" else rows["value"])
        if skip_first_layer and len(rows):
            start = rows.groupby("run", observed=True)["layer"].transform("first")
            rows = rows[rows["layer"].astype(str) != start.astype(str)]
        return derived.relative(rows, runs.records(over, batch)) if over else rows

    key = ("by step", metric, batch, along, grid, over, skip_first_layer)
    words = {"max": "greatest along the line", "range": "range along the line", None: ""}
    words |= {"last": "at the longest step", "first": "at the shortest step"}
    plain_name = f"{metric.replace('_', ' ')}{f' / {over}' if over else ''}".replace("_", " ")
    parts = ["without the first layer" if skip_first_layer else "", words[along]]
    parts += [f"{grid[0]:g} to {grid[1]:g} learning rates" if grid else ""]
    needed = ((metric, batch), *(((over, batch),) if over else ()))
    says = ", ".join([plain_name, *filter(None, parts)])
    return over_window(name or plain_name, says, needed, per_step, window, key)


def drift(
    what: str,
    *,
    batch: str,
    since: Since = "update",
    relative: bool = False,
    window: Window = "all",
    name: str = "",
) -> Measure:
    """Drift of what enters the non-linearity: after the normalisation, else of the layer. Never per gap between probes.

    Args:
        what: "mean", "variance" or "wasserstein".
        batch: on which batch.
        since: "update": by one update, on one batch with one draw of noise; "start": since the first probed step;
            "step": from one step to the next, each with its own batch and noise, where two in a row were probed.
        relative: divided by the standard deviation of the layer at that step, a variance by the variance.
        window: the part of training, or levels of the data loss.
        name: in a few words.
    """
    stem = f"{what}_drift_{_SINCE[since][0]}"

    def per_step(runs: Runs) -> pd.DataFrame:
        rows = derived.entering_activation(runs, stem, batch)
        if relative and what == "variance":  # of a variance the unit is the variance
            rows = derived.relative(rows, derived.entering_activation(runs, "variance", batch))
        elif relative:
            rows = derived.in_deviations(runs, rows, batch)
        if since == "step":
            return derived.in_a_row(rows)
        start = rows.groupby("run", observed=True)["step"].transform("min")
        return rows[rows["step"] > start] if since == "start" else rows

    told = {"wasserstein": "Wasserstein-1 distance"}.get(what, f"change of the {what}")
    unit = " in standard deviations of the layer" if relative else ""
    says = f"{told} {_SINCE[since][1]} of what enters the activation, {batch} batch{unit}, median over layers"
    needed = [(f"{stem}_before_normalisation", batch)]
    needed += [("variance_before_normalisation", batch)] if relative else []
    name = name or f"drift {_SINCE[since][1]}"
    return over_window(name, says, tuple(needed), per_step, window, ("drift", stem, batch, relative, since))


_SINCE: dict[Since, tuple[str, str]] = {
    "update": ("by_update", "by one update"),
    "start": ("since_start", "since the start"),
    "step": ("since_last", "from one step to the next"),
}


def over_window(
    name: str,
    says: str,
    metrics: tuple[tuple[str, str | None], ...],
    rows: Callable[[Runs], pd.DataFrame],
    window: Window,
    key: Any,
) -> Measure:
    """The measure that takes the median over layers, then over a part of training, or over levels of the data loss.

    Args:
        name, says: without the window.
        metrics: what must be recorded.
        rows: run, step, value, and what else.
        window: the part of training, or levels of the data loss.
        key: names the rows, which are worked out once.
    """

    def own(runs: Runs) -> Mapping[str, Curve]:
        whole = runs.whole
        every = whole.once(("curves", key), lambda: curves(whole, median_over_layers(rows(whole))))
        return {run: every[run] for run in runs.each.index if run in every}

    def per_run(runs: Runs) -> pd.Series:
        return pd.Series({run: curve.over(window) for run, curve in own(runs).items()}, dtype=float)

    return Measure(f"{name}{_short(window)}", f"{says}, {_says(window)}", metrics, per_run, curves=own, window=window)


def trend(measure: Callable[..., Measure], *given: Any, **options: Any) -> Measure:
    """How what probes measured moves within a run: its last third minus its first; no rank correlation with the step.

    A random walk correlates with the step by more than 0.8 in a quarter of the runs, so each run gives one number, and
    the seeds say whether it is the typical one.

    Args:
        measure: `over_training` or `drift`.
        given, options: its own, without a window.
    """
    early, late = (measure(*given, window=window, **options) for window in ("early", "late"))

    def per_run(runs: Runs) -> pd.Series:
        return late.of(runs) - early.of(runs)

    name, says = early.name.removesuffix(_short("early")), early.says.removesuffix(f", {_says('early')}")
    says = f"{says}, {_says('late')} minus {_says('early')}"
    return Measure(
        f"trend of {name}", says, early.metrics, per_run, curves=early.curves, window="early", and_window="late"
    )


def median_over_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """run, step, value: the median over the layers (and all else) of each run and step."""
    return rows.groupby(["run", "step"], observed=True)["value"].median().reset_index()


def probed_enough(rows: pd.DataFrame) -> pd.Series:
    """By run: whether rows come from enough probed steps to stand for training."""
    return rows.groupby("run", observed=True)["step"].nunique() >= FEWEST_STEPS


def each_layer(runs: Runs, *metrics: str, batch: str = "train") -> pd.DataFrame:
    """run, step, layer and one column per metric, where all are recorded."""
    frames: list[Any] = []
    for metric in metrics:
        rows = runs.records(metric, batch)
        keys = [rows["run"].astype(str), rows["step"], rows["layer"].astype(str)]
        frames.append(
            pd.Series(rows["value"].to_numpy(), pd.MultiIndex.from_arrays(keys, names=["run", "step", "layer"]))
        )
    return pd.concat(frames, axis=1, keys=metrics, join="inner").reset_index()
