"""Samples sorted by class or domain: the worst case for statistics of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.data.orders import ORDERS, Epochs, GroupedBy, Samples


@ORDERS.register("sorted")
class Sorted(Epochs):
    """Each epoch one group after the other, in the order of the labels, within a group in a new random order.

    An epoch has the samples of the same epoch of ``reshuffled``: who is left out for want of a whole batch is drawn
    among all, not always of the last group. Where one group ends and the next begins, a batch has some of both.

    Args:
        samples: those of training.
        grouped_by: class or domain; None: the domains where the data have them, else the classes.
    """

    def __init__(self, samples: Samples, *, grouped_by: GroupedBy | None = None) -> None:
        super().__init__(samples)
        groups = samples.groups(grouped_by)
        self._place = torch.empty(samples.count, dtype=torch.int64, device=samples.device)
        for place, members in enumerate(groups.values()):
            self._place[members] = place

    def order(self, epoch: int) -> Tensor:
        """(all batches' samples,) indices."""
        samples = self.samples
        drawn = samples.permutation(samples.count, epoch, "data order")
        drawn = drawn[: samples.count // samples.batch_size * samples.batch_size]
        return drawn[self._place[drawn].argsort(stable=True)]
