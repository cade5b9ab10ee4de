"""How the representations of a batch's samples lie to each other, and how far from Gaussian units are."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import ParameterReduction, TapReduction
from probes.reductions.units import by_unit, chosen, width

PIECE = 2**17
"""Numbers of a large tap that are copied at a time."""
MEASURES = (
    "h_rank",
    "h_rank_centred",
    "stable_rank",
    "orthogonality_gap",
    "cosine_mean",
    "cosine_mean_without_largest",
    "largest_sample_share",
    "second_moment",
)


@dataclass(frozen=True)
class Geometry(TapReduction):
    """(8 + thresholds,) of the first ``samples`` samples of a tap, each flattened to one vector, a column of H.

    :data:`MEASURES` in their order, then for each of ``thresholds`` the share of pairs whose cosine is above it. With
    G = H^T H and n samples: h-rank tr(G)^2 / ||G||_F^2 (Daneshmand et al. 2020), of H as it is and of H less the mean
    sample; stable rank tr(G) / lambda_1(G); orthogonality gap ||G / tr(G) - I/n||_F (Daneshmand et al. 2021);
    mean cosine of the pairs, and of those without the sample of the largest norm; that one's share of tr(G); second
    moment, tr(G) over n and the length of a vector. Samples that are 0 have no cosine and are left out of it.
    """

    samples: int | None
    thresholds: tuple[float, ...]

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        rows = values[: self.samples].flatten(1)
        gram = torch.zeros(len(rows), len(rows), dtype=rows.dtype, device=rows.device)
        cross, mean_squared = gram.new_zeros(len(rows)), gram.new_zeros(())
        for part in rows.split(max(1, PIECE // len(rows)), 1):
            mean = part.mean(0)
            centred = part - mean
            gram.addmm_(centred, centred.T)
            cross += centred @ mean
            mean_squared += mean.square().sum()
        energy = rows.square().sum(1, dtype=torch.float64)
        features = rows.shape[1]
        return _described(gram[None], cross[None], mean_squared[None], energy[None], features, self.thresholds)[0]

    def alike(self) -> Hashable | None:
        """See :class:`TapReduction`."""
        return (self.samples, self.thresholds)

    @classmethod
    def together(cls, members: Sequence[Self], units: Tensor, places: Sequence[range]) -> Sequence[Tensor]:
        """See :class:`TapReduction`. Taps of one width are one batch of matrix products."""
        samples, thresholds = members[0].samples, members[0].thresholds
        by_width: dict[int, list[int]] = {}
        for i, place in enumerate(places):
            by_width.setdefault(len(place), []).append(i)
        found: dict[int, Tensor] = {}
        for features, which in by_width.items():
            columns = chosen(units[:, :samples], [places[i] for i in which]).reshape(len(which), features, -1)
            mean = columns.mean(2, keepdim=True)
            centred = columns - mean
            cross = (centred.mT @ mean)[..., 0]
            energy = columns.square().sum(1, dtype=torch.float64)
            answers = _described(centred.mT @ centred, cross, mean.square().sum((1, 2)), energy, features, thresholds)
            found.update(zip(which, answers, strict=True))
        return [found[i] for i in range(len(members))]

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (len(MEASURES) + len(self.thresholds),)

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. A piece of the tap, and a few matrices over pairs of samples in float64."""
        shape = view.leaf(self.tap).shape
        samples = min(shape[0], self.samples or shape[0])
        itemsize = tap_bytes.get(self.tap, 0) / max(torch.Size(shape).numel(), 1)
        piece = min(PIECE, samples * torch.Size(shape[1:]).numel())
        return 2 * piece * itemsize + samples**2 * (itemsize + 4 * 8)


def _described(
    centred: Tensor, cross: Tensor, mean_squared: Tensor, energy: Tensor, features: int, thresholds: Sequence[float]
) -> Tensor:
    """(matrices, 8 + thresholds): what :class:`Geometry` answers.

    The products of the samples as they are come from the centred ones by adding, since the other way round nothing
    would be left where all samples are nearly alike.

    Args:
        centred: (matrices, n, n), products of the samples less their mean.
        cross: (matrices, n), products of these with the mean.
        mean_squared: (matrices,), squared norm of the mean.
        energy: (matrices, n), squared norms of the samples; exactly 0 for one that is.
        features: length of a sample.
        thresholds: of the cosines.
    """
    kind, centred, cross = centred.dtype, centred.double(), cross.double()
    gram = centred + cross[:, :, None] + cross[:, None, :] + mean_squared.double()[:, None, None]
    n = gram.shape[-1]
    gram.diagonal(dim1=1, dim2=2).copy_(energy)
    total = energy.sum(1)
    of_centred = centred.diagonal(dim1=1, dim2=2).sum(1)
    ranks = [total.square() / gram.square().sum((1, 2)), of_centred.square() / centred.square().sum((1, 2))]
    ranks.append(total / _largest(gram.to(kind)))
    gap = gram / total[:, None, None]
    gap.diagonal(dim1=1, dim2=2).sub_(1 / n)
    length = energy.sqrt()
    there = (length > 0).double()
    scale = there / length.where(length > 0, 1)
    cosines = gram.mul_(scale[:, :, None]).mul_(scale[:, None, :])  # in place: the products are not needed any more
    cosines.diagonal(dim1=1, dim2=2).zero_()
    count = there.sum(1)
    pairs = count * (count - 1)
    sums, largest = cosines.sum((1, 2)), energy.argmax(1)
    rest = sums - 2 * cosines[torch.arange(len(cosines)), largest].sum(1)
    # the diagonal is 0 and so are the rows of samples that are 0: neither may count as pairs
    above = []
    for threshold in thresholds:
        absent = n * n - pairs if threshold < 0 else 0
        above.append(((cosines > threshold).sum((1, 2)) - absent) / pairs)
    measures = [*ranks, gap.square().sum((1, 2)).sqrt(), sums / pairs]
    measures += [rest / ((count - 1) * (count - 2)), energy.amax(1) / total, total / (n * features)]
    return torch.stack([*measures, *above], 1)


