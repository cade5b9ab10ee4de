"""Mean and variance of units."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import TapReduction
from probes.reductions.units import chosen, width


@dataclass(frozen=True)
class Moments(TapReduction):
    """(2, units): mean and (biased) variance of each unit over the batch."""

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        if values.ndim < 2:
            values = values.reshape(-1, 1)
        if values.ndim == 2 or values.device.type != "cpu":
            variance, mean = torch.var_mean(values, [0, *range(2, values.ndim)], correction=0)
            return torch.stack([mean, variance])
        # by sample first, a few samples at a time: 3 times faster there than over all axes at once
        few = max(1, 2**19 // max(values[0].numel(), 1))
        means, variances = [], []
        for part in values.flatten(2).split(few):
            mean = part.mean(2, keepdim=True)
            means.append(mean[:, :, 0].double())
            variances.append((part - mean).square_().mean(2).double())
        by_sample = torch.cat(means)
        within, between = torch.cat(variances).mean(0), by_sample.var(0, correction=0)
        return torch.stack([by_sample.mean(0), within + between])

    def alike(self) -> Hashable | None:
        """See :class:`TapReduction`."""
        return ()

    @classmethod
    def together(cls, members: Sequence[Self], units: Tensor, places: Sequence[range]) -> Sequence[Tensor]:
        """See :class:`TapReduction`."""
        here = chosen(units, places)
        mean = here.mean(1, keepdim=True)
        return torch.stack([mean[:, 0], (here - mean).square_().mean(1)]).split([len(p) for p in places], 1)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (2, width(view, self.tap))
