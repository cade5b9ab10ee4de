"""How often units change their sign along segments between samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import TapReduction


@dataclass(frozen=True)
class SignChanges(TapReduction):
    """(2,): changes of sign of a neuron along a segment, averaged over both; share of neurons that never change.

    Of a tap on a batch of segments, one after the other, each of ``points`` samples in a row. A neuron is a unit, of a
    convolution a unit at a place; its sign is whether it is above 0. One never changes that has the same sign at all
    points of all segments.
    """

    points: int

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        above = (values.detach() > 0).flatten(1).unflatten(0, (-1, self.points))  # (segments, points, neurons)
        changes = (above[:, 1:] != above[:, :-1]).sum(1, dtype=torch.float64)
        whole = above.flatten(0, 1)
        return torch.stack([changes.mean(), (whole.all(0) | ~whole.any(0)).double().mean()])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (2,)
