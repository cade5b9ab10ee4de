"""Shares of what an activation function has pushed to the end of its range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import TapReduction

_FROM_MIDDLE: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda values: (2 * values - 1).abs(),
    "tanh": lambda values: values.abs(),
}
"""Distance from the middle of the range, in units of half of it."""


@dataclass(frozen=True)
class Saturated(TapReduction):
    """(1,): share of values further than ``threshold`` from the middle of the range, in units of half of it."""

    activation: Literal["sigmoid", "tanh"]
    threshold: float

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        outer = _FROM_MIDDLE[self.activation](values)
        return torch.count_nonzero(outer > self.threshold).double().reshape(1) / values.numel()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (1,)


@dataclass(frozen=True)
class Dead(TapReduction):
    """(1,): share of units that are 0 on the whole batch."""

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        axes = [0, *range(2, values.ndim)]
        dead = (values.amax(axes) == 0) & (values.amin(axes) == 0)
        return dead.double().mean().reshape(1)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (1,)
