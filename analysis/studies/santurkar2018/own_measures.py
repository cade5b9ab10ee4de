"""Measures that only this paper asks for: from the recorded lines, gradients and terms of its theorems."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis import derived
from analysis.measures import Levels, Measure, Window, each_layer, over_window, probed_enough
from analysis.runs import Runs
from analysis.standard import RANGE
from analysis.studies.santurkar2018.grids import DEPTH, FOLLOWED

LINEAR_LEVELS = Levels(8e4, 1e4)
"""Of the deep linear network's summed loss, which starts near 1e5 and stops near 1e4 without batch normalisation."""
RANDOM = 8
"""Random directions along which a landscape is looked at."""
COSINE = 0.5
"""A gradient that has turned by 60 degrees is no longer predicted."""


def first_rise(window: Window = "all") -> Measure:
    """The shortest step, in learning rates, at which the data loss exceeds its start; infinite: none of the grid's."""

    def rows(runs: Runs) -> pd.DataFrame:
        line = derived.along_line(runs.records("landscape_data_loss", "train"), RANGE)
        rising = derived.relative(derived.failing_is_infinite(line), runs.records("data_loss", "train"))
        return _extreme(rising.assign(good=rising["value"] > 1.0), "min")

    says = f"shortest step of {RANGE[0]:g} to {RANGE[1]:g} learning rates whose data loss exceeds its start"
    metrics = (("landscape_data_loss", "train"), ("data_loss", "train"))
    return over_window("first step length that raises the loss", says, metrics, rows, window, "first rise")


def last_predicted(window: Window = "all") -> Measure:
    """The longest step, in learning rates, up to which the gradient's cosine stays above a half; 0: none."""

    def rows(runs: Runs) -> pd.DataFrame:
        line = derived.along_line(runs.records("gradient_cosine", "train"), RANGE)
        turned = _extreme(line.assign(good=~(line["value"] > COSINE)), "min").rename(columns={"value": "turned"})
        before = line.merge(turned[["run", "step", "turned"]], on=["run", "step"])
        kept = _extreme(before.assign(good=before["x"] < before["turned"]), "max")
        return kept.assign(value=kept["value"].where(np.isfinite(kept["value"]), 0.0))

    says = f"longest step of {RANGE[0]:g} to {RANGE[1]:g} learning rates up to which cos(g', g) stays above {COSINE:g}"
    return over_window("longest predicted step", says, (("gradient_cosine", "train"),), rows, window, "last predicted")


def _extreme(rows: pd.DataFrame, how: str) -> pd.DataFrame:
    """run, step, value: the least or greatest x of the rows that are good; infinite where none is."""
    where = np.inf if how == "min" else -np.inf
    places = rows.assign(value=rows["x"].where(rows["good"], where))
    return places.groupby(["run", "step"], observed=True)["value"].agg(how).reset_index()


def sharpness_in_rates(window: Window = "all") -> Measure:
    """lr_t times effective beta, which is 2 at the edge of stability."""

    def rows(runs: Runs) -> pd.DataFrame:
        line = derived.along_line(runs.records("effective_beta", "train"), RANGE)
        return derived.in_rates(runs, derived.over_line(line, "max"))

    says = "learning rate times the greatest effective beta along the line"
    return over_window("lr x beta", says, (("effective_beta", "train"),), rows, window, "lr beta")


def ics_exponent() -> Measure:
    """Slope of log ||G - G'|| on log ||G|| over a run's probed steps, median over its layers."""

    def per_run(runs: Runs) -> pd.Series:
        frame = each_layer(runs, "ics_l2", "ics_relative")
        with np.errstate(all="ignore"):
            frame = frame.assign(y=np.log(frame["ics_l2"]), x=np.log(frame["ics_l2"] / frame["ics_relative"]))
        frame = frame[np.isfinite(frame["x"]) & np.isfinite(frame["y"])]
        enough = probed_enough(frame)
        slopes = {
            key: float(own["x"].cov(own["y"]) / own["x"].var())
            for key, own in frame.groupby(["run", "layer"], observed=True)
            if np.ptp(own["x"]) > 1e-9
        }
        found = pd.Series(slopes, dtype=float)
        return found.groupby(level=0).median().where(enough) if len(found) else found

    says = "least-squares slope of log ||G - G'|| on log ||G|| over probed steps, median over layers but the first"
    return Measure("exponent of the shift on ||G||", says, (("ics_l2", "train"), ("ics_relative", "train")), per_run)


