"""The prefix trick for the hybrids of Definition 2.1 (Santurkar et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from probes.evaluate import Ask, Collector, Evaluator, Results, nothing
from probes.objective import weight_matrices
from probes.points import Hybrid
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
    visit = Collector(after, results).visit if after is not None else nothing
    shadow.load(start)
    with evaluator.pure(False):
        boundary = evaluator.random
        x, position = inputs, 0
        moved: set[str] = set()
        for ask in asks:
            point = ask.point
            assert isinstance(point, Hybrid)
            layer = view.layer(point.layer)
            moving = [name for name in view.moved_before(point.layer, point.moves) if name not in moved]
            moved.update(moving)
            shadow.load({name: end[name] for name in moving})
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
            Collector(ask, results).gradients(dict(zip(own, gradients, strict=True)), reference, own)
        if after is not None:
            shadow.load(end)
            shadow.reset(evaluator.buffers)
            boundary.restore()
            output = _run(shadow, x, position, len(shadow.steps), visit)
            evaluator.counts.forwards += 1
            Collector(after, results).loss(evaluator.objective(lambda _: output, shadow.network, inputs, targets))
            Collector(after, results).parameters(shadow.trainable, start)


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
