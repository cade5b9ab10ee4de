"""The level "curvature": hands reductions v -> H v, and v -> J v, u -> J^T u between taps, on one differentiated pass.

Nothing is run to find its price. Where layers multiply matrices, forward and backward pass take F and B operations,
and a product with the Hessian 4 B - 2 F: it differentiates each of their products by both factors. A convolution that
comes first takes 2 F - B more, as torch differentiates it by its inputs too. Of what is alive meanwhile the first
pass's graph is measured; with the second one and a product at work it is GRAPHS times that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from probes.engine.ask import Ask
from probes.engine.collector import Collector, Results, nothing
from probes.engine.costs import Costs
from probes.engine.evaluation import Evaluator
from probes.engine.reduction_state import ReductionState
from probes.errors import ProbeError
from probes.network import View, normalises_by_batch
from probes.randomness import seeded_generator
from probes.reductions.derivatives import CurvatureReduction

GRAPHS = 3.2
"""Bytes alive in a product with the Hessian, vectors apart, over those that a forward pass leaves for the backward one:
2.7 to 4.5 by what is normalised and how, most between 3.0 and 3.3."""


class Curvature:
    """Derivatives of one forward pass at theta_t, of the parameters ``names``; vectors are flat, in their order.

    Attributes:
        parameters: (numbers,): the parameters themselves, joined.
        gradient: (numbers,): of the total loss.
    """

    def __init__(
        self, evaluator: Evaluator, total: Tensor, held: Mapping[str, Tensor], names: Sequence[str], hessian: bool
    ) -> None:
        self._evaluator, self._held = evaluator, held
        self._variables = [evaluator.shadow.trainable[name] for name in names]
        self._first: list[Tensor] = []
        if hessian:
            self.parameters = _flat(self._variables).detach()
            found = torch.autograd.grad(total, self._variables, create_graph=True, materialize_grads=True)
            self._first = list(found)
            self.gradient = _flat(found).detach()

    def hessian(self, v: Tensor) -> Tensor:
        """(numbers,): H v, for v of this shape."""
        pieces = v.split([parameter.numel() for parameter in self._variables])
        parts = [piece.view_as(p) for piece, p in zip(pieces, self._variables, strict=True)]
        # where the loss is linear in a parameter, its gradient depends on nothing
        curved = [i for i, first in enumerate(self._first) if first.requires_grad]
        if not curved:
            return torch.zeros_like(v)
        outputs, along = [self._first[i] for i in curved], [parts[i] for i in curved]
        return _flat(
            torch.autograd.grad(outputs, self._variables, along, retain_graph=True, materialize_grads=True)
        ).detach()

    def value(self, tap: str) -> Tensor:
        """The tap's values."""
        return self._held[tap].detach()

    def transposed(self, before: str, after: str, u: Tensor) -> Tensor:
        """J^T u, shaped as the tap ``before``, for u as ``after``; J is the derivative of ``after`` by ``before``."""
        found = torch.autograd.grad(self._held[after], self._held[before], u, retain_graph=True, materialize_grads=True)
        return found[0].detach()

    def jacobian(self, before: str, after: str, v: Tensor) -> Tensor:
        """J v, shaped as the tap ``after``, for v shaped as ``before``: the derivative of J^T u by u."""
        u = torch.zeros_like(self._held[after], requires_grad=True)
        (back,) = torch.autograd.grad(
            self._held[after], self._held[before], u, create_graph=True, materialize_grads=True
        )
        if not back.requires_grad:
            return torch.zeros_like(u)
        return torch.autograd.grad(back, u, v, materialize_grads=True)[0].detach()

    def generator(self, *place: int | str) -> torch.Generator:
        """A generator that is a function of (seed, step, place)."""
        evaluator = self._evaluator
        return seeded_generator(evaluator.shadow.device, evaluator.seed, evaluator.step, "curvature", *place)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def reduce_curvature(
    evaluator: Evaluator, ask: Ask, inputs: Tensor, targets: Tensor, results: Results, kept: ReductionState
) -> None:
    """Answers what is asked of Hessians and Jacobians; one pass for all that look at the same parameters."""
    collector = Collector(ask, results)
    for (names, still), reductions in sharing(ask, evaluator.shadow.view).items():
        hold = frozenset(tap for reduction in reductions for tap in reduction.taps())
        hessian = any(reduction.hessian_products() for reduction in reductions)
        constant = held_statistics(evaluator.shadow.network) if still else contextlib.nullcontext()
        with evaluator.pure(), constant:
            loss, held = evaluator.loss(inputs, targets, nothing, hold)
            curvature = Curvature(evaluator, loss.total, held, names, hessian)
            del loss
            for reduction in reductions:
                found = reduction.reduce(curvature, kept.of(ask.need_of[id(reduction)]))
                collector.add(reduction, found)


