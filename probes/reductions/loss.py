"""Of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.network import View
from probes.objective import Loss
from probes.reductions.reduction import LossReduction


@dataclass(frozen=True)
class LossParts(LossReduction):
    """(3,): total loss, data loss, penalty."""

    def reduce(self, loss: Loss) -> Tensor:
        """See :class:`LossReduction`."""
        return torch.stack([loss.total, loss.data_loss, loss.penalty])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (3,)
