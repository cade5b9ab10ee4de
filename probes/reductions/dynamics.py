"""How parameters move, and what normalisations keep of the past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.reductions.reduction import GradientReduction, ParameterReduction, StateReduction
from probes.reductions.sums import PIECE


def alike(names: Sequence[str], values: Mapping[str, Tensor]) -> Iterator[tuple[list[int], list[str]]]:
    """Places and names of weights of one shape and type, no more numbers of them than a piece, or one weight."""
    kinds: dict[tuple[torch.Size, torch.dtype], list[int]] = {}
    for place, name in enumerate(names):
        kinds.setdefault((values[name].shape, values[name].dtype), []).append(place)
    for (shape, _), places in kinds.items():
        count = max(1, PIECE // max(shape.numel(), 1))
        for first in range(0, len(places), count):
            which = places[first : first + count]
            yield which, [names[place] for place in which]


def joined(source: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """(names, *shape); of one a view."""
    if len(names) == 1:
        return source[names[0]].detach()[None]
    return torch.stack([source[name].detach() for name in names])


@dataclass(frozen=True)
class WeightTerms(GradientReduction):
    """(3, weights): ||w||^2, <w, g> and ||g||^2 of each of ``weights``, g the gradient at the point."""

    weights: tuple[str, ...]

    def reduce(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Tensor:
        """See :class:`GradientReduction`."""
        like = next(iter(values.values()))
        found = torch.empty(3, len(self.weights), dtype=torch.float64, device=like.device)
        for which, names in alike(self.weights, values):
            w, g = (joined(source, names).flatten(1) for source in (values, gradients))
            found[:, which] = torch.stack([_product(a, b, 1) for a, b in ((w, w), (w, g), (g, g))])
        return found

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
        like = next(iter(values.values()))
        found = torch.empty(3, len(self.weights), dtype=torch.float64, device=like.device)
        for which, names in alike(self.weights, values):
            after = joined(values, names)
            before = joined(start, names).to(after.dtype).flatten(2)
            moved = after.flatten(2) - before
            product, step, size = (_product(a, b, 2) for a, b in ((before, moved), (moved, moved), (before, before)))
            angles = turned(product, step, size).square() if before.shape[2] > 1 else torch.zeros_like(step)
            found[:, which] = torch.stack([part.sum(1) for part in (product, step, angles)])
        return found

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (3, len(self.weights))


def _product(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Sum of a * b over ``dim``, taken in float64; products are rounded in their own type, in half the time."""
    return (a * b).sum(dim, dtype=torch.float64)


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
        like = next(iter(values.values()))
        found = torch.empty(len(self.weights), dtype=torch.float64, device=like.device)
        for which, names in alike(self.weights, values):
            moved = (joined(values, names) - joined(carried, names)).flatten(1)
            found[which] = _product(moved, moved, 1)
        return found.sqrt()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (len(self.weights),)

    def carried_numbers(self, view: View) -> int:
        """See :class:`Reduction`."""
        return sum(torch.Size(view.shapes[name]).numel() for name in self.weights)


@dataclass(frozen=True)
class UnitsFromStart(StateReduction):
    """(2, units): of each row w of a weight ||w - w_0|| and the angle between w and w_0 in radians.

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
        return torch.stack([step.sqrt(), turned(product, step, size)])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (2, view.shapes[self.weight][0])

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
