"""Of the gradient; vectors over the trained parameters in the network's order (of a Hybrid: over its layer's)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.reductions.reduction import GradientReduction
from probes.reductions.sums import comparison, norms, products


@dataclass(frozen=True)
class GradientNorms(GradientReduction):
    """(parameters,): norm of the gradient with respect to each parameter."""

    by_parameter = True

    def reduce(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Tensor:
        """See :class:`GradientReduction`."""
        return norms(list(gradients.values()))

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (len(names),)


@dataclass(frozen=True)
class GradientComparison(GradientReduction):
    """(3, parameters): norm of the difference from Before's gradient on the same batch; inner product with it; norm."""

    rests_on_before = by_parameter = True

    def reduce(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Tensor:
        """See :class:`GradientReduction`."""
        return comparison(list(gradients.values()), [reference[name] for name in gradients])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (3, len(names))


@dataclass(frozen=True)
class GradientProducts(GradientReduction):
    """(parameters,): inner product of each parameter with its gradient."""

    by_parameter = True

    def reduce(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Tensor:
        """See :class:`GradientReduction`."""
        return products([values[name] for name in gradients], list(gradients.values()))

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (len(names),)


@dataclass(frozen=True)
class GradientValues(GradientReduction):
    """Shape of the parameter: its gradient at the point (held whole)."""

    parameter: str

    def check(self, view: View) -> None:
        """See :class:`Reduction`."""
        if self.parameter not in view.parameters:
            raise ProbeError(f"parameter {self.parameter!r}: not trained here; there are {', '.join(view.parameters)}")

    def reduce(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Tensor:
        """See :class:`GradientReduction`."""
        return gradients[self.parameter].clone()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return view.shapes[self.parameter]
