"""A random part of the test set, so that what is chosen on one part can be judged on the others."""

from __future__ import annotations

from experiments.data import Data
from experiments.evaluations.base import TESTED, Tested


@TESTED.register("part")
class Part(Tested):
    """One of ``parts`` parts of the test set, as equal as can be, drawn once: no seed changes them."""

    def __init__(self, *, part: int = 1, parts: int = 2) -> None:
        """
        Args:
            part: which, from 1.
            parts: how many there are.
        """
        if parts < 2:
            raise ValueError(f"parts={parts}: must be at least 2")
        if not 1 <= part <= parts:
            raise ValueError(f"part={part}: must be from 1 to parts={parts}")
        self.part, self.parts = part, parts

    def of(self, data: Data) -> Data:
        if self.parts > data.test_size:
            raise ValueError(f"parts={self.parts}: the test set has {data.test_size} samples")
        return data.tested_part(self.part - 1, self.parts)
