"""By how much the right answer is ahead, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.objective import Loss
from probes.reductions.reduction import LossReduction


@dataclass(frozen=True)
class Margins(LossReduction):
    """(3,): least, mean and (population) deviation of the margins of a batch.

    Of classes a margin is the output of the right class less the greatest of the others; of one value with a sign for
    its target it is output x target.

    Raises:
        ProbeError: targets that are neither.
    """

    def reduce(self, loss: Loss) -> Tensor:
        """See :class:`LossReduction`."""
        output, targets = loss.output.detach().double(), loss.targets
        if targets.is_floating_point():
            if targets.shape != output.shape or not bool((targets.abs() == 1).all()):
                raise ProbeError("margins: the targets are neither labels of classes nor signs, 1 and -1")
            margins = (output * targets).flatten()
        else:
            right = torch.nn.functional.one_hot(targets, output.shape[1]).bool()
            margins = output[right] - output.masked_fill(right, -torch.inf).amax(1)
        return torch.stack([margins.min(), margins.mean(), margins.std(correction=0)])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (3,)
