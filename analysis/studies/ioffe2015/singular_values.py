"""Singular values of the maps between what enters consecutive activation functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.drawing.layers import depth_order
from analysis.measures import Measure
from analysis.runs import Runs

START, END = "at initialisation", "at the end"
METRIC = ("singular_value_largest", "train")
"""Recorded wherever all of them are."""


def singular_values(runs: Runs) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """By run and layer at which a map ends: probed steps, and singular values [steps, samples, places], descending."""
    rows = runs.records(*METRIC)
    found = {}
    for layer in depth_order(rows["layer"].dropna().unique()):
        names = list(rows.loc[rows["layer"] == layer, "run"].astype(str).unique())
        for key, array in runs.arrays("singular_values", names, METRIC[1], [layer]).items():
            found[key] = array["step"].to_numpy(), array.to_numpy()
    return found


def _of_values(name: str, says: str, when: str, number: Callable[[np.ndarray], float]) -> Measure:
    """Median over a run's layers and samples of a number of the logarithms of one map's positive singular values."""

    def per_run(runs: Runs) -> pd.Series:
        numbers: dict[str, list[float]] = {}
        for (run, _), (_, values) in singular_values(runs).items():
            for one in values[0 if when == START else -1]:
                if (one > 0).any():
                    numbers.setdefault(run, []).append(number(np.log(one[one > 0])))
        return pd.Series({run: float(np.median(own)) for run, own in numbers.items()}, dtype=float)

    says = f"{says}, {when}, median over layers and samples; only those above 0"
    return Measure(f"{name} {when}", says, (METRIC,), per_run)


def spread(when: str) -> Measure:
    """Standard deviation of the logarithms of a map's singular values: 0 where it stretches all directions alike."""
    return _of_values("spread of singular values", "deviation of the log of a map's singular values", when, np.std)


def scale(when: str) -> Measure:
    """|log10 of the root mean square| of a map's singular values: 0 where it keeps lengths."""

    def number(logs: np.ndarray) -> float:
        return abs(float(np.log10(np.mean(np.exp(2 * logs))))) / 2

    return _of_values(
        "scale of singular values", "|log10 of the root mean square of a map's singular values|", when, number
    )
