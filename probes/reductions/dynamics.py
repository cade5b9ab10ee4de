"""How parameters move, and what normalisations keep of the past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.reductions.reduction import GradientReduction, ParameterReduction, StateReduction


@dataclass(frozen=True)
class WeightTerms(GradientReduction):
    """(3, weights): ||w||^2, <w, g> and ||g||^2 of each of ``weights``, g the gradient at the point."""

    weights: tuple[str, ...]

    def reduce(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Tensor:
        """See :class:`GradientReduction`."""
        found = []
        for name in self.weights:
            w, g = values[name].detach(), gradients[name]
            found.append(torch.stack([_product(w, w), _product(w, g), _product(g, g)]))
        return torch.stack(found, 1)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (3, len(self.weights))


@dataclass(frozen=True)
class UpdateTerms(ParameterReduction):
    """(3, weights): with d the point's w minus that at theta_t, <w, d>, ||d||^2, and the sum over units of the squared
    angle by which each has turned.

    A unit is a row of the weight (an output feature, an output channel); of a row of one number there is no angle, it
    counts as 0.
    """

    weights: tuple[str, ...]

    def reduce(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
        """See :class:`ParameterReduction`."""
        rows, lengths = [], []
        for name in self.weights:
            before = start[name].to(values[name].dtype).flatten(1)
            moved = values[name].detach().flatten(1) - before
            rows.append(
                torch.stack([_product(a, b, 1) for a, b in ((before, moved), (moved, moved), (before, before))])
            )
            lengths.append(rows[-1].shape[1])
        product, step, size = torch.cat(rows, 1)
        single = torch.tensor([values[n].numel() == length for n, length in zip(self.weights, lengths, strict=True)])
        angles = turned(product, step, size).square()
        parts = zip(*(row.split(lengths) for row in (product, step, angles)), single.tolist(), strict=True)
        return torch.stack([torch.stack([p.sum(), d.sum(), a.sum() * (not one)]) for p, d, a, one in parts], 1)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (3, len(self.weights))


def _product(a: Tensor, b: Tensor, *dims: int) -> Tensor:
    """Sum of a * b, taken in float64; the products are rounded in their own type, which takes half the time."""
    return (a * b).sum(dims or None, dtype=torch.float64)


def turned(product: Tensor, step_squared: Tensor, size_squared: Tensor) -> Tensor:
    """The angle between w and w + d, in radians, from <w, d>, ||d||^2 and ||w||^2; exact for small ones too."""
    along = product / size_squared.sqrt()
    return torch.atan2((step_squared - along.square()).clamp(min=0).sqrt(), size_squared.sqrt() + along)


@dataclass(frozen=True)
class ChannelNorms(ParameterReduction):
    """(channels of all ``weights``,): the norm of each row of each weight, one weight after the other."""

    weights: tuple[str, ...]

    def reduce(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
        """See :class:`ParameterReduction`."""
        rows = (values[name].detach().flatten(1) for name in self.weights)
        return torch.cat([_product(row, row, 1) for row in rows]).sqrt()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (sum(view.shapes[name][0] for name in self.weights),)


@dataclass(frozen=True)
class DistancesFromStart(StateReduction):
    """(weights,): norm of each of ``weights`` minus what it was when this was first asked."""

    weights: tuple[str, ...]

    def reduce(self, values: Mapping[str, Tensor], buffers: Mapping[str, Tensor], carried: dict[str, Tensor]) -> Tensor:
        """See :class:`StateReduction`."""
        if not carried:
            carried.update({name: values[name].detach().clone() for name in self.weights})
        moved = (values[name].detach() - carried[name] for name in self.weights)
        return torch.stack([_product(d, d) for d in moved]).sqrt()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (len(self.weights),)

    def carried_numbers(self, view: View) -> int:
        """See :class:`Reduction`."""
        return sum(torch.Size(view.shapes[name]).numel() for name in self.weights)


@dataclass(frozen=True)
class UnitsFromStart(StateReduction):
    """(3, units): of each row w of a weight ||w||, ||w - w_0|| and the angle between the two in radians.

    w_0 is what the row was when this was first asked. In float64, since most of a small angle is the rounding of its
    cosine.
    """

    weight: str

    def reduce(self, values: Mapping[str, Tensor], buffers: Mapping[str, Tensor], carried: dict[str, Tensor]) -> Tensor:
        """See :class:`StateReduction`."""
        rows = values[self.weight].detach().flatten(1)
        if not carried:
            carried["start"] = rows.clone()
        start = carried["start"].double()
        moved = rows.double() - start
        product, step, size = ((a * b).sum(1) for a, b in ((start, moved), (moved, moved), (start, start)))
        return torch.stack([rows.double().square().sum(1).sqrt(), step.sqrt(), turned(product, step, size)])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (3, view.shapes[self.weight][0])

    def carried_numbers(self, view: View) -> int:
        """See :class:`Reduction`."""
        return torch.Size(view.shapes[self.weight]).numel()


@dataclass(frozen=True)
class BufferValues(StateReduction):
    """Shape of the buffer: its values before the step moved them."""

    buffer: str

    def check(self, view: View) -> None:
        """See :class:`Reduction`."""
        if self.buffer not in view.buffers:
            raise ProbeError(
                f"buffer {self.buffer!r}: not in this network; there are {', '.join(view.buffers) or 'none'}"
            )

    def reduce(self, values: Mapping[str, Tensor], buffers: Mapping[str, Tensor], carried: dict[str, Tensor]) -> Tensor:
        """See :class:`StateReduction`."""
        return buffers[self.buffer].clone()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return view.buffers[self.buffer]
