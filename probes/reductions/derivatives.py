"""What a reduction is that takes products with the Hessian, or with Jacobians between taps."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import Asked, Reduction
from probes.statistics import Given

Taken = Literal["moving", "held", "running"] | Given
"""moving: from the batch, so functions of parameters; held: the batch's, as constants; running: the running ones,
as they stood before the batch moved them; or given ones. All else is as in training."""


class Derivatives(Protocol):
    """The level "curvature", as a reduction sees it: derivatives of one forward pass; parameters as one flat vector."""

    parameters: Tensor
    """(numbers,): those looked at, one after the other."""
    gradient: Tensor
    """(numbers,): of the total loss."""

    def hessian(self, v: Tensor) -> Tensor:
        """H v, both (numbers,)."""

    def value(self, tap: str) -> Tensor:
        """A tap's values."""

    def jacobian(self, before: str, after: str, v: Tensor) -> Tensor:
        """J v, J being the derivative of the tap ``after`` by the tap ``before``; shaped as they are."""

    def transposed(self, before: str, after: str, u: Tensor) -> Tensor:
        """J^T u."""

    def generator(self, *place: int | str) -> torch.Generator:
        """A function of (seed, step, place)."""


@dataclass(frozen=True)
class CurvatureReduction(Reduction):
    """Takes products with the Hessian, or with Jacobians between taps; refused on networks that stop gradients."""

    before_only = True

    def join(self, asked: Asked) -> None:
        """See :class:`Reduction`."""
        asked.curvatures.append(self)

    @abc.abstractmethod
    def reduce(self, curvature: Derivatives, carried: dict[str, Tensor]) -> Tensor:
        """The answer.

        Args:
            curvature: the products.
            carried: what this reduction put into it at earlier probed steps; part of the checkpoint.
        """

    def parameters(self, view: View) -> tuple[str, ...]:
        """The parameters of the Hessian."""
        return view.parameters

    def source(self) -> Taken:
        """Where normalisations take their statistics from."""
        return "moving"

    def hessian_products(self) -> int:
        """How many products with the Hessian it takes, at most."""
        return 0

    def jacobian_products(self, view: View) -> float:
        """Products with Jacobians or their transposes that it takes, at most, in units of a whole backward pass."""
        return 0
