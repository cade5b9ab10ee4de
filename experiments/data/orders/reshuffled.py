"""Random reshuffling, the usual order: every epoch has an order of its own."""

from __future__ import annotations

from torch import Tensor

from experiments.data.orders import ORDERS, Epochs


@ORDERS.register("reshuffled")
class Reshuffled(Epochs):
    """Each epoch a new random order of all samples, from (seed, epoch).

    The samples that fill no whole batch wait for the next order, so that nobody is left out for good.
    """

    def order(self, epoch: int) -> Tensor:
        """(count,) indices."""
        return self.samples.permutation(self.samples.count, epoch, "data order")
