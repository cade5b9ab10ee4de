"""What figures over learning rates share: the arms of this paper."""

from __future__ import annotations

from analysis.runs import Runs
from analysis.select import Arm, known_and_norms
from analysis.studies.ioffe2015.claims.training import DEVIATION_DETACHED, MEAN_DETACHED

PLAIN = ("none", "batch")
DETACHED = (MEAN_DETACHED, DEVIATION_DETACHED)
WANTED = (*PLAIN, *(arm.name for arm in DETACHED))


def arms(runs: Runs) -> list[Arm]:
    """Every normalisation of these runs, those with detached statistics under the names that claims give them."""
    return known_and_norms(runs, DETACHED)
