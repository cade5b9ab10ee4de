"""The prefix trick for the hybrids of Definition 2.1 (Santurkar et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from probes.evaluate import Ask, Collector, Evaluator, Results, nothing
from probes.objective import weight_matrices
from probes.points import Hybrid
from probes.reductions import PIECE, GradientComparison, comparison
from probes.shadow import RandomState, Shadow, Visit, walk


def hybrids(
    evaluator: Evaluator,
    asks: Sequence[Ask],
    after: Ask | None,
    inputs: Tensor,
    targets: Tensor,
    results: Results,
    reference: Mapping[str, Tensor] | None,
    start: Mapping[str, Tensor],
    end: Mapping[str, Tensor],
) -> None:
    """Hybrids of an ordered network in one ascent, sharing the activation of the prefix that has moved.

    For each layer i: run the leaves before it with theta_{t+1} from where the last prefix ended, without a graph; run
    the rest with theta_t; differentiate down to layer i's own parameters. Numbers are those of the full pass bit for
    bit: the same operations on the same operands.

    Args:
        asks: hybrids that move the same kind of parameters, in the order of the layers.
        after: what is asked at After if a forward pass is enough for it: it is the same ascent, carried to the end.
        start, end: theta_t and theta_{t+1}, by parameter.
    """
    shadow, view = evaluator.shadow, evaluator.shadow.view
    assert shadow.steps is not None
    of_after = Collector(after, results, ordered=True) if after is not None else None
    visit = of_after.visit if of_after is not None else nothing
    compared = Comparisons(results, reference)
    shadow.load(start)
    with evaluator.pure(False):
        boundary = evaluator.random
        x, position = inputs, 0
        for ask in asks:
            point = ask.point
            assert isinstance(point, Hybrid)
            layer = view.layer(point.layer)
            shadow.load({name: end[name] for name in view.moving(position, layer.first, point.moves)})
            shadow.reset(evaluator.buffers)
            boundary.restore()
            x = _run(shadow, x, position, layer.first, visit)
            position, boundary = layer.first, RandomState(shadow.device)
            own = {name: shadow.trainable[name] for name in layer.parameters}
            with torch.enable_grad():
                output = _run(shadow, x, position, len(shadow.steps), nothing)
                total = evaluator.objective.data_loss(output, targets)
                if evaluator.objective.weight_decay:
                    total = total + _penalty(evaluator, layer.first, layer.end)
                evaluator.counts.hybrids += 1
                gradients = evaluator.differentiate(total, list(own.values()))
            del output, total
            compared.add(ask, dict(zip(own, gradients, strict=True)), own)
        compared.flush()
        if after is not None and of_after is not None:
            shadow.load(end)
            shadow.reset(evaluator.buffers)
            boundary.restore()
            output = _run(shadow, x, position, len(shadow.steps), visit)
            of_after.flush()
            evaluator.counts.forwards += 1
            of_after.loss(evaluator.objective(lambda _: output, shadow.network, inputs, targets))
            of_after.parameters(shadow.trainable, start)


class Comparisons:
    """Compares the gradients of several hybrids with Before's together, where they are small."""

    def __init__(self, results: Results, reference: Mapping[str, Tensor] | None) -> None:
        self.results, self.reference = results, reference
        self._waiting: list[tuple[Ask, Mapping[str, Tensor]]] = []
        self._numbers = 0

    def add(self, ask: Ask, gradients: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        """Takes the gradients of one hybrid's layer, at parameters ``values``."""
        if any(not isinstance(reduction, GradientComparison) for reduction in ask.reductions):
            Collector(ask, self.results).gradients(gradients, self.reference, values)
            return
        self._waiting.append((ask, gradients))
        self._numbers += sum(gradient.numel() for gradient in gradients.values())
        if self._numbers > PIECE:
            self.flush()

    @torch.no_grad()
    def flush(self) -> None:
        """Compares those that wait."""
        if not self._waiting:
            return
        assert self.reference is not None
        mine = [gradient for _, gradients in self._waiting for gradient in gradients.values()]
        theirs = [self.reference[name] for _, gradients in self._waiting for name in gradients]
        found = comparison(mine, theirs).split([len(gradients) for _, gradients in self._waiting], 1)
        for (ask, _), part in zip(self._waiting, found, strict=True):
            for reduction in ask.reductions:
                Collector(ask, self.results).add(reduction, part)
        self._waiting, self._numbers = [], 0


def _run(shadow: Shadow, x: Tensor, first: int, end: int, visit: Visit) -> Tensor:
    assert shadow.steps is not None
    return walk(shadow.taps[first:end], shadow.steps[first:end], shadow.in_place[first:end], x, visit)[0]


def _penalty(evaluator: Evaluator, first: int, end: int) -> Tensor:
    """The terms of the penalty that depend on the layer's own parameters."""
    matrices = [
        weight.square().sum()
        for leaf in evaluator.shadow.view.leaves[first:end]
        if leaf.module is not None
        for weight in weight_matrices(evaluator.shadow.network.get_submodule(leaf.module), leaf.module)
    ]
    return evaluator.objective.weight_decay / 2 * torch.stack(matrices).sum()
