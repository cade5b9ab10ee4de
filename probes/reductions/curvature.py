"""Of second derivatives along the gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import DifferenceReduction, Graph, SecondDerivative
from probes.reductions.sums import norms, products


@dataclass(frozen=True)
class HessianProducts(SecondDerivative):
    """(2, parameters): norm of each parameter's part of H g, and its inner product with g."""

    def reduce(self, graph: Graph) -> Tensor:
        """See :class:`SecondDerivative`."""
        parameters = list(graph.trained.values())
        first = torch.autograd.grad(graph.total, parameters, create_graph=True, materialize_grads=True)
        vector = [gradient.detach() for gradient in first]
        # where the loss is linear in a parameter, its gradient depends on nothing
        curved = [i for i, gradient in enumerate(first) if gradient.requires_grad]
        outputs, along = [first[i] for i in curved], [vector[i] for i in curved]
        second = torch.autograd.grad(outputs, parameters, along, retain_graph=graph.retain, materialize_grads=True)
        return torch.stack([norms(second), products(second, vector)])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (2, len(names))


@dataclass(frozen=True)
class DifferenceProducts(DifferenceReduction):
    """(3, parameters): as HessianProducts, with Hg = (grad(theta) - grad(theta - h g)) / h; and the norm of g.

    h ||g|| = 1e-7 ||theta||, whatever the learning rate, and all in float64: in float32 a step short enough to be a
    derivative drowns in rounding.
    """

    def reduce(self, parameters: list[Tensor], gradient: Callable[[], list[Tensor]]) -> Tensor:
        """See :class:`DifferenceReduction`."""
        first = gradient()
        length = torch.stack(torch._foreach_norm(first)).norm()
        with torch.no_grad():
            step = 1e-7 * torch.stack(torch._foreach_norm(parameters)).norm() / length
            torch._foreach_sub_(parameters, [step * g for g in first])
        curved = [(a - b) / step for a, b in zip(first, gradient(), strict=True)]
        return torch.stack([norms(curved), products(curved, first), norms(first)])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (3, len(names))
