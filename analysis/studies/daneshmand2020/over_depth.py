"""What is recorded of samples layer by layer, as one number per run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures import Measure
from analysis.runs import Runs

PLACE = "output"
"""After the activation and the normalisation, whichever comes last."""
LAST = 3
"""The last third of the hidden layers."""
_NAMES = {
    "h_rank": "h-rank",
    "orthogonality_gap": "distance from orthogonality",
    "largest_sample_share": "largest sample's share of the energy",
    "cosine_mean_without_largest": "mean cosine without the largest sample",
}


def by_layer(runs: Runs, metric: str) -> dict[str, np.ndarray]:
    """Run -> the metric of each hidden layer at the first probed step, from the input on; the last layer is left out.

    No activation follows the last layer, and in most networks no normalisation.
    """
    rows = runs.records(f"{metric}_{PLACE}", "train")
    found = {}
    for run, own in rows.groupby("run", observed=True):
        own = own[own["step"] == own["step"].min()]  # layers are recorded in the order of the network
        found[str(run)] = own["value"].to_numpy(dtype=float)[:-1]
    return found


def at_layer(metric: str, layer: int) -> Measure:
    """The metric of one hidden layer at initialisation, counted from 1; no number where the network is too shallow."""

    def per_run(runs: Runs) -> pd.Series:
        own = by_layer(runs, metric)
        return pd.Series({run: v[layer - 1] for run, v in own.items() if len(v) >= layer}, dtype=float)

    name = f"{_NAMES[metric]} at layer {layer}"
    says = f"{_NAMES[metric]} of the batch after the activation of layer {layer}, at initialisation"
    return Measure(name, says, ((f"{metric}_{PLACE}", "train"),), per_run)


def growth(metric: str, layer: int, earlier: int) -> Measure:
    """The metric of one hidden layer over that of an earlier one."""
    one, other = at_layer(metric, layer), at_layer(metric, earlier)
    name = f"{_NAMES[metric]} at layer {layer} / layer {earlier}"
    says = f"{one.says}, over that of layer {earlier}"
    return Measure(name, says, one.metrics, lambda runs: one.per_run(runs) / other.per_run(runs))


def plateau(*, in_roots: bool = False) -> Measure:
    """Mean h-rank over the last third of the hidden layers, at least one; `in_roots`: over the root of the width."""

    def per_run(runs: Runs) -> pd.Series:
        found = {}
        for run, values in by_layer(runs, "h_rank").items():
            width = runs.value(run, "model.dimension")
            if values.size and (width is not None or not in_roots):
                found[run] = float(values[-max(1, len(values) // LAST) :].mean())
                found[run] /= float(width) ** 0.5 if in_roots else 1.0
        return pd.Series(found, dtype=float)

    says = "mean h-rank of the batch over the last third of the hidden layers, at initialisation"
    says += ", over the root of the width" if in_roots else ""
    return Measure(
        f"h-rank{' / root of the width' if in_roots else ''}", says, ((f"h_rank_{PLACE}", "train"),), per_run
    )