def followed_cosine(number: int) -> Measure:
    """artanh cos(G, G') of one of the layers of figure 3 (b), while the deep linear network has not converged."""
    total = DEPTH["regression"]
    assert number in FOLLOWED["regression"]

    def rows(runs: Runs) -> pd.DataFrame:
        found = runs.records("ics_cosine", "train")
        places = {layer: place for place, layer in enumerate(dict.fromkeys(found["layer"].astype(str)))}
        wanted = math.ceil(number * len(places) / total) - 1
        own = found[found["layer"].astype(str).map(places) == wanted]
        with np.errstate(divide="ignore"):
            return own.assign(value=np.arctanh(own["value"].clip(-1.0, 1.0)))

    name, says = f"artanh cos(G, G') of layer {number}", f"artanh of the cosine, layer {number} of {total}"
    return over_window(name, says, (("ics_cosine", "train"),), rows, LINEAR_LEVELS, ("followed", number))


def random_directions(metric: str, name: str, along: str, window: Window = "all") -> Measure:
    """A landscape's number along eight random directions of the gradient's length: of each line, then their median."""
    metrics = [f"{metric}_along_random_{index}" for index in range(RANDOM)]

    def rows(runs: Runs) -> pd.DataFrame:
        lines = (derived.along_line(runs.records(one, "train"), RANGE) for one in metrics)
        return pd.concat([derived.over_line(derived.failing_is_infinite(line), along) for line in lines])

    says = f"{metric.replace('_', ' ')} along {RANDOM} random directions, {along} of each line, median"
    needed = tuple((one, "train") for one in metrics)
    return over_window(f"{name}, random directions", says, needed, rows, window, ("random", metric, along))


def median_over_layers_of(name: str, metrics: Sequence[str], how: str, *, window: Window = "all") -> Measure:
    """Over a window, of a quantity that is worked out from several metrics of each layer, by name of a column."""

    def rows(runs: Runs) -> pd.DataFrame:
        frame = each_layer(runs, *metrics)
        return frame.assign(value=frame.eval(how))

    says = f"{how.replace('_', ' ')}, median over layers"
    return over_window(name, says, tuple((metric, "train") for metric in metrics), rows, window, (how, *metrics))


def bend_share() -> Measure:
    """Sum of Theorem 4.2's terms with <g, yhat> over the sum of its curvature terms' sizes, over layers and steps."""
    names = ("theorem_4_2_bend_term", "theorem_4_2_curvature_term")

    def per_run(runs: Runs) -> pd.Series:
        frame = each_layer(runs, *names).dropna()
        sums = frame.assign(size=frame[names[1]].abs()).groupby("run", observed=True)[[names[0], "size"]].sum()
        return (sums[names[0]] / sums["size"]).where(probed_enough(frame))

    says = "sum over layers and probed steps of the terms with <g, yhat>, over that of |curvature terms|"
    return Measure("fall of the second-order term", says, tuple((name, "train") for name in names), per_run)


def swing() -> Measure:
    """Greatest over least sigma of a layer during training."""

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records("sigma_median", "train")
        layers = rows.groupby(["run", "layer"], observed=True)["value"]
        return (layers.max() / layers.min()).groupby("run", observed=True).median().where(probed_enough(rows))

    says = "of a layer's median unit, median over layers"
    return Measure("greatest / least sigma during training", says, (("sigma_median", "train"),), per_run)


def identity_error(metric: str) -> Measure:
    """The greatest relative error of an equation over layers and probed steps."""

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records(metric, "train")
        return rows.groupby(rows["run"].astype(str))["value"].max()

    told = metric.replace("_", " ")
    return Measure(told, f"greatest {told} over layers and probed steps", ((metric, "train"),), per_run)
