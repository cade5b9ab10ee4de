"""A test set that the data have beside the usual one."""

from __future__ import annotations

from experiments.data import Data
from experiments.errors import near_miss
from experiments.evaluations.base import TESTED, Tested


@TESTED.register("named")
class Named(Tested):
    """One of the data's named test sets (``test_sets`` of :class:`experiments.data.Arrays`)."""

    def __init__(self, *, test_set: str) -> None:
        """
        Args:
            test_set: its name.
        """
        self.test_set = test_set

    def of(self, data: Data) -> Data:
        if self.test_set not in data.test_sets:
            told = near_miss(self.test_set, data.test_sets) if data.test_sets else "these data have the usual one only"
            raise ValueError(f"test_set={self.test_set}: unknown test set; {told}")
        return data.tested_on(self.test_set)
