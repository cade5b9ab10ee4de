"""The one pure evaluation: (parameters, buffers, batch, step) -> loss, gradients, reductions."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from probes import reductions as ask_for
from probes.objective import Loss, Objective
from probes.points import Point
from probes.protocol import Need
from probes.randomness import at_step
from probes.reductions import (
    NormalisationTerms,
    Reduction,
    TapGradientReduction,
    TapReduction,
    reduce_together,
)
from probes.shadow import RandomState, Shadow, Visit

Results = dict[Need, Tensor]
R = TypeVar("R", bound=Reduction)


@dataclass(frozen=True)
class Ask:
    """Everything asked at one point of one batch.

    Args:
        batch, point: where.
        needs: what the probes asked for there.
        gradient: whether the gradient here is needed by others (a walk along it, a difference from it).
    """

    batch: str
    point: Point
    needs: tuple[Need, ...]
    gradient: bool = False
    reductions: tuple[Reduction, ...] = field(init=False, compare=False, repr=False)
    by_tap: Mapping[str, tuple[TapReduction, ...]] = field(init=False, compare=False, repr=False)
    hold: frozenset[str] = field(init=False, compare=False, repr=False)
    need_of: Mapping[int, Need] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reductions", tuple(need.reduction for need in self.needs))
        by_tap: dict[str, tuple[TapReduction, ...]] = {}
        for reduction in self.of(TapReduction):
            by_tap[reduction.tap] = (*by_tap.get(reduction.tap, ()), reduction)
        object.__setattr__(self, "by_tap", by_tap)
        held = {tap for reduction in self.of(TapGradientReduction) for tap in reduction.taps()}
        object.__setattr__(self, "hold", frozenset(held))
        # by identity: hashing a reduction takes as long as some reductions
        object.__setattr__(self, "need_of", {id(need.reduction): need for need in self.needs})

    def of(self, kind: type[R]) -> list[R]:
        """Those of the reductions that are of ``kind``."""
        return [reduction for reduction in self.reductions if isinstance(reduction, kind)]

    def asks(self, level: str) -> bool:
        """Whether a reduction of this level is asked."""
        return bool(self.of_level(level))

    def of_level(self, level: str) -> tuple[Reduction, ...]:
        """The reductions of this level."""
        return tuple(reduction for reduction in self.reductions if reduction.level == level)

    @property
    def backward(self) -> bool:
        """Whether a gradient is needed."""
        return self.gradient or self.asks("backward")

    @property
    def forward(self) -> bool:
        """Whether the network must be run."""
        return self.backward or self.asks("forward")


# small taps wait for each other, up to so many numbers, and are reduced together
_SMALL_TAP, _WAITING = 2**15, 2**21


class Collector:
    """Receives the reductions of one ask.

    Args:
        ask: what is asked.
        results: where the answers go.
        ordered: whether a tap keeps its values after it was visited (a chain sees to that).
    """

    def __init__(self, ask: Ask, results: Results, ordered: bool = False) -> None:
        self.ask, self.results, self.ordered = ask, results, ordered
        self._waiting: list[tuple[Sequence[TapReduction], Tensor]] = []
        self._numbers = 0

    def add(self, reduction: Reduction, value: Tensor) -> None:
        """Keeps one value."""
        self.results[self.ask.need_of[id(reduction)]] = value.detach()

    def visit(self, tap: str, value: Tensor) -> None:
        """Reduces a tap at once, so that nothing is held; small ones with those that follow."""
        wanted = self.ask.by_tap.get(tap)
        if not wanted:
            return
        if self.ordered and value.ndim == 2 and value.numel() <= _SMALL_TAP:
            self._waiting.append((wanted, value.detach()))
            self._numbers += value.numel()
            if self._numbers > _WAITING:
                self.flush()
            return
        with torch.no_grad():
            for reduction in wanted:
                self.add(reduction, reduction.reduce(value.detach()))

    @torch.no_grad()
    def flush(self) -> None:
        """Reduces the taps that wait; to be called when the network has run."""
        alike: dict[tuple[int, torch.dtype], list[tuple[Sequence[TapReduction], Tensor]]] = {}
        for wanted, value in self._waiting:
            alike.setdefault((len(value), value.dtype), []).append((wanted, value))
        self._waiting, self._numbers = [], 0
        for taps in alike.values():
            for reduction, found in reduce_together(taps):
                self.add(reduction, found)

    def loss(self, loss: Loss) -> None:
        """The loss and its parts."""
        for reduction in self.ask.of(ask_for.LossParts):
            self.add(reduction, torch.stack([loss.total, loss.data_loss, loss.penalty]))

    @torch.no_grad()
    def parameters(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
        """What is asked of the parameters at the point; ``start`` is theta_t."""
        for reduction in self.ask.reductions:
            if isinstance(reduction, ask_for.ParameterNorms):
                self.add(reduction, ask_for.norms(list(values.values())))
            elif isinstance(reduction, ask_for.UpdateNorms):
                self.add(reduction, ask_for.distances(list(values.values()), [start[n] for n in values]))
            elif isinstance(reduction, ask_for.ParameterValues):
                source = values if reduction.parameter in values else start  # what is not trained stays
                self.add(reduction, source[reduction.parameter].detach().clone())

    @torch.no_grad()
    def gradients(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor] | None, values: Mapping[str, Tensor]
    ) -> None:
        """What is asked of the gradients; ``reference`` is Before's on the same batch, ``values`` the parameters."""
        for reduction in self.ask.reductions:
            if isinstance(reduction, ask_for.GradientNorms):
                self.add(reduction, ask_for.norms(list(gradients.values())))
            elif isinstance(reduction, ask_for.GradientComparison):
                assert reference is not None
                self.add(reduction, ask_for.comparison(list(gradients.values()), [reference[n] for n in gradients]))
            elif isinstance(reduction, ask_for.GradientProducts):
                self.add(reduction, ask_for.products([values[n] for n in gradients], list(gradients.values())))
            elif isinstance(reduction, ask_for.GradientValues):
                self.add(reduction, gradients[reduction.parameter].clone())

    @torch.no_grad()
    def tap_gradients(self, held: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """What is asked of the gradients at taps."""
        values = {name: value.detach() for name, value in held.items()}
        together: dict[int, list[NormalisationTerms]] = {}
        for reduction in self.ask.of(TapGradientReduction):
            y = values[reduction.taps()[0]]
            if isinstance(reduction, NormalisationTerms) and y.ndim == 2 and y.numel() <= _SMALL_TAP:
                together.setdefault(len(y), []).append(reduction)
            else:
                self.add(reduction, reduction.reduce(values, gradients))
        for terms in together.values():
            for reduction, found in zip(terms, NormalisationTerms.together(terms, values, gradients), strict=True):
                self.add(reduction, found)


def nothing(tap: str, value: Tensor) -> None:
    """A visit that reads no tap."""


@dataclass
class Counts:
    """What the engine has evaluated so far."""

    forwards: int = 0
    backwards: int = 0
    hybrids: int = 0


class Evaluator:
    """Evaluates asks on a shadow, at one probed step.

    Args:
        shadow: the copy that everything runs on.
        objective: the loss.
        seed: the run's.
    """

    def __init__(self, shadow: Shadow, objective: Objective, seed: int) -> None:
        self.shadow, self.objective, self.seed = shadow, objective, seed
        self.counts = Counts()

    def begin(self, step: int, buffers: Mapping[str, Tensor], modes: Sequence[bool], random: RandomState) -> None:
        """The state that every evaluation of this step starts from."""
        self.step, self.buffers, self.random = step, buffers, random
        self.shadow.set_modes(modes)

    @contextlib.contextmanager
    def pure(self, gradients: bool) -> Iterator[None]:
        """Buffers, random numbers, mode and precision as at the start of the step."""
        self.shadow.reset(self.buffers)
        self.random.restore()
        precise = torch.autocast(self.shadow.device.type, enabled=False)
        with at_step(self.seed, self.step), precise, torch.set_grad_enabled(gradients):
            yield

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        visit: Visit,
        hold: frozenset[str],
        flush: Callable[[], None] = lambda: None,
    ) -> tuple[Loss, dict[str, Tensor]]:
        """Forward pass with the shadow's present parameters; ``flush`` is called when the network has run."""
        held: dict[str, Tensor] = {}

        def forward(values: Tensor) -> Tensor:
            output, taken = self.shadow.forward(values, visit, hold)
            flush()
            held.update(taken)
            return output

        self.counts.forwards += 1
        return self.objective(forward, self.shadow.network, inputs, targets), held

    def evaluate(
        self,
        ask: Ask,
        inputs: Tensor,
        targets: Tensor,
        results: Results,
        reference: Mapping[str, Tensor] | None,
        start: Mapping[str, Tensor],
        names: Sequence[str] | None = None,
    ) -> dict[str, Tensor] | None:
        """Everything asked at the shadow's present parameters, and the gradient if there is one.

        Args:
            ask: what is asked.
            inputs, targets: the batch.
            results: where the reductions go.
            reference: Before's gradient on the same batch, by parameter.
            start: theta_t, by parameter.
            names: parameters to take the gradient of; None for all that are trained.
        """
        collector = Collector(ask, results, self.shadow.steps is not None)
        parameters = {name: self.shadow.trainable[name] for name in names or self.shadow.trainable}
        collector.parameters(parameters, start)
        if not ask.forward:
            return None
        with self.pure(ask.backward):
            loss, held = self.loss(inputs, targets, collector.visit, ask.hold, collector.flush)
            collector.loss(loss)
            if not ask.backward:
                return None
            gradients = self.differentiate(loss.total, [*parameters.values(), *held.values()])
        found = dict(zip(parameters, gradients, strict=False))
        collector.gradients(found, reference, parameters)
        collector.tap_gradients(held, dict(zip(held, gradients[len(parameters) :], strict=True)))
        return found

    def differentiate(self, total: Tensor, variables: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of ``total``; zeros where it does not depend on a variable."""
        self.counts.backwards += 1
        if not total.requires_grad:
            return [torch.zeros_like(variable) for variable in variables]
        found = torch.autograd.grad(total, list(variables), allow_unused=True)
        return [torch.zeros_like(v) if g is None else g for g, v in zip(found, variables, strict=True)]

    def double(self, ask: Ask, inputs: Tensor, targets: Tensor, results: Results) -> None:
        """Second derivatives at the shadow's present parameters, by differentiating twice or by differences."""
        collector = Collector(ask, results)
        curvatures, products = ask.of(ask_for.TapCurvature), ask.of(ask_for.HessianProducts)
        hold = frozenset(tap for reduction in curvatures for tap in (reduction.before, reduction.after))
        parameters = list(self.shadow.trainable.values())
        with self.pure(True):
            for difference in ask.of(ask_for.DifferenceProducts):
                collector.add(difference, self._difference(inputs, targets))
        if not curvatures and not products:
            return
        with self.pure(True):
            loss, held = self.loss(inputs, targets, nothing, hold)
            for reduction in curvatures:
                self._curvature(reduction, collector, loss.total, held)
            for product in products:
                first = torch.autograd.grad(loss.total, parameters, create_graph=True, materialize_grads=True)
                vector = [gradient.detach() for gradient in first]
                # where the loss is linear in a parameter, its gradient depends on nothing
                curved = [i for i, gradient in enumerate(first) if gradient.requires_grad]
                outputs, along = [first[i] for i in curved], [vector[i] for i in curved]
                second = torch.autograd.grad(outputs, parameters, along, materialize_grads=True)
                collector.add(product, torch.stack([ask_for.norms(second), ask_for.products(second, vector)]))

    def _difference(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The derivative of the gradient along itself as a quotient of differences, in float64: see the reduction."""
        network = copy.deepcopy(self.shadow.network).to(torch.float64)
        parameters: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        inputs, targets = (v.double() if v.is_floating_point() else v for v in (inputs, targets))

        def gradient() -> list[Tensor]:
            with torch.no_grad():
                for name, buffer in network.named_buffers():
                    buffer.copy_(self.buffers[name])
            self.random.restore()
            self.counts.forwards += 1
            return self.differentiate(self.objective(network, network, inputs, targets).total, parameters)

        first = gradient()
        length = torch.stack(torch._foreach_norm(first)).norm()
        with torch.no_grad():
            step = 1e-7 * torch.stack(torch._foreach_norm(parameters)).norm() / length
            torch._foreach_sub_(parameters, [step * g for g in first])
        curved = [(a - b) / step for a, b in zip(first, gradient(), strict=True)]
        return torch.stack([ask_for.norms(curved), ask_for.products(curved, first), ask_for.norms(first)])

    def _curvature(
        self, reduction: ask_for.TapCurvature, collector: Collector, total: Tensor, held: Mapping[str, Tensor]
    ) -> None:
        y, z = held[reduction.before], held[reduction.after]
        vector = torch.autograd.grad(total, y, retain_graph=True)[0]
        axes = [0, *range(2, y.ndim)]
        fixed = y.detach()
        variance, mean = torch.var_mean(fixed, axes, correction=0, keepdim=True)
        scale = (variance + reduction.epsilon).rsqrt()
        normalised = (fixed - mean) * scale
        # through the standard deviation too: with eps > 0, v is not orthogonal to yhat
        moved = vector - normalised * (normalised * vector).mean(axes, keepdim=True)
        if reduction.gamma is not None:
            scale = scale * self.shadow.parameters[reduction.gamma].detach().reshape(variance.shape)
        values = []
        for tap, direction in ((y, vector), (z, scale * moved)):
            first = torch.autograd.grad(total, tap, create_graph=True)[0]
            if first.requires_grad:
                along = torch.autograd.grad(first, tap, direction, retain_graph=True, materialize_grads=True)[0]
                values.append(ask_for.products([direction], [along])[0])
            else:  # linear above this tap
                values.append(torch.zeros((), dtype=torch.float64, device=tap.device))
        collector.add(reduction, torch.stack(values))
