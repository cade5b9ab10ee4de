"""Receives what is asked at one point while the tensors that it reads are alive."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from probes.engine.ask import Ask
from probes.objective import Loss
from probes.protocol import Need
from probes.reductions.reduction import GradientReduction, Reduction, TapGradientReduction, TapReduction
from probes.reductions.sums import PIECE
from probes.reductions.units import SMALL_TAP, units_second

Results = dict[Need, Tensor]

_WAITING = 2**21
"""Numbers up to which small taps wait for each other, to be reduced together."""


def nothing(tap: str, value: Tensor) -> None:
    """A visit that reads no tap."""


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
        wanted = self.ask.asked.taps.get(tap)
        if not wanted:
            return
        if self.ordered and value.ndim == 2 and value.numel() <= SMALL_TAP:
            self._waiting.append((wanted, value.detach()))
            self._numbers += value.numel()
            if self._numbers > _WAITING:
                self.flush()
            return
        with torch.no_grad():
            units = units_second(value.detach(), self.ask.axes.get(tap, 1))
            for reduction in wanted:
                self.add(reduction, reduction.reduce(value.detach() if reduction.as_it_is else units))

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
        for reduction in self.ask.asked.loss:
            self.add(reduction, reduction.reduce(loss))

    @torch.no_grad()
    def parameters(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
        """What is asked of the parameters at the point; ``start`` is theta_t."""
        for reduction in self.ask.asked.parameters:
            self.add(reduction, reduction.reduce(values, start))

    @torch.no_grad()
    def gradients(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> None:
        """What is asked of the gradients; ``reference`` is Before's on the same batch, ``values`` the parameters."""
        for reduction in self.ask.asked.gradients:
            self.add(reduction, reduction.reduce(gradients, reference, values))

    @torch.no_grad()
    def tap_gradients(self, held: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """What is asked of the gradients at taps."""
        values = {name: value.detach() for name, value in held.items()}
        together: dict[Hashable, list[TapGradientReduction]] = {}
        for reduction in self.ask.asked.tap_gradients:
            if not values.keys() >= set(reduction.taps()):
                continue  # of a leaf that was not called
            alike = reduction.alike(values)
            if alike is None:
                self.add(reduction, reduction.reduce(values, gradients))
            else:
                together.setdefault((type(reduction), alike), []).append(reduction)
        for members in together.values():
            answers = members[0].together(members, values, gradients)
            for reduction, found in zip(members, answers, strict=True):
                self.add(reduction, found)


def reduce_together(taps: Sequence[tuple[Sequence[TapReduction], Tensor]]) -> Iterator[tuple[TapReduction, Tensor]]:
    """The reductions of several taps at once: for networks of many small layers 3 times faster than one by one.

    Args:
        taps: what is asked of each, and its values (samples, features); the samples are as many and of one type.
    """
    units = torch.cat([values for _, values in taps], 1).T.contiguous()
    starts = list(itertools.accumulate((values.shape[1] for _, values in taps), initial=0))
    together: dict[Hashable, list[tuple[TapReduction, range]]] = {}
    for (wanted, values), start, end in zip(taps, starts, starts[1:], strict=False):
        for reduction in wanted:
            alike = reduction.alike()
            if alike is None:
                yield reduction, reduction.reduce(values)
            else:
                together.setdefault((type(reduction), alike), []).append((reduction, range(start, end)))
    for members in together.values():
        reductions = [reduction for reduction, _ in members]
        answers = reductions[0].together(reductions, units, [place for _, place in members])
        yield from zip(reductions, answers, strict=True)


class Neighbours:
    """Reduces the gradients of several points, each with parameters of its own, together where they are small.

    What is asked at them is by parameter.

    Args:
        results: where the answers go.
        reference: Before's gradient on the same batch.
        values: theta_t.
    """

    def __init__(self, results: Results, reference: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        self.results, self.reference, self.values = results, reference, values
        self._waiting: list[tuple[Ask, Mapping[str, Tensor]]] = []
        self._numbers = 0

    def add(self, ask: Ask, gradients: Mapping[str, Tensor]) -> None:
        """Takes the gradients of one point."""
        self._waiting.append((ask, gradients))
        self._numbers += sum(gradient.numel() for gradient in gradients.values())
        if self._numbers > PIECE:
            self.flush()

    @torch.no_grad()
    def flush(self) -> None:
        """Reduces those that wait."""
        gradients = {name: gradient for _, own in self._waiting for name, gradient in own.items()}
        lengths = [len(own) for _, own in self._waiting]
        members: dict[GradientReduction, list[tuple[int, Collector, GradientReduction]]] = {}
        for place, (ask, _) in enumerate(self._waiting):
            collector = Collector(ask, self.results)
            for reduction in ask.asked.gradients:
                members.setdefault(reduction, []).append((place, collector, reduction))
        for reduction, asked in members.items():
            parts = reduction.reduce(gradients, self.reference, self.values).split(lengths, -1)
            for place, collector, own_reduction in asked:
                collector.add(own_reduction, parts[place])
        self._waiting, self._numbers = [], 0
