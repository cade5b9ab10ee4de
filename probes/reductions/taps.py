"""Taps and their gradients, whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from probes.network import View
from probes.reductions.reduction import TapGradientReduction, TapReduction
from probes.reductions.sums import PIECE, norms


@dataclass(frozen=True)
class TapValues(TapReduction):
    """Shape of the tap: its values (held whole)."""

    as_it_is = True

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        return values.clone()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (samples, *view.leaf(self.tap).shape[1:])


@dataclass(frozen=True)
class TapGradientNorm(TapGradientReduction):
    """(2,): norms of the gradient of the total loss with respect to the tap, and of the tap."""

    tap: str

    def taps(self) -> tuple[str, ...]:
        """See :class:`Reduction`."""
        return (self.tap,)

    def reduce(self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
        """See :class:`TapGradientReduction`."""
        return norms([gradients[self.tap], values[self.tap]])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (2,)

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. A piece of it in float64, and its square."""
        return 16.0 * PIECE


@dataclass(frozen=True)
class TapGradient(TapGradientReduction):
    """Shape of the tap: the gradient of the total loss with respect to it (held whole)."""

    tap: str

    def taps(self) -> tuple[str, ...]:
        """See :class:`Reduction`."""
        return (self.tap,)

    def reduce(self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
        """See :class:`TapGradientReduction`."""
        return gradients[self.tap].clone()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (samples, *view.leaf(self.tap).shape[1:])
