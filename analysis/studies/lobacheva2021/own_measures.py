"""Measures of periodic behaviour: jumps of the training loss, their period, and the weights' norm about them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.measures import Measure
from analysis.runs import Runs

BLOCK = 20
"""Steps whose training losses are averaged: an epoch of the digits in batches of 64."""
BACK = 2
"""Blocks before, over the least of which the loss has to rise: the means of at most 50 steps before."""
TIMES = 10.0
"""So many times as large makes a jump."""
APART = 5
"""Blocks: rises that are closer are one jump."""
FEWEST = 3
"""Jumps, of which there is a period."""
NEAR = 50
"""Steps, within which the norm has its minimum about a jump."""
_LOSS = ("data_loss", "train")
_NORM = ("weight_norm", "train")


def blocks(runs: Runs) -> dict[str, np.ndarray]:
    """By run: means of the recorded training losses over every 20 steps in a row, from step 0 on; [blocks].

    Of blocks in which each step was recorded.
    """
    rows = runs.records(*_LOSS)
    found = {}
    for run, own in rows.groupby(rows["run"].astype(str), observed=True):
        parts = own.groupby(own["step"].astype(int) // BLOCK)["value"]
        whole = parts.mean()[parts.count() == BLOCK]
        if run in runs.each.index and len(whole) and whole.index.tolist() == [*range(len(whole))]:
            found[str(run)] = whole.to_numpy(dtype=float)
    return found


def jumps_of(means: np.ndarray) -> list[int]:
    """Blocks in which the mean is ten times and more that of one of the two before: the first of each rise."""
    found: list[int] = []
    last = -APART
    for k in range(1, len(means)):
        if means[k] >= TIMES * means[max(0, k - BACK) : k].min():
            if k - last >= APART:
                found.append(k)
            last = k
    return found


def jumps() -> Measure:
    """Number of jumps; a diverged run has none of its own, since it ends where it jumps."""

    def per_run(runs: Runs) -> pd.Series:
        return pd.Series({run: float(len(jumps_of(means))) for run, means in blocks(runs).items()}, dtype=float)

    says = (
        f"number of times that the training loss, averaged over {BLOCK} steps, rises to {TIMES:g} times that of one of "
        f"the {BACK} averages before and more (rises less than {APART} averages apart are one)"
    )
    return Measure("jumps", says, (_LOSS,), per_run)


def period() -> Measure:
    """Steps from jump to jump, on average, over the time scale 1 / (2 lr decay); NaN with fewer than three jumps."""

    def per_run(runs: Runs) -> pd.Series:
        found = {}
        for run, means in blocks(runs).items():
            places, scale = jumps_of(means), time_scale(runs, run)
            if len(places) >= FEWEST and np.isfinite(scale):
                found[run] = BLOCK * (places[-1] - places[0]) / (len(places) - 1) / scale
        return pd.Series(found, dtype=float)

    return Measure(
        "period x 2 lr decay",
        f"steps from jump to jump over 1 / (2 lr decay), the mean of a run with {FEWEST} jumps or more",
        (_LOSS,),
        per_run,
    )


def time_scale(runs: Runs, run: str) -> float:
    """1 / (2 lr decay) of a run, in steps; infinite without a decay."""
    product = 2 * float(runs.value(run, "optim.lr")) * float(runs.value(run, "optim.weight_decay") or 0.0)
    return 1 / product if product > 0 else np.inf


def norms(runs: Runs) -> Mapping[str, pd.Series]:
    """By run: norm |w| of all trained weights taken as one vector, by probed step."""
    rows = runs.records(*_NORM)
    squares = (rows["value"] ** 2).groupby([rows["run"].astype(str), rows["step"]], observed=True).sum(skipna=False)
    return {
        str(run): np.sqrt(own.droplevel(0)).sort_index()
        for run, own in squares.groupby(level=0)
        if run in runs.each.index
    }


def at_minimum() -> Measure:
    """Share of the jumps about which |w| has its minimum.

    From a quarter of a time scale before a jump to as long after it, the least |w| must lie within 50 steps of the
    block in which the loss has risen. Jumps whose stretch the run does not cover are not counted; NaN without any.
    """

    def per_run(runs: Runs) -> pd.Series:
        found, lines = {}, norms(runs)
        for run, means in blocks(runs).items():
            scale, line = time_scale(runs, run), lines.get(run)
            if line is None or not np.isfinite(scale):
                continue
            hits = []
            for step in (BLOCK * k for k in jumps_of(means)):
                low, high = step - scale / 4, step + scale / 4
                own = line[(line.index >= low) & (line.index <= high)]
                if low >= line.index[0] and high <= line.index[-1] and len(own):
                    hits.append(abs(float(own.idxmin()) - step) <= NEAR)
            if hits:
                found[run] = float(np.mean(hits))
        return pd.Series(found, dtype=float)

    says = (
        "share of jumps about which the norm of all trained weights, from a quarter of 1 / (2 lr decay) before to as "
        f"long after, is least within {NEAR} steps of the jump"
    )
    return Measure("jumps at a minimum of the norm", says, (_LOSS, _NORM), per_run)
