"""Batches of one class or domain each, in turn."""

from __future__ import annotations

from torch import Tensor

from experiments.data.orders import ORDERS, GroupedBy, Parts, Samples


@ORDERS.register("alternating")
class Alternating:
    """Batch t is all of group t mod G, of the G groups in the order of their labels.

    Each group has an order of its own, drawn anew when no whole batch of it is left. All groups have equally many
    batches, however many samples they have.

    Args:
        samples: those of training.
        grouped_by: class or domain; None: the domains where the data have them, else the classes.

    Raises:
        WrongInput: a group has fewer samples than a batch.
    """

    def __init__(self, samples: Samples, *, grouped_by: GroupedBy | None = None) -> None:
        groups = samples.groups(grouped_by)
        self._number, self._parts = len(groups), Parts(samples, groups, samples.batch_size, "alternating")

    def __call__(self, step: int) -> Tensor:
        """(batch_size,) indices."""
        visit, group = divmod(step, self._number)
        return self._parts.of(group, visit)
