"""How much of the change of a layer's output comes from its own weights, how much from its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import ChangeReduction


@dataclass(frozen=True)
class ChangeParts(ChangeReduction):
    """(7,) of z(W, h), the output of the module with weights W and inputs h, at theta_t (z00) and theta_{t+1} (z11).

    Squared norms of z00; of the change T = z11 - z00; of O = z(W_{t+1}, h_t) - z00, by its own weights; of
    I = z(W_t, h_{t+1}) - z00, by its inputs; of the interaction X = T - O - I. Then <O + X/2, T> and <I + X/2, T>,
    which add up to ||T||^2: the interaction is divided evenly, the average over both orders of the two moves.
    """

    def reduce(self, before: Tensor, new_weights: Tensor, new_inputs: Tensor, after: Tensor) -> Tensor:
        """See :class:`ChangeReduction`."""
        total, own, inputs = after - before, new_weights - before, new_inputs - before
        both = total - own - inputs
        pairs = ((before, before), (total, total), (own, own), (inputs, inputs), (both, both), (own, total))
        found = [(a * b).sum(dtype=torch.float64) for a, b in pairs]
        half = (both * total).sum(dtype=torch.float64) / 2
        return torch.stack([*found[:5], found[5] + half, (inputs * total).sum(dtype=torch.float64) + half])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (7,)
