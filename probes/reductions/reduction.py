"""What a reduction is: one thing asked at a point, which itself says what it reads, answers and costs.

A new one is a frozen dataclass in a file of its own, derived from the class here that reads what it needs; nothing has
to be told of it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.objective import Loss

if TYPE_CHECKING:
    from probes.reductions.derivatives import CurvatureReduction


@dataclass(frozen=True)
class Reduction(abc.ABC):
    """One thing asked at a point of a batch."""

    rests_on_before: ClassVar[bool] = False
    """Whether Before's gradient on the same batch must be there first."""
    by_parameter: ClassVar[bool] = False
    """Whether the last axis of the answer is the parameters, each for itself; only such are asked at a Hybrid."""
    before_only: ClassVar[bool] = False
    """Whether it can be asked before the update only."""

    def check(self, view: View) -> None:
        """Whether the network has what it reads.

        Raises:
            ProbeError: it has not.
        """
        for tap in self.taps():
            view.leaf(tap)

    def taps(self) -> tuple[str, ...]:
        """The taps that it reads."""
        return ()

    @abc.abstractmethod
    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """The shape that the answer will have.

        Args:
            view: the network.
            names: the parameters that are looked at: all that are trained; of a Hybrid its layer's.
            samples: of the batch.
        """

    @abc.abstractmethod
    def join(self, asked: Asked) -> None:
        """Stands in the list of those that read what it reads."""

    def carried_numbers(self, view: View) -> int:
        """Numbers that it keeps from one probed step to the next, in the type of the evaluations."""
        return 0

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """Bytes that it takes while it works, beside what it reads, on the example batch.

        Args:
            view: the network.
            tap_bytes: of each tap.
        """
        return 0


@dataclass
class Asked:
    """What is asked at one point of one batch, by what it reads."""

    loss: list[LossReduction] = field(default_factory=list)
    parameters: list[ParameterReduction] = field(default_factory=list)
    taps: dict[str, list[TapReduction]] = field(default_factory=dict)
    gradients: list[GradientReduction] = field(default_factory=list)
    tap_gradients: list[TapGradientReduction] = field(default_factory=list)
    second_derivatives: list[SecondDerivative] = field(default_factory=list)
    differences: list[DifferenceReduction] = field(default_factory=list)
    states: list[StateReduction] = field(default_factory=list)
    changes: list[ChangeReduction] = field(default_factory=list)
    curvatures: list[CurvatureReduction] = field(default_factory=list)


@dataclass(frozen=True)
class LossReduction(Reduction):
    """Reads the loss; one forward pass."""

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.loss.append(self)

    @abc.abstractmethod
    def reduce(self, loss: Loss) -> Tensor:
        """The answer."""


