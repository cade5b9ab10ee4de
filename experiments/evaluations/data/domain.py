"""A domain's part of the test set."""

from __future__ import annotations

from experiments.data import Data
from experiments.errors import near_miss
from experiments.evaluations.base import TESTED, Tested


@TESTED.register("domain")
class OfDomain(Tested):
    """The test samples of one domain alone, in batches of their own: statistics of the batch are then the domain's."""

    def __init__(self, *, domain: str) -> None:
        """
        Args:
            domain: its name.
        """
        self.domain = domain

    def of(self, data: Data) -> Data:
        if self.domain not in data.domains:
            told = near_miss(self.domain, data.domains) if data.domains else "these data have no domains"
            raise ValueError(f"domain={self.domain}: unknown domain; {told}")
        return data.tested_in(data.domains.index(self.domain))
