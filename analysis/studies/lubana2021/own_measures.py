"""How alike samples are at initialisation, and the steps that this foretells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.across import Across, Over
from analysis.claims import BySeed
from analysis.measures import Measure
from analysis.runs import Runs

COSINES = "cosine_mean_output"


def initial_cosine() -> Measure:
    """Mean cosine over pairs of samples after the last hidden layer, at the first probed step."""

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records(COSINES, "train")
        found = {}
        for run, own in rows.groupby(rows["run"].astype(str), observed=True):
            own = own[own["step"] == own["step"].min()]  # layers are recorded in the order of the network
            if len(own) > 1:  # the last one puts out the classes
                found[str(run)] = float(own["value"].iloc[-2])
        return pd.Series(found, dtype=float)

    says = "mean cosine over pairs of samples of the batch after the last hidden layer, at initialisation"
    return Measure("initial cosine", says, ((COSINES, "train"),), per_run)


def foretold(steps: BySeed, cosine: BySeed, key: str, *, greatest: bool) -> Across:
    """Steps at the greatest (or the least) cosine over the key's values, by a line through log steps over the cosine.

    The line is the least-squares one through all values of one seed, so that the ratio of the two ends is the factor
    by which steps grow over the range of the cosine. Where the steps of a value are only a bound, so is the end.

    Args:
        steps: of a seed at a value of the key.
        cosine: of the same.
        key: what differs between the values; it need not be a number.
        greatest: which end.
    """

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        counted, alike = tables
        x = alike.number.to_numpy(float)
        with np.errstate(all="ignore"):  # of one cosine alone there is no slope
            x = x - x.mean(axis=1, keepdims=True)
            end = (x.max if greatest else x.min)(axis=1, keepdims=True)
            weights = 1 / x.shape[1] + end * x / np.square(x).sum(axis=1, keepdims=True)
            number, low, high = (np.log(table.to_numpy(float)) for table in counted[:3])
            ends = {
                "number": np.exp((weights * number).sum(axis=1)),
                "low": np.exp((weights * np.where(weights > 0, low, high)).sum(axis=1)),
                "high": np.exp((weights * np.where(weights > 0, high, low)).sum(axis=1)),
            }
        return pd.DataFrame(ends, counted.number.index)

    which = "greatest" if greatest else "least"
    says = (
        f"at the {which} {cosine.name}, by the least-squares line through log {steps.name} over it "
        f"({steps.says}; {cosine.says})"
    )
    return Across(key, f"{steps.name}, foretold at the {which} {cosine.name}", says, (steps, cosine), reduce)
