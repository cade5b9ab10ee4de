"""Batches of a few classes or domains with equally many samples of each."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.data.orders import ORDERS, GroupedBy, Parts, Samples
from experiments.errors import WrongInput


@ORDERS.register("blocks")
class Blocks:
    """Each batch has n groups, batch_size / n samples of each, the samples of a group beside each other.

    G groups are dealt in rounds of G // n batches: each round in a new random order of the groups, from (seed, round),
    so that no group comes twice in a round, and where n divides G each comes once. Each group has an order of its own,
    of which each round uses up a part, also where it leaves the group out, drawn anew when no whole part is left.
    Within a batch the groups stand in the order of their labels.

    Args:
        samples: those of training.
        grouped_by: class or domain; None: the domains where the data have them, else the classes.
        groups_per_batch: n, which divides the batch; None: all groups.

    Raises:
        WrongInput: n does not divide the batch or exceeds the groups, or a group has too few samples.
    """

    def __init__(
        self, samples: Samples, *, grouped_by: GroupedBy | None = None, groups_per_batch: int | None = None
    ) -> None:
        groups = samples.groups(grouped_by)
        self._samples, self._number = samples, len(groups)
        self._in_batch = len(groups) if groups_per_batch is None else groups_per_batch
        if not 1 <= self._in_batch <= len(groups):
            raise WrongInput(f"data.groups_per_batch={groups_per_batch}: must be from 1 to {len(groups)}, the groups")
        if samples.batch_size % self._in_batch:
            raise WrongInput(
                f"data.groups_per_batch={groups_per_batch}: optim.batch_size={samples.batch_size} is no multiple of "
                f"{self._in_batch} groups"
            )
        self._parts = Parts(samples, groups, samples.batch_size // self._in_batch, "blocks")

    def __call__(self, step: int) -> Tensor:
        """(batch_size,) indices."""
        deal, place = divmod(step, self._number // self._in_batch)
        dealt = self._samples.permutation(self._number, deal, "data order of blocks")
        chosen = dealt[place * self._in_batch : (place + 1) * self._in_batch].sort().values
        return torch.cat([self._parts.of(group, deal) for group in chosen.tolist()])
