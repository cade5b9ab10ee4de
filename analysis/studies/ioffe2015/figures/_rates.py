"""What figures over learning rates share: the arms of this paper."""

from __future__ import annotations

from analysis.runs import Runs
from analysis.select import Arm
from analysis.studies.ioffe2015.claims.training import DEVIATION_DETACHED, MEAN_DETACHED

PLAIN = ("none", "batch")
DETACHED = (MEAN_DETACHED, DEVIATION_DETACHED)
WANTED = (*PLAIN, *(arm.name for arm in DETACHED))


def arms(runs: Runs) -> list[Arm]:
    """Every normalisation of these runs, those with detached statistics under the names that claims give them."""
    known = {run: arm for arm in DETACHED for run in arm.runs(runs)}
    found: dict[str, Arm] = {}
    for run in runs.each.index:
        label = runs.label_of(run)
        found.setdefault(label, known.get(run, Arm.norm(label)))
    return list(found.values())