def _largest(gram: Tensor) -> Tensor:
    """(matrices,): the largest eigenvalue; NaN where a signal has overflowed, which LAPACK would refuse."""
    finite = gram.isfinite().all(2).all(1)
    largest = torch.linalg.eigvalsh(gram.where(finite[:, None, None], 0))[:, -1]
    return largest.where(finite, torch.nan).double()


@dataclass(frozen=True)
class Shape(TapReduction):
    """(2,): skew and excess kurtosis of a unit over the batch, absolute values averaged over the units that vary.

    Both are 0 for a Gaussian (Ioffe & Szegedy 2015, section 3.2, expect what enters a normalisation to be more so).
    """

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        return torch.cat([_standardised_moments(part) for part in _few_units(values)], 1).nanmean(1)

    def alike(self) -> Hashable | None:
        """See :class:`TapReduction`."""
        return ()

    @classmethod
    def together(cls, members: Sequence[Self], units: Tensor, places: Sequence[range]) -> Sequence[Tensor]:
        """See :class:`TapReduction`."""
        moments = _standardised_moments(chosen(units, places))
        return [part.nanmean(1) for part in moments.split([len(place) for place in places], 1)]

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (2,)

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. Four copies of a few units."""
        return 4 * _piece_bytes(view, self.tap, tap_bytes)


def _few_units(values: Tensor) -> Iterator[Tensor]:
    """(units, observations), a few units at a time."""
    if values.ndim < 2:
        values = values.reshape(-1, 1)
    for part in values.split(max(1, PIECE * values.shape[1] // max(values.numel(), 1)), 1):
        yield by_unit(part)


def _piece_bytes(view: View, tap: str, tap_bytes: Mapping[str, int]) -> float:
    """Bytes of a few units of a tap."""
    numbers = torch.Size(view.leaf(tap).shape).numel()
    return tap_bytes.get(tap, 0) * min(1.0, max(PIECE, numbers / width(view, tap)) / max(numbers, 1))


def _standardised_moments(units: Tensor) -> Tensor:
    """(2, units): |skew| and |excess kurtosis| of each row; NaN for a row that does not vary."""
    centred = units - units.mean(1, keepdim=True)
    squared = centred.square()
    second = squared.mean(1).double()
    varies = units.amax(1) > units.amin(1)  # of a constant row the mean leaves rounding, which has a shape of its own
    third = (squared * centred).mean(1).double()
    fourth = squared.square_().mean(1).double()
    found = torch.stack([third / second**1.5, fourth / second.square() - 3])
    return found.abs().where(varies, torch.nan)


@dataclass(frozen=True)
class AbsoluteMeans(TapReduction):
    """(units,): mean absolute value of each unit over the batch."""

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        return torch.cat([part.abs().mean(1).double() for part in _few_units(values)])

    def alike(self) -> Hashable | None:
        """See :class:`TapReduction`."""
        return ()

    @classmethod
    def together(cls, members: Sequence[Self], units: Tensor, places: Sequence[range]) -> Sequence[Tensor]:
        """See :class:`TapReduction`."""
        found = chosen(units, places).abs().mean(1).double()
        return found.split([len(place) for place in places])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (width(view, self.tap),)

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. Two copies of a few units."""
        return 2 * _piece_bytes(view, self.tap, tap_bytes)


@dataclass(frozen=True)
class MostPredicted(TapReduction):
    """(1,): share of samples whose largest unit is the one that is most often the largest."""

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        predicted = values.flatten(1).argmax(1)
        return (torch.bincount(predicted).max().double() / len(values)).reshape(1)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (1,)


@dataclass(frozen=True)
class UnitNorms(ParameterReduction):
    """(units,): Euclidean norm of each unit's part (row) of a weight, trained or not."""

    parameter: str

    def reduce(self, values: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
        """See :class:`ParameterReduction`."""
        source = values if self.parameter in values else start  # what is not trained stays
        return source[self.parameter].detach().flatten(1).square().sum(1, dtype=torch.float64).sqrt()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return view.shapes[self.parameter][:1]