@contextlib.contextmanager
def held_statistics(network: nn.Module) -> Iterator[None]:
    """Within it torch's batch normalisations in training mode take the batch's statistics as constants."""

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        assert isinstance(module, nn.modules.batchnorm._BatchNorm)
        if not normalises_by_batch(module):
            return None
        x = args[0]
        axes = [0, *range(2, x.ndim)]
        variance, mean = torch.var_mean(x.detach(), axes, correction=0)
        return nn.functional.batch_norm(x, mean, variance, module.weight, module.bias, False, 0.0, module.eps)

    found = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    handles = [module.register_forward_hook(hook, prepend=True) for module in found]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_held(network: nn.Module) -> None:
    """Refuses statistics that cannot be held.

    Raises:
        ProbeError: a normalisation keeps running statistics and is none of torch's, so that which of its numbers are
            the batch's is not known.
    """
    for name, module in network.named_modules():
        buffers = [buffer for buffer, _ in module.named_buffers(recurse=False)]
        if not isinstance(module, nn.modules.batchnorm._NormBase) and any("running" in b for b in buffers):
            raise ProbeError(
                f"statistics=held: normalisation {name!r} ({type(module).__name__}) is none of torch's batch "
                "normalisations; use statistics=moving"
            )


def sharing(ask: Ask, view: View) -> dict[tuple[tuple[str, ...], bool], list[CurvatureReduction]]:
    """The reductions that share a pass, by the parameters that they look at and by what becomes of the statistics."""
    found: dict[tuple[tuple[str, ...], bool], list[CurvatureReduction]] = {}
    for reduction in ask.asked.curvatures:
        found.setdefault((reduction.parameters(view), reduction.holds_statistics()), []).append(reduction)
    return found


def curvature_operations(ask: Ask, view: View, costs: Costs) -> float:
    """Operations on the example batch, at most: each reduction says of how many products."""
    operations = 0.0
    first = next((leaf for leaf in view.leaves if leaf.operations), None)
    convolution = first is not None and len(first.shape) > 2
    product = 3 * costs.backward if convolution else max(4 * costs.backward - 2 * costs.forward, 0)
    for reductions in sharing(ask, view).values():
        hessian = sum(reduction.hessian_products() for reduction in reductions)
        operations += (costs.training if hessian else costs.forward) + hessian * product
        operations += costs.backward * sum(reduction.jacobian_products(view) for reduction in reductions)
    return operations


def curvature_bytes(ask: Ask, view: View, costs: Costs) -> float:
    """Peak bytes, on the example batch."""
    most = 0.0
    for (names, _), reductions in sharing(ask, view).items():
        numbers = sum(torch.Size(view.shapes[name]).numel() for name in names)
        hessian = any(reduction.hessian_products() for reduction in reductions)
        graph = GRAPHS * costs.graph_bytes if hessian else costs.graph_bytes
        vectors = 5 * numbers * view.itemsize if hessian else 0  # parameters, gradient twice, a product twice
        work = max(reduction.working_bytes(view, costs.taps) for reduction in reductions)
        most = max(most, graph + vectors + work)
    return most
