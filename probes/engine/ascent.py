"""The prefix trick for the hybrids of Definition 2.1 (Santurkar et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from probes.engine.ask import Ask
from probes.engine.chain import Visit
from probes.engine.collector import Collector, Neighbours, Results, nothing
from probes.engine.evaluation import Evaluator
from probes.engine.shadow import Shadow
from probes.generators import RandomState
from probes.network import Layer
from probes.objective import scalar


def ascend(
    evaluator: Evaluator,
    asks: Sequence[Ask],
    carried: Ask | None,
    inputs: Tensor,
    targets: Tensor,
    results: Results,
    reference: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    end: Mapping[str, Tensor],
) -> None:
    """Points of an ordered network with a moved prefix, in one ascent that shares the prefix's activation.

    For each layer i: run the links before its own (a residual block is one) with theta_{t+1} from where the last prefix
    ended, cut off from its graph; run the rest with theta_t, save for what precedes layer i within its link;
    differentiate down to layer i's own parameters. Numbers are those of the full pass bit for bit: the same operations
    on the same operands.

    Args:
        evaluator: of the network's copy.
        asks: of a layer each; they move the same kind of parameters, and are in the order of the layers.
        carried: what is asked at After if a forward pass is enough for it: it is the same ascent, carried to the end.
        inputs, targets: the batch.
        results: where the answers go.
        reference: Before's gradient on the same batch.
        start, end: theta_t and theta_{t+1}, by parameter.
    """
    shadow, view = evaluator.shadow, evaluator.shadow.view
    assert shadow.program is not None
    at_end = Collector(carried, results, ordered=True) if carried is not None else None
    visit = at_end.visit if at_end is not None else nothing
    neighbours = Neighbours(results, reference, start)
    shadow.load(start)
    with evaluator.pure():
        boundary = evaluator.start.random
        x, position, after = inputs, 0, len(shadow.program.steps)
        for ask in asks:
            prefix = ask.point.prefix(view)
            assert prefix is not None
            assert prefix.layer is not None
            if prefix.layer.entry > position:
                shadow.load({name: end[name] for name in view.within(position, prefix.layer.entry, prefix.moves)})
                evaluator.reset()
                boundary.restore()
                x = _cut_off(_run(shadow, x, position, prefix.layer.entry, visit))
                position, boundary = prefix.layer.entry, RandomState(shadow.device)
            within = [name for name in prefix.moving(view) if name in view.within(position, after, prefix.moves)]
            shadow.load({name: end[name] for name in within})
            evaluator.reset()
            boundary.restore()
            own = {name: shadow.trainable[name] for name in ask.point.parameters(view)}
            output = _run(shadow, x, position, after, nothing)
            total = scalar(evaluator.objective.data_loss(output, targets))
            if evaluator.objective.penalised:
                total = total + _penalty(evaluator, prefix.layer, total)
            gradients = evaluator.differentiate(total, list(own.values()))
            del output, total
            shadow.load({name: start[name] for name in within})
            neighbours.add(ask, dict(zip(own, gradients, strict=True)))
        neighbours.flush()
        if at_end is not None:
            shadow.load(end)
            evaluator.reset()
            boundary.restore()
            output = _run(shadow, x, position, after, visit)
            at_end.flush()
            at_end.loss(evaluator.objective(lambda _: output, shadow.network, inputs, targets))
            at_end.parameters(shadow.trainable, start)


def _cut_off(value: Any) -> Any:
    """``value`` without what made it, but requiring a gradient where it did: a layer may ask for that."""
    return tree_map(lambda x: x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x, value)


def _run(shadow: Shadow, x: Any, first: int, end: int, visit: Visit) -> Any:
    assert shadow.program is not None
    return shadow.program.run(shadow.steps, x, visit, first=first, end=end)[0]


def _penalty(evaluator: Evaluator, layer: Layer, like: Tensor) -> Tensor:
    """The terms of the penalty that depend on the layer's own parameters (and others, where a composite holds them)."""
    owners = {_owner(name) for name in layer.parameters}
    within = {o for o in owners for outer in owners if o != outer and (not outer or o.startswith(f"{outer}."))}
    parts = [(evaluator.shadow.network.get_submodule(owner), owner) for owner in sorted(owners - within)]
    return evaluator.objective.penalty(parts, like)


def _owner(parameter: str) -> str:
    """The module that applies a parameter."""
    module, reparametrised, _ = parameter.partition(".parametrizations.")
    return module if reparametrised else parameter.rpartition(".")[0]
