"""Measures of outliers of the Hessian's spectrum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.measures import Measure, over_window
from analysis.progress import Levels, Window
from analysis.runs import Runs

RANK = 10
"""The eigenvalue that the first is compared with, as published."""
HELD = "fixed, held statistics"
"""The fixed batch, the normalisations' statistics as constants."""
WINDOWS: Mapping[str, Window] = {"equal loss": Levels(0.5, 0.1), "equal step": "all"}
EARLY = Levels(2.0, 0.6)
"""For a network that goes no lower."""


def ratios(runs: Runs, batch: str) -> pd.DataFrame:
    """run, step, value: lambda_1 / lambda_10 of each probed step; infinite where lambda_10 is not above 0."""
    rows = runs.records("largest_eigenvalues", batch)
    first, last = (
        rows[rows["x"] == place].groupby(["run", "step"], observed=True)["value"].first()
        for place in (1.0, float(RANK))
    )
    ratio = (first / last).where(~(last <= 0), np.inf)
    return ratio.dropna().rename("value").reset_index()


def shares(runs: Runs) -> pd.DataFrame:
    """The rows of the gradient's share in the span, of runs that looked at ten eigenvalues and no other number."""
    rows = runs.records("largest_eigenvalues", "fixed")
    asked = rows.groupby("run", observed=True)["x"].max()
    found = runs.records("gradient_share", "fixed")
    return found[found["run"].astype(str).map(asked).to_numpy(dtype=float) == RANK]


def outliers(window: Window, batch: str = "fixed") -> Measure:
    """lambda_1 / lambda_10 of the Hessian (Ghorbani et al. 2019, section 4)."""
    name = f"lambda_1 / lambda_{RANK}{'' if batch == 'fixed' else ' with statistics held'}"
    says = (
        f"first over {RANK}th largest eigenvalue of the Hessian, {batch} batch (infinite: the {RANK}th is not above 0)"
    )
    needed = (("largest_eigenvalues", batch),)
    return over_window(name, says, needed, lambda runs: ratios(runs, batch), window, ("outliers", batch))


def in_span(window: Window) -> Measure:
    """The gradient's share in the span of the first ten eigenvectors, of ||g||^2 (section 4.1)."""
    says = f"share of ||g||^2 in the span of the Hessian's {RANK} largest eigenvalues, fixed batch"
    metrics = (("gradient_share", "fixed"), ("largest_eigenvalues", "fixed"))
    return over_window(f"gradient in the first {RANK}", says, metrics, shares, window, "in span")
