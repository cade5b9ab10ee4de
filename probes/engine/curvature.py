"""The level "curvature": hands reductions v -> H v, and v -> J v, u -> J^T u between taps, on one differentiated pass.

Nothing is run to find its price. Where layers multiply matrices, forward and backward pass take F and B operations,
and a product with the Hessian 4 B - 2 F: it differentiates each of their products by both factors. A convolution that
comes first takes 2 F - B more, as torch differentiates it by its inputs too. Of what is alive meanwhile the first
pass's graph is measured; with the second one and a product at work it is GRAPHS times that.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from probes import statistics
from probes.engine.ask import Ask
from probes.engine.batches import samples
from probes.engine.checks import check_differentiable, check_twice
from probes.engine.collector import Collector, Results, nothing
from probes.engine.costs import Arithmetic, Costs
from probes.engine.evaluation import Evaluator
from probes.engine.reduction_state import ReductionState
from probes.errors import ProbeError
from probes.network import View, normalises_by_batch
from probes.randomness import seeded_generator
from probes.reductions.derivatives import CurvatureReduction, Taken
from probes.reductions.reduction import Reduction
from probes.statistics import Given

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
    for (names, source), reductions in sharing(ask, evaluator.shadow.view).items():
        hold = frozenset(tap for reduction in reductions for tap in reduction.taps())
        hessian = any(reduction.hessian_products() for reduction in reductions)
        with evaluator.pure(), statistics_from(evaluator.shadow.network, source):
            loss, held = evaluator.loss(inputs, targets, nothing, hold)
            curvature = Curvature(evaluator, loss.total, held, names, hessian)
            del loss
            for reduction in reductions:
                found = reduction.reduce(curvature, kept.of(ask.need_of[id(reduction)]))
                collector.add(reduction, found)


@contextlib.contextmanager
def statistics_from(network: nn.Module, source: Taken) -> Iterator[None]:
    """Within it normalisations take their statistics from ``source``.

    Those that ask (:mod:`probes.statistics`) are told; torch's own, which do not, are computed again. Where the
    batch's are held, that is done to all of torch's kind.
    """
    if source == "moving":
        yield
        return
    if source == "held":
        with _computed_again(network, _of_batch):
            yield
        return
    with statistics.taken_from(source.values if isinstance(source, Given) else source):
        own = {}  # as they are now: the modules' own passes will move them
        for name, module in network.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not hasattr(module, "place"):
                assert module.running_mean is not None
                assert module.running_var is not None
                now = {"running_mean": module.running_mean.clone(), "running_var": module.running_var.clone()}
                own[module] = statistics.held(name, **now)
        with _computed_again(network, lambda module, x: own.get(module)):
            yield


def _of_batch(module: nn.modules.batchnorm._BatchNorm, x: Tensor) -> tuple[Tensor, ...] | None:
    if not normalises_by_batch(module):
        return None
    variance, mean = torch.var_mean(x.detach(), [0, *range(2, x.ndim)], correction=0)
    return mean, variance


@contextlib.contextmanager
def _computed_again(
    network: nn.Module, found: Callable[[nn.modules.batchnorm._BatchNorm, Tensor], tuple[Tensor, ...] | None]
) -> Iterator[None]:
    """Within it torch's batch normalisations give what mean and variance of ``found`` make of x; None: what they do."""

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        assert isinstance(module, nn.modules.batchnorm._BatchNorm)
        taken = found(module, args[0])
        if taken is None:
            return None
        mean, variance = taken
        return nn.functional.batch_norm(args[0], mean, variance, module.weight, module.bias, False, 0.0, module.eps)

    all_of_torch = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    handles = [module.register_forward_hook(hook, prepend=True) for module in all_of_torch]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_curvature(evaluator: Evaluator, ask: Ask, inputs: Any, targets: Any) -> None:
    """Refuses second derivatives that would lie, that a kernel lacks, or of statistics that cannot be had.

    Raises:
        ProbeError: the first one.
    """
    curved: dict[Taken, Reduction] = {}
    for reduction in (*ask.asked.second_derivatives[:1], *ask.asked.curvatures):
        source = reduction.source() if isinstance(reduction, CurvatureReduction) else "moving"
        curved.setdefault(source, reduction)
    for source, reduction in curved.items():
        if source not in ("moving", "held"):
            _check_source(evaluator.shadow.network, source)
        within: Taken = "moving" if source == "held" else source
        told = functools.partial(statistics_from, evaluator.shadow.network, within)
        check_differentiable(evaluator, reduction, inputs, targets, told)
        if source == "held":
            _check_source(evaluator.shadow.network, source)
        if source != "moving":
            _check_apart(evaluator, source, inputs, targets)
    if curved:
        check_twice(evaluator, ask, inputs, targets)


