"""Quantities worked out of what is recorded, each defined once, for claims and figures.

Tables hold one row per number: run, step, batch, layer, x, value, unit, as `Runs.records` gives them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.runs import Runs


def entering_activation(runs: Runs, metric: str, batch: str = "train") -> pd.DataFrame:
    """Rows of a metric of what enters the activation function: the normalisation's output, else the layer's own."""
    after = runs.records(f"{metric}_after_normalisation", batch)
    before = runs.records(f"{metric}_before_normalisation", batch)
    if not len(after):
        return before
    normalised = pd.MultiIndex.from_frame(after[["run", "layer"]].astype(str).drop_duplicates())
    alone = ~pd.MultiIndex.from_frame(before[["run", "layer"]].astype(str)).isin(normalised)
    return pd.concat([after, before[alone]])


def relative(rows: pd.DataFrame, to: pd.DataFrame) -> pd.DataFrame:
    """The values of `rows` divided by those of `to` at the same run and step, and layer where `rows` have layers.

    Rows without a counterpart are left out. Where `rows` have no layers, the rows of `to` that are of the whole network
    count, not those of its layers.
    """
    keys = ["run", "step"]
    if rows["layer"].notna().any():
        keys.append("layer")
    else:
        to = to[to["layer"].isna()]
    below = to[[*keys, "value"]].drop_duplicates(keys).rename(columns={"value": "below"})
    both = rows.assign(**_texts(rows, keys)).merge(below.assign(**_texts(below, keys)), on=keys)
    with np.errstate(all="ignore"):
        return both.assign(value=both["value"] / both["below"]).drop(columns="below")


def in_deviations(runs: Runs, rows: pd.DataFrame, batch: str) -> pd.DataFrame:
    """Rows of what enters the activation function in standard deviations of the layer at that step."""
    variance = entering_activation(runs, "variance", batch)
    return relative(rows, variance.assign(value=np.sqrt(variance["value"])))


def along_line(rows: pd.DataFrame, grid: tuple[float, float] | None = None) -> pd.DataFrame:
    """The rows at step lengths above 0, in learning rates; `grid`: from the one to the other, ends included."""
    low, high = grid or (0.0, np.inf)
    x = rows["x"]  # the ends with room for rounding
    return rows[(x > 0) & (x >= low * (1 - 1e-9)) & (x <= high * (1 + 1e-9))]


def over_line(rows: pd.DataFrame, how: str) -> pd.DataFrame:
    """run, step, value: one number for each line of step lengths: max, min, range, first (shortest), last (longest).

    NaN is no number and is left out, except where all of a line is NaN.
    """
    if not len(rows):
        return pd.DataFrame({"run": [], "step": [], "value": []})
    groups = rows.sort_values(["run", "step", "x"], kind="stable").groupby(["run", "step"], observed=True)["value"]
    with np.errstate(invalid="ignore"):
        made = groups.max() - groups.min() if how == "range" else groups.agg(how)
    return made.rename("value").reset_index()


def failing_is_infinite(rows: pd.DataFrame) -> pd.DataFrame:
    """A loss or a change of the gradient that is no number at a point counts as infinite there."""
    return rows.assign(value=rows["value"].fillna(np.inf))


def in_a_row(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of probed steps whose predecessor was probed too: "since the last" is there from step to step."""
    runs = rows["run"].astype(str)
    probed = set(zip(runs, rows["step"], strict=True))
    return rows[[(run, step - 1) in probed for run, step in zip(runs, rows["step"], strict=True)]]


def learning_rate(runs: Runs, rows: pd.DataFrame) -> np.ndarray:
    """lr_t of each row's run and step: as recorded at that step, else, where the rate is constant, the run's own.

    NaN where a rate that follows a schedule was not recorded at the step.
    """
    recorded = runs.records("learning_rate")[["run", "step", "value"]].drop_duplicates(["run", "step"])
    keys = ["run", "step"]
    found = (
        rows[keys]
        .assign(**_texts(rows, keys))
        .merge(recorded.assign(**_texts(recorded, keys)), on=keys, how="left")["value"]
        .to_numpy(dtype=float)
    )
    constant = {run: _constant_rate(runs, run) for run in runs.each.index}
    return np.where(np.isnan(found), rows["run"].astype(str).map(constant).to_numpy(dtype=float), found)


def step_length(runs: Runs, rows: pd.DataFrame) -> np.ndarray:
    """eta_t = c lr_t of each row, with c the multiple x that the step was walked with."""
    return rows["x"].to_numpy(dtype=float) * learning_rate(runs, rows)


def effective_rate(runs: Runs) -> pd.DataFrame:
    """lr_t / ||W||^2 of each layer's weights: the rate at which a scale-invariant weight turns, in 1/parameter^2.

    (van Laarhoven 2017, arXiv:1706.05350, section 3.) From the metric weight_norm of each layer. NaN for runs whose
    groups of parameters have rates of their own, of which lr_t is not every layer's.
    """
    rows = runs.records("weight_norm", "train")
    one = {run: not any("lr" in group for group in runs.value(run, "optim.groups") or ()) for run in runs.each.index}
    rates = np.where(rows["run"].astype(str).map(one).to_numpy(dtype=bool), learning_rate(runs, rows), np.nan)
    return rows.assign(value=rates / np.square(rows["value"].to_numpy(dtype=float)), unit="1")


def in_rates(runs: Runs, rows: pd.DataFrame) -> pd.DataFrame:
    """Values times lr_t: a curvature as the share of the learning rate at which 2 is the edge of stability."""
    return rows.assign(value=rows["value"].to_numpy(dtype=float) * learning_rate(runs, rows))


def _constant_rate(runs: Runs, run: str) -> float:
    schedule = runs.value(run, "optim.schedule")
    rate = runs.value(run, "optim.lr")
    return float(rate) if rate is not None and schedule in (None, "constant") else float("nan")


def _texts(rows: pd.DataFrame, keys: list[str]) -> dict[str, pd.Series]:
    """Key columns that merge whatever their categories."""
    return {key: rows[key].astype(object) for key in keys if key != "step"}
