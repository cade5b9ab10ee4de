"""How a positive quantity moves over a stretch of training, in the logarithm."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures import Measure
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs


def log_trend(metric: str, name: str, start: int) -> Measure:
    """Median of the logarithm over the last third of the steps from `start` on, less that over their first third.

    Over every step, between probed ones by a straight line in the logarithm. NaN where fewer than eight steps of either
    third were probed.
    """

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records(metric, "train").dropna(subset="value").sort_values("step", kind="stable")
        rows = rows[rows["value"] > 0]
        found = {}
        for run, own in rows.groupby(rows["run"].astype(str), observed=True):
            steps, logs = own["step"].to_numpy(float), np.log(own["value"].to_numpy(float))
            third = (runs.steps[str(run)] - start) / 3
            every = np.arange(max(start, np.ceil(steps[0])), steps[-1] + 1)
            parts = [(start, start + third), (start + 2 * third, runs.steps[str(run)])]
            if all(((steps >= low) & (steps <= high)).sum() >= FEWEST_STEPS for low, high in parts):
                line = np.interp(every, steps, logs)
                first, last = (np.median(line[(every >= low) & (every <= high)]) for low, high in parts)
                found[str(run)] = float(last - first)
        return pd.Series(found, dtype=float)

    says = f"log {metric.replace('_', ' ')}, median over the last third of the steps from {start} on less that over "
    return Measure(f"trend of log {name}", f"{says}their first third", ((metric, "train"),), per_run)
