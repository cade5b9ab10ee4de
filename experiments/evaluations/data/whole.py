"""The test set, whole."""

from __future__ import annotations

from experiments.evaluations.base import TESTED, Tested


@TESTED.register("whole")
class Whole(Tested):
    """All of it; where samples belong to domains, each domain's part is told beside it."""

    by_domain = True
