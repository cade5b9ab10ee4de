"""Whose statistics training normalises by, and what decays."""

from __future__ import annotations

from analysis.select import Arm, plain

BATCHES = (8, 32, 128)
"""M, samples of a batch."""
STRENGTH = 1.0
"""c of the decay c / M, fixed beforehand: twice the penalty's factor (rho + 2) / (8 M) I + (mean slope) / (2 M), with a
kurtosis rho of 0, a Fisher information I of 1 and a slope between 0 and 1, lies between 0.5 / M and 1.5 / M."""


def _population(name: str, groups: str = "[]", detach: str = "none") -> Arm:
    where = {"norm": "batch", "norm.statistics": "population", "norm.detach": detach, "optim.groups": groups}
    return Arm.of(name, where)


BATCH = Arm.of("batch", {"norm": "batch", "norm.statistics": "batch", "norm.detach": "none", "optim.groups": "[]"})
POPULATION = _population("population")
DETACHED = _population("population, no gradient", detach="both")
DECAYED = {
    m: _population(f"population, gamma decay {STRENGTH / m:g}", plain([{"match": "gamma", "decay": STRENGTH / m}]))
    for m in BATCHES
}
ARMS = (BATCH, POPULATION, DETACHED, *DECAYED.values())
