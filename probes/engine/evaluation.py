"""The one pure evaluation: (parameters, buffers, batch, step) -> loss, gradients, reductions."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from probes.engine.ask import Ask
from probes.engine.carried import Carried, State
from probes.engine.chain import Visit
from probes.engine.collector import Collector, Results, nothing
from probes.engine.hooks import none_for_all_modules
from probes.engine.shadow import Shadow, cast_module, cast_tensor
from probes.generators import RandomState
from probes.objective import Loss, Objective
from probes.randomness import at_step
from probes.reductions.reduction import Graph


class Instant(NamedTuple):
    """All that a pass starts from beside parameters and batch."""

    network: State
    """Modes and plain attributes of the network."""
    loss: State
    """What the loss keeps, if it keeps anything."""
    buffers: Mapping[str, Tensor]
    random: RandomState


class Evaluator:
    """Evaluates asks on a shadow, at one probed step.

    Args:
        shadow: the copy that everything runs on.
        objective: the loss; evaluated on a copy of it too, as it may keep values between calls.
        seed: the run's.
    """

    def __init__(self, shadow: Shadow, objective: Objective, seed: int) -> None:
        self.shadow, self.seed = shadow, seed
        self._loss = Carried(objective.data_loss, shadow.carried, tensors=True)
        self.objective = dataclasses.replace(objective, data_loss=self._loss.copy)

    def instant(self, buffers: Mapping[str, Tensor]) -> Instant:
        """The network's and the loss's present state; ``buffers`` are the network's."""
        held = {name: buffer.detach().clone() for name, buffer in buffers.items()}
        return Instant(self.shadow.carried.take(), self._loss.take(), held, RandomState(self.shadow.device))

    def own_instant(self) -> Instant:
        """That of the copies themselves."""
        held = {name: buffer.clone() for name, buffer in self.shadow.buffers.items()}
        return Instant(self.shadow.carried.own(), self._loss.own(), held, RandomState(self.shadow.device))

    def begin(self, step: int, instant: Instant) -> None:
        """The state that every evaluation of this step starts from."""
        self.step, self.start = step, instant

    def reset(self) -> None:
        """Modes, attributes and buffers as they were then."""
        self.shadow.carried.put(self.start.network)
        self._loss.put(self.start.loss)
        self.shadow.reset(self.start.buffers)

    @contextlib.contextmanager
    def pure(self) -> Iterator[None]:
        """Everything as at the start of the step, in training's mode of gradients and full precision."""
        self.reset()
        self.start.random.restore()
        with self.within():
            yield

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """The circumstances of an evaluation: gradients as in training, no autocast, the step's own noise."""
        precise = torch.autocast(self.shadow.device.type, enabled=False)
        with at_step(self.seed, self.step), precise, torch.enable_grad(), none_for_all_modules():
            yield

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Evaluations before training, after which the copies and the generators are as they were."""
        self.begin(0, self.own_instant())
        try:
            yield
        finally:
            self.reset()
            self.start.random.restore()

    def loss(
        self,
        inputs: Any,
        targets: Any,
        visit: Visit,
        hold: frozenset[str],
        flush: Callable[[], None] = lambda: None,
    ) -> tuple[Loss, dict[str, Tensor]]:
        """Forward pass with the shadow's present parameters; ``flush`` is called when the network has run."""
        held: dict[str, Tensor] = {}

        def forward(values: Any) -> Any:
            output, taken = self.shadow.forward(values, visit, hold)
            flush()
            held.update(taken)
            return output

        return self.objective(forward, self.shadow.network, inputs, targets), held

    def evaluate(
        self,
        ask: Ask,
        inputs: Any,
        targets: Any,
        results: Results,
        reference: Mapping[str, Tensor] | None,
        start: Mapping[str, Tensor],
        check: Callable[[Any], None] = lambda output: None,
    ) -> dict[str, Tensor] | None:
        """Everything asked at the shadow's present parameters, and the gradient if there is one.

        Args:
            ask: what is asked.
            inputs, targets: the batch.
            results: where the reductions go.
            reference: Before's gradient on the same batch, by parameter; None at Before itself.
            start: theta_t, by parameter.
            check: gets the network's output.
        """
        collector = Collector(ask, results, self.shadow.program is not None)
        parameters = {name: self.shadow.trainable[name] for name in ask.point.parameters(self.shadow.view)}
        collector.parameters(parameters, start)
        if not ask.forward:
            return None
        with self.pure():
            loss, held = self.loss(inputs, targets, collector.visit, ask.hold, collector.flush)
            check(loss.output)
            collector.loss(loss)
            if not ask.backward:
                return None
            gradients = self.differentiate(loss.total, [*parameters.values(), *held.values()])
        found = dict(zip(parameters, gradients, strict=False))
        collector.gradients(found, found if reference is None else reference, parameters)
        collector.tap_gradients(held, dict(zip(held, gradients[len(parameters) :], strict=True)))
        return found

    def differentiate(self, total: Tensor, variables: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of ``total``; zeros where it does not depend on a variable."""
        if not total.requires_grad:
            return [torch.zeros_like(variable) for variable in variables]
        found = torch.autograd.grad(total, list(variables), allow_unused=True)
        return [torch.zeros_like(v) if g is None else dense(g) for g, v in zip(found, variables, strict=True)]

    def twice(self, ask: Ask, inputs: Any, targets: Any, results: Results) -> None:
        """Second derivatives at the shadow's present parameters, by differentiating twice or by differences."""
        collector, asked = Collector(ask, results), ask.asked
        for difference in asked.differences:
            with self.pure():
                collector.add(difference, difference.reduce(*self._in_float64(inputs, targets)))
        if asked.second_derivatives:
            hold = frozenset(tap for reduction in asked.second_derivatives for tap in reduction.taps())
            with self.pure():
                loss, held = self.loss(inputs, targets, nothing, hold)
                # those of all parameters last, as they may free the graph while they work
                there = [r for r in asked.second_derivatives if held.keys() >= set(r.taps())]
                in_order = sorted(there, key=lambda reduction: not reduction.taps())
                for reduction in in_order:
                    retain = reduction is not in_order[-1]
                    graph = Graph(loss.total, held, self.shadow.trainable, self.shadow.parameters, retain)
                    collector.add(reduction, reduction.reduce(graph))

    def _in_float64(self, inputs: Any, targets: Any) -> tuple[list[Tensor], Callable[[], list[Tensor]]]:
        """The trained parameters of a copy in float64, and what gives the gradient where they stand."""
        twin = Carried(self.shadow.network)
        network = twin.copy
        cast_module(network, torch.float64)
        twin.settle()
        state = twin.own()
        parameters: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        double = lambda x: cast_tensor(x, torch.float64) if isinstance(x, Tensor) else x  # noqa: E731
        inputs, targets = tree_map(double, inputs), tree_map(double, targets)
        buffers = dict(network.named_buffers())

        def gradient() -> list[Tensor]:
            twin.put(state)
            self._loss.put(self.start.loss)
            with torch.no_grad():
                for name, buffer in buffers.items():
                    buffer.copy_(self.start.buffers[name])
            self.start.random.restore()
            return self.differentiate(self.objective(network, network, inputs, targets).total, parameters)

        return parameters, gradient


def dense(gradient: Tensor) -> Tensor:
    """A gradient with its zeros written out (embeddings may give sparse ones)."""
    return gradient.to_dense() if gradient.layout != torch.strided else gradient
