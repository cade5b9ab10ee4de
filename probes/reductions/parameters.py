"""Of the parameters; vectors over the trained ones in the network's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.reductions.reduction import ParameterReduction
from probes.reductions.sums import distances, norms


@dataclass(frozen=True)
class ParameterNorms(ParameterReduction):
    """(parameters,): Euclidean norm of each parameter at the point."""

    def reduce(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
        """See :class:`ParameterReduction`."""
        return norms(list(values.values()))

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (len(names),)


@dataclass(frozen=True)
class NamedNorms(ParameterReduction):
    """(names,): Euclidean norm of each of these parameters at the point, trained or not."""

    names: tuple[str, ...]

    def check(self, view: View) -> None:
        """See :class:`Reduction`."""
        for name in self.names:
            ParameterValues(name).check(view)

    def reduce(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
        """See :class:`ParameterReduction`."""
        return norms([values.get(name, start[name]) for name in self.names])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (len(self.names),)


@dataclass(frozen=True)
class UpdateNorms(ParameterReduction):
    """(parameters,): norm of the point's parameters minus theta_t."""

    def reduce(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
        """See :class:`ParameterReduction`."""
        return distances(list(values.values()), [start[name] for name in values])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (len(names),)


@dataclass(frozen=True)
class ParameterValues(ParameterReduction):
    """Shape of the parameter, trained or not: its values at the point (held whole)."""

    parameter: str

    def check(self, view: View) -> None:
        """See :class:`Reduction`."""
        if self.parameter not in view.shapes:
            raise ProbeError(f"parameter {self.parameter!r}: not in this network; there are {', '.join(view.shapes)}")

    def reduce(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
        """See :class:`ParameterReduction`."""
        source = values if self.parameter in values else start  # what is not trained stays
        return source[self.parameter].detach().clone()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return view.shapes[self.parameter]
