"""Shuffle once: one random order, the same in every epoch."""

from __future__ import annotations

from torch import Tensor

from experiments.data.orders import ORDERS, Epochs


@ORDERS.register("shuffled_once")
class ShuffledOnce(Epochs):
    """The same batches in the same order in every epoch; those of the first epoch of ``reshuffled``.

    The last count % batch_size samples of that order are in no batch, hence never trained on.
    """

    def order(self, epoch: int) -> Tensor:
        """(count,) indices, whatever the epoch."""
        return self.samples.permutation(self.samples.count, 0, "data order")
