"""What is recorded layer by layer at initialisation, of hidden layers beyond the first."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Ambiguous

HIDDEN_FROM = 2
"""The first layer's units have hyperplanes in the space of the inputs, which are crossed once at most."""


def by_layer(runs: Runs, metric: str, batch: str) -> dict[str, np.ndarray]:
    """Run -> the metric's numbers at step 0, layer by layer from the input, as they were recorded.

    Raises:
        Ambiguous: two probes of a run (segments of different points) recorded it.
    """
    rows = runs.records(metric, batch)
    rows = rows[(rows["step"] == 0) & rows["layer"].notna()]
    if rows.duplicated(["run", "layer"]).any():
        raise Ambiguous(f"two probes of a run recorded {metric} of one layer")
    return {
        str(run): own["value"].to_numpy(dtype=float)
        for run, own in rows.groupby(rows["run"].astype(str), observed=True)
    }


def beyond_first(metric: str, name: str) -> Measure:
    """Mean over the layers from the second on; NaN where there is none."""

    def per_run(runs: Runs) -> pd.Series:
        found = {run: values[HIDDEN_FROM - 1 :] for run, values in by_layer(runs, metric, "segments").items()}
        return pd.Series({run: values.mean() for run, values in found.items() if len(values)}, dtype=float)

    says = (
        f"{metric.replace('_', ' ')} on segments between samples, at initialisation, mean over hidden layers but the "
    )
    return Measure(name, f"{says}first", ((metric, "segments"),), per_run)