def _check_source(network: nn.Module, source: Taken) -> None:
    """Refuses statistics that cannot be held.

    Raises:
        ProbeError: a normalisation keeps running statistics, is none of torch's, and does not ask where to take them
            from; or running ones are asked for and it keeps none.
    """
    told = "given" if isinstance(source, Given) else source
    for name, module in network.named_modules():
        buffers = [buffer for buffer, _ in module.named_buffers(recurse=False)]
        of_torch = isinstance(module, nn.modules.batchnorm._NormBase if told == "held" else _BATCH_NORM)
        asks = told != "held" and hasattr(module, "place")
        if not (of_torch or asks) and any("running" in b for b in buffers):
            raise ProbeError(
                f"statistics={told}: normalisation {name!r} ({type(module).__name__}) is none of torch's batch "
                "normalisations; use statistics=moving"
            )
        if told != "held" and isinstance(module, _BATCH_NORM) and module.running_mean is None:
            raise ProbeError(f"statistics={told}: normalisation {name!r} keeps no running ones; use moving or held")


_BATCH_NORM = nn.modules.batchnorm._BatchNorm


def _check_apart(evaluator: Evaluator, source: Taken, inputs: Any, targets: Any) -> None:
    """Refuses statistics as constants where the samples of a batch see each other all the same.

    So they do through a module that takes statistics of its own accord. Some samples' outputs are differentiated by
    what enters the network and by what leaves each leaf.

    Raises:
        ProbeError: one depends on other samples.
    """
    count, taps = samples(inputs), [leaf.tap for leaf in evaluator.shadow.view.leaves if leaf.seen]
    with evaluator.rehearsal(), evaluator.pure(), statistics_from(evaluator.shadow.network, source):
        own = tree_map(_variable, inputs)
        loss, held = evaluator.loss(own, targets, nothing, frozenset(taps))
        variables = [x for x in (*tree_leaves(own), *held.values()) if _of_samples(x, count)]
        outputs = [x.reshape(count, -1) for x in tree_leaves(loss.output) if _of_samples(x, count)]
        if not outputs or not variables:
            return
        joined = torch.cat([torch.view_as_real(x).flatten(1) if x.is_complex() else x for x in outputs], 1)
        # a plain sum may be constant, as of layer normalisation's outputs
        uneven = torch.linspace(1, 2, joined.shape[1], dtype=joined.dtype, device=joined.device)
        for sample in sorted({0, count // 2, count - 1}):
            own_output = (joined[sample] * uneven).sum()
            found = torch.autograd.grad(own_output, variables, retain_graph=True, allow_unused=True)
            sizes = [g.abs().reshape(count, -1).amax(1) for g in found if g is not None and g.numel()]
            for size in sizes:
                others = size.clone()
                others[sample] = 0
                if others.max() > 1e-6 * size.max():
                    raise ProbeError(
                        f"statistics={'given' if isinstance(source, Given) else source}: the samples of a batch see "
                        "each other all the same, through a module that takes statistics of its own, or else the "
                        "first dimension is not that of samples; use statistics=moving"
                    )


def _of_samples(x: Any, count: int) -> bool:
    """Whether it is a value of each sample that can be differentiated by, or be differentiated."""
    return isinstance(x, Tensor) and x.requires_grad and x.ndim > 0 and len(x) == count


def _variable(x: Any) -> Any:
    return x.detach().clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x


def sharing(ask: Ask, view: View) -> dict[tuple[tuple[str, ...], Taken], list[CurvatureReduction]]:
    """The reductions that share a pass, by the parameters that they look at and by what becomes of the statistics."""
    found: dict[tuple[tuple[str, ...], Taken], list[CurvatureReduction]] = {}
    for reduction in ask.asked.curvatures:
        found.setdefault((reduction.parameters(view), reduction.source()), []).append(reduction)
    return found


def curvature_operations(ask: Ask, view: View, costs: Arithmetic) -> float:
    """Operations on the example batch, or of a population beside it, at most: each reduction says how many products."""
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
