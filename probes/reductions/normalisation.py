"""What Theorems 4.1 and 4.2 of Santurkar et al. 2018 need of a batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import Graph, SecondDerivative, TapGradientReduction
from probes.reductions.sums import products
from probes.reductions.units import SMALL_TAP, by_unit, width

ROWS = 2**16
"""Numbers of which float64 copies are taken at a time."""


@dataclass(frozen=True)
class NormalisationTerms(TapGradientReduction):
    """(7, units) of a batch normalisation with input y and output z, g = dL/dz, yhat = (y - mean) / sqrt(var + eps).

    Rows: ||g||^2, <1, g>, <g, yhat>, ||dL/dy||^2, mean and (biased) variance of y, number of values per unit. Sums in
    float64 of values as computed.
    """

    before: str
    after: str
    epsilon: float

    def taps(self) -> tuple[str, ...]:
        """See :class:`Reduction`."""
        return (self.before, self.after)

    def reduce(self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
        """See :class:`TapGradientReduction`."""
        return self.together([self], values, gradients)[0]

    def alike(self, values: Mapping[str, Tensor]) -> Hashable | None:
        """See :class:`TapGradientReduction`. Small taps of equally many values per unit are."""
        y = values[self.before]
        return len(y) if y.ndim == 2 and y.numel() <= SMALL_TAP else None

    @classmethod
    def together(
        cls, members: Sequence[Self], values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> Sequence[Tensor]:
        """See :class:`TapGradientReduction`."""
        rows = []
        for which, source in (("before", values), ("after", gradients), ("before", gradients)):
            found = [by_unit(source[getattr(term, which)]) for term in members]
            rows.append(torch.cat(found) if len(found) > 1 else found[0])
        widths = [by_unit(values[term.before]).shape[0] for term in members]
        count = rows[0].shape[1]
        epsilon = torch.tensor(
            [x for t, w in zip(members, widths, strict=True) for x in [t.epsilon] * w], dtype=torch.float64
        )
        epsilon = epsilon.to(rows[0].device)
        piece = ROWS if rows[0].device.type == "cpu" else 2**24
        few = max(1, piece // max(count, 1))  # float64 copies of a few units at a time, in the cache
        parts = [
            _rows([t[i : i + few].double() for t in rows], epsilon[i : i + few]) for i in range(0, len(rows[0]), few)
        ]
        return torch.cat(parts, 1).split(widths, 1)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (7, width(view, self.after))

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. Copies of three tensors by unit, and float64 ones of a few units."""
        count = math.prod(view.leaf(self.before).shape)
        piece = max(ROWS, count // width(view, self.before))
        return 3 * tap_bytes.get(self.before, 0) + 48 * min(count, piece)


def _rows(tensors: Sequence[Tensor], epsilon: Tensor) -> Tensor:
    y, g, v = tensors
    mean = y.mean(1)
    centred = y - mean[:, None]
    variance = centred.square().mean(1)
    correlation = (g * centred).sum(1) / (variance + epsilon).sqrt()
    sums = [g.square().sum(1), g.sum(1), correlation, v.square().sum(1)]
    return torch.stack([*sums, mean, variance, torch.full_like(mean, y.shape[1])])


@dataclass(frozen=True)
class TapCurvature(SecondDerivative):
    """(2,) of a batch normalisation with input y and output z, v = dL/dy, u = (dz/dy) v.

    v^T (d2L/dy2) v and u^T (d2L/dz2) u, all units together: two Hessian-vector products over the layers above. At
    eps = 0, u = (gamma / sigma) v.
    """

    before: str
    after: str
    gamma: str | None
    epsilon: float

    def taps(self) -> tuple[str, ...]:
        """See :class:`Reduction`."""
        return (self.before, self.after)

    def reduce(self, graph: Graph) -> Tensor:
        """See :class:`SecondDerivative`."""
        y, z = graph.held[self.before], graph.held[self.after]
        vector = torch.autograd.grad(graph.total, y, retain_graph=True)[0]
        axes = [0, *range(2, y.ndim)]
        fixed = y.detach()
        variance, mean = torch.var_mean(fixed, axes, correction=0, keepdim=True)
        scale = (variance + self.epsilon).rsqrt()
        normalised = (fixed - mean) * scale
        # through the standard deviation too: with eps > 0, v is not orthogonal to yhat
        moved = vector - normalised * (normalised * vector).mean(axes, keepdim=True)
        if self.gamma is not None:
            scale = scale * graph.parameters[self.gamma].detach().reshape(variance.shape)
        values = []
        for tap, direction in ((y, vector), (z, scale * moved)):
            first = torch.autograd.grad(graph.total, tap, create_graph=True)[0]
            if first.requires_grad:
                along = torch.autograd.grad(first, tap, direction, retain_graph=True, materialize_grads=True)[0]
                values.append(products([direction], [along])[0])
            else:  # linear above this tap
                values.append(torch.zeros((), dtype=torch.float64, device=tap.device))
        return torch.stack(values)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (2,)