@dataclass(frozen=True)
class ParameterReduction(Reduction):
    """Reads the parameters; no pass at all."""

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.parameters.append(self)

    @abc.abstractmethod
    def reduce(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
        """The answer.

        Args:
            values: the trained parameters at the point, by name.
            start: all parameters at theta_t, by name.
        """


@dataclass(frozen=True)
class StateReduction(Reduction):
    """Reads theta_t, buffers_t and what it kept at probed steps before; no pass at all."""

    before_only = True

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.states.append(self)

    @abc.abstractmethod
    def reduce(self, values: Mapping[str, Tensor], buffers: Mapping[str, Tensor], carried: dict[str, Tensor]) -> Tensor:
        """The answer.

        Args:
            values: the trained parameters, by name.
            buffers: the network's, before the step moved them, by name.
            carried: what this reduction put into it at earlier probed steps; part of the checkpoint.
        """


@dataclass(frozen=True)
class TapReduction(Reduction):
    """Reads one tap's values as soon as they are there; one forward pass."""

    tap: str
    as_it_is: ClassVar[bool] = False
    """Whether it reads the tap in its own shape; else units come second, wherever the layer has them."""

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.taps.setdefault(self.tap, []).append(self)

    def taps(self) -> tuple[str, ...]:
        """See :class:`Reduction`."""
        return (self.tap,)

    @abc.abstractmethod
    def reduce(self, values: Tensor) -> Tensor:
        """The answer of ``values``, (samples, units, ...)."""

    def alike(self) -> Hashable | None:
        """Those of a class that say the same here are answered by :meth:`together`; None: it is answered alone."""
        return None

    @classmethod
    def together(cls, members: Sequence[Self], units: Tensor, places: Sequence[range]) -> Sequence[Tensor]:
        """The answers of ``members``, each of a small tap (samples, features), at once.

        Args:
            members: reductions of this class that are alike.
            units: (units, samples) of many taps.
            places: the rows of each member's tap.
        """
        raise NotImplementedError

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. One tap is copied at a time."""
        return 2 * tap_bytes.get(self.tap, 0)


@dataclass(frozen=True)
class GradientReduction(Reduction):
    """Reads the gradient with respect to the parameters; a forward and a backward pass."""

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.gradients.append(self)

    @abc.abstractmethod
    def reduce(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Tensor:
        """The answer.

        Args:
            gradients: of the total loss at the point, by parameter.
            reference: Before's on the same batch, where :attr:`rests_on_before`.
            values: the parameters at the point.
        """


@dataclass(frozen=True)
class TapGradientReduction(Reduction):
    """Reads values at taps and the gradients of the total loss with respect to them; forward and backward pass."""

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.tap_gradients.append(self)

    @abc.abstractmethod
    def reduce(self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
        """The answer; ``values`` and ``gradients`` by tap."""

    def alike(self, values: Mapping[str, Tensor]) -> Hashable | None:
        """As :meth:`TapReduction.alike`, given the values by tap."""
        return None

    @classmethod
    def together(
        cls, members: Sequence[Self], values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> Sequence[Tensor]:
        """The answers of ``members``, which are alike, at once."""
        raise NotImplementedError


@dataclass(frozen=True)
class Graph:
    """A forward pass that is differentiated more than once."""

    total: Tensor
    """The total loss; scalar."""
    held: Mapping[str, Tensor]
    """The taps that were asked for."""
    trained: Mapping[str, Tensor]
    """The trained parameters."""
    parameters: Mapping[str, Tensor]
    """All parameters."""
    retain: bool
    """Whether others will differentiate it after this one."""


@dataclass(frozen=True)
class SecondDerivative(Reduction):
    """Differentiates twice; refused on networks that stop gradients. One forward pass serves all of them."""

    before_only = True

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.second_derivatives.append(self)

    @abc.abstractmethod
    def reduce(self, graph: Graph) -> Tensor:
        """The answer."""


@dataclass(frozen=True)
class ChangeReduction(Reduction):
    """Reads a module's output with weights of theta_t or of theta_{t+1}, on what it is given at either.

    Asked at After, where a loss is asked at Before on the same batch too. Beside their passes, one evaluation of the
    module with the new weights on the old inputs, and one the other way round.
    """

    module: str

    def check(self, view: View) -> None:
        """See :class:`Reduction`."""
        known = [leaf.module for leaf in view.leaves if leaf.module is not None]
        if self.module not in known:
            raise ProbeError(f"module {self.module!r}: no leaf of this network; there are {', '.join(known)}")

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.changes.append(self)

    @abc.abstractmethod
    def reduce(self, before: Tensor, new_weights: Tensor, new_inputs: Tensor, after: Tensor) -> Tensor:
        """The answer.

        Args:
            before, after: the output at theta_t and at theta_{t+1}.
            new_weights: that with weights of theta_{t+1} on the inputs of theta_t.
            new_inputs: that with weights of theta_t on the inputs of theta_{t+1}.
        """


@dataclass(frozen=True)
class DifferenceReduction(Reduction):
    """Second derivatives by differences of gradients, in float64 on a copy of the network."""

    before_only = True

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.differences.append(self)

    @abc.abstractmethod
    def reduce(self, parameters: list[Tensor], gradient: Callable[[], list[Tensor]]) -> Tensor:
        """The answer.

        Args:
            parameters: the trained ones of the copy, at theta_t; they may be moved.
            gradient: the gradient where they then stand.
        """
