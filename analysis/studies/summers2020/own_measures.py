"""Measures of weighing examples: what is lost on one half of the test set by the weight that the other half chooses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.measures import Measure, final
from analysis.runs import Runs

HUNDREDTHS = (0, 2, 5, 10, 20, 30)
"""Weights of the example, in hundredths, as the labels of the evaluations end; the first is none."""
LEAST_WEIGHT = HUNDREDTHS[1] / 100
"""The least of the weights that is any."""
CHOOSING, JUDGING = "choosing", "judging"


def losses(runs: Runs, half: str) -> pd.DataFrame:
    """The test loss on one half of the test set, nats, by run and weight in hundredths."""
    return pd.DataFrame({weight: _loss(half, weight).of(runs) for weight in HUNDREDTHS})


def _loss(half: str, weight: int) -> Measure:
    return final("data_loss", "test", statistics=f"{half}_{weight}")


def judged(*, weighed: bool) -> Measure:
    """Test loss on the half that chooses nothing, nats: unweighed, or by the chosen weight.

    The weight is the one with the least loss on the other half of the test set, run by run; no run's weight is chosen
    on what it is judged on.
    """

    def take(choosing: pd.DataFrame, judging: pd.DataFrame) -> pd.Series:
        chosen = choosing.idxmin(axis=1) if weighed else pd.Series(HUNDREDTHS[0], choosing.index)
        return pd.Series({run: judging.loc[run, weight] for run, weight in chosen.items()}, dtype=float)

    name = f"test loss{'' if weighed else ' not'} weighed"
    how = "with the weight of the example that loses least on the other half" if weighed else "by running statistics"
    return _measure(name, f"test loss on half of the test set, {how}", take)


def chosen_weight() -> Measure:
    """The weight, from 0 to 1, of the least loss on the half of the test set that chooses."""

    def take(choosing: pd.DataFrame, judging: pd.DataFrame) -> pd.Series:
        return choosing.idxmin(axis=1).astype(float) / 100

    says = f"weight of the example with the least loss on half of the test set, of {len(HUNDREDTHS)}"
    return _measure("chosen weight", says, take)


def _measure(name: str, says: str, take: Callable[[pd.DataFrame, pd.DataFrame], pd.Series]) -> Measure:
    """`take` of the losses of both halves; NaN for runs that lack one of them, or whose losses are not finite."""

    def per_run(runs: Runs) -> pd.Series:
        choosing, judging = (losses(runs, half) for half in (CHOOSING, JUDGING))
        whole = np.isfinite(choosing).all(axis=1) & np.isfinite(judging).all(axis=1)
        return take(choosing[whole], judging[whole])

    metrics = tuple(m for half in (CHOOSING, JUDGING) for w in HUNDREDTHS for m in _loss(half, w).metrics)
    return Measure(name, says, metrics, per_run)
