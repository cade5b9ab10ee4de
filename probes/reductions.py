"""What can be asked at a point: the closed set of reductions.

Each is evaluated once per (batch, point) while the tensors it reads are alive, on their device. Sums over tensors are
taken in float64: in float32 the norm of two million numbers is off by 4e-5.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from probes.network import View

Level = Literal["parameters", "forward", "backward", "double"]


@dataclass(frozen=True)
class Reduction:
    """One thing asked at a point; ``level`` says how far the evaluation must go."""

    level: ClassVar[Level]

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """The shape that the answer will have.

        Args:
            view: the network.
            names: the parameters that are looked at: all that are trained; of a Hybrid its layer's.
            samples: of the batch.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class LossParts(Reduction):
    """(3,): total loss, data loss, penalty."""

    level = "forward"

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (3,)


# ---- of parameters; vectors over the trainable parameters in the network's order (of a Hybrid: over its layer's)


@dataclass(frozen=True)
class ParameterNorms(Reduction):
    """(parameters,): Euclidean norm of each parameter at the point."""

    level = "parameters"

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (len(names),)


@dataclass(frozen=True)
class UpdateNorms(Reduction):
    """(parameters,): norm of the point's parameters minus theta_t."""

    level = "parameters"

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (len(names),)


@dataclass(frozen=True)
class ParameterValues(Reduction):
    """Shape of the parameter: its values at the point (held whole)."""

    level = "parameters"
    parameter: str

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return view.shapes[self.parameter]


@dataclass(frozen=True)
class GradientNorms(Reduction):
    """(parameters,): norm of the gradient with respect to each parameter."""

    level = "backward"

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (len(names),)


@dataclass(frozen=True)
class GradientComparison(Reduction):
    """(3, parameters): norm of the difference from Before's gradient on the same batch; inner product with it; norm."""

    level = "backward"

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (3, len(names))


@dataclass(frozen=True)
class GradientProducts(Reduction):
    """(parameters,): inner product of each parameter with its gradient."""

    level = "backward"

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (len(names),)


@dataclass(frozen=True)
class GradientValues(Reduction):
    """Shape of the parameter: its gradient at the point (held whole)."""

    level = "backward"
    parameter: str

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return view.shapes[self.parameter]


@dataclass(frozen=True)
class HessianProducts(Reduction):
    """(2, parameters): norm of each parameter's part of H g, and its inner product with g; Before only."""

    level = "double"

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (2, len(names))


@dataclass(frozen=True)
class DifferenceProducts(Reduction):
    """(3, parameters): as HessianProducts, with Hg = (grad(theta) - grad(theta - h g)) / h; and the norm of g.

    h ||g|| = 1e-7 ||theta||, whatever the learning rate, and all in float64 on a copy: in float32 a step short enough
    to be a derivative drowns in rounding. Before only.
    """

    level = "double"

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (3, len(names))


SMALL, PIECE, ROWS = 2**13, 2**17, 2**16


def sums(terms: Callable[..., Sequence[Tensor]], *lists: Sequence[Tensor]) -> Tensor:
    """(terms, tensors): for each tensor (or pair of tensors) the sums of ``terms``, taken in float64.

    Small tensors are taken together and large ones in pieces that fit a cache: on one core that is 6 times faster
    than tensor by tensor.

    Args:
        terms: maps flat float64 pieces, one of each list, to tensors of the same length that are to be summed.
        lists: tensors of equal shapes at equal places.
    """
    small = [i for i, value in enumerate(lists[0]) if value.numel() <= SMALL]
    found: dict[int, Tensor] = {}
    if small:
        flat = [torch.cat([values[i].detach().reshape(-1) for i in small]).double() for values in lists]
        lengths = _lengths(tuple(lists[0][i].numel() for i in small), flat[0].device)
        stacked = torch.stack(list(terms(*flat)), 1)
        # unsafe: not checking the lengths, which on a GPU would wait for it
        found.update(zip(small, torch.segment_reduce(stacked, "sum", lengths=lengths, unsafe=True), strict=True))
    for i in range(len(lists[0])):
        if i not in found:
            pieces = zip(*(values[i].detach().reshape(-1).split(PIECE) for values in lists), strict=True)
            parts = [torch.stack([t.sum() for t in terms(*(x.double() for x in piece))]) for piece in pieces]
            found[i] = torch.stack(parts).sum(0)
    return torch.stack([found[i] for i in range(len(lists[0]))], 1)


@functools.lru_cache(maxsize=256)
def _lengths(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(lengths, device=device)


def norms(values: Sequence[Tensor]) -> Tensor:
    """(n,): Euclidean norm of each tensor."""
    return sums(lambda a: (a.square(),), values)[0].sqrt()


def products(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """(n,): inner product of each pair."""
    return sums(lambda x, y: (x * y,), a, b)[0]


def distances(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """(n,): norm of the difference of each pair."""
    return sums(lambda x, y: ((x - y).square(),), a, b)[0].sqrt()


def comparison(gradients: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """(3, n): norms of the differences, inner products, norms of ``gradients``."""
    found = sums(lambda x, y: ((x - y).square(), x * y, x.square()), gradients, reference)
    return torch.stack([found[0].sqrt(), found[1], found[2].sqrt()])


# ---- of taps; a unit is a channel of (samples, channels, ...), a column of (samples, features)


def width(view: View, tap: str) -> int:
    """Number of units of a tap."""
    shape = view.leaf(tap).shape
    return shape[1] if len(shape) > 1 else 1


def by_unit(values: Tensor) -> Tensor:
    """(units, observations) view or copy: every sample and place at which a unit was observed."""
    return values.detach().transpose(0, 1).flatten(1) if values.ndim > 1 else values.detach().reshape(1, -1)


@dataclass(frozen=True)
class TapReduction(Reduction):
    """Reads one tap's values as soon as they are there."""

    level = "forward"
    tap: str

    def reduce(self, values: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Moments(TapReduction):
    """(2, units): mean and (biased) variance of each unit over the batch."""

    def reduce(self, values: Tensor) -> Tensor:
        if values.ndim < 2:
            values = values.reshape(-1, 1)
        if values.ndim == 2 or values.device.type != "cpu":
            variance, mean = torch.var_mean(values, [0, *range(2, values.ndim)], correction=0)
            return torch.stack([mean, variance])
        # by sample first, a few samples at a time: 3 times faster there than over all axes at once
        few = max(1, 2**19 // max(values[0].numel(), 1))
        means, variances = [], []
        for part in values.flatten(2).split(few):
            mean = part.mean(2, keepdim=True)
            means.append(mean[:, :, 0].double())
            variances.append((part - mean).square_().mean(2).double())
        by_sample = torch.cat(means)
        within, between = torch.cat(variances).mean(0), by_sample.var(0, correction=0)
        return torch.stack([by_sample.mean(0), within + between])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (2, width(view, self.tap))


@dataclass(frozen=True)
class Histogram(TapReduction):
    """(bins + 2,): counts below ``low``, in ``bins`` equal bins of [low, high), from ``high`` up; over all units.

    NaN is counted nowhere.
    """

    low: float
    high: float
    bins: int

    def reduce(self, values: Tensor) -> Tensor:
        return self.count(values.reshape(1, -1), [1])[0]

    def count(self, rows: Tensor, widths: Sequence[int]) -> Tensor:
        """(groups, bins + 2) of consecutive groups of ``widths`` rows."""
        bins, groups = self.bins + 3, len(widths)
        counts = torch.zeros(groups * bins, dtype=torch.int64, device=rows.device)
        piece = 2**16 if rows.device.type == "cpu" else 2**24
        if groups == 1:
            parts: Iterable[Tensor] = rows.reshape(-1).split(piece)
        else:
            parts = rows.split(max(1, piece // max(rows.shape[1], 1)))
            offset = _offsets(tuple(widths), bins, rows.device)
        row = 0
        for part in parts:
            place = (part - self.low).mul_(self.bins / (self.high - self.low)).add_(1).clamp_(0, self.bins + 1)
            place = place.nan_to_num_(self.bins + 2).to(torch.int32)
            if groups > 1:
                place += offset[row : row + len(part)]
                row += len(part)
            # bincount reads the maximum, for which it waits for a GPU
            counts += torch.bincount(place.reshape(-1), minlength=groups * bins)
        return counts.view(groups, bins)[:, :-1]

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (self.bins + 2,)


@dataclass(frozen=True)
class Quantiles(TapReduction):
    """(units, levels): quantiles of chosen units over the batch (linear interpolation)."""

    units: tuple[int, ...]
    levels: tuple[float, ...]

    def reduce(self, values: Tensor) -> Tensor:
        if values.ndim < 2:
            values = values.reshape(-1, 1)
        chosen = values[:, list(self.units)].transpose(0, 1).flatten(1)
        return quantiles(chosen, self.levels)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (len(self.units), len(self.levels))


def quantiles(rows: Tensor, levels: tuple[float, ...]) -> Tensor:
    """(rows, levels): quantiles of each row (linear interpolation), float64."""
    if rows.device.type == "cpu" and rows.dtype in (torch.float32, torch.float64):
        rows = rows.clone(memory_format=torch.contiguous_format)
        rows.numpy().sort(axis=1)  # the tensor itself is sorted; torch's own sort takes 20 times as long
    else:
        rows = rows.sort(dim=1).values
    low, high, weight = _places(levels, rows.shape[1], rows.device)
    below, above = rows[:, low].double(), rows[:, high].double()
    return below + (above - below) * weight


@functools.lru_cache(maxsize=256)
def _offsets(widths: tuple[int, ...], bins: int, device: torch.device) -> Tensor:
    groups = torch.arange(len(widths), dtype=torch.int32)
    return (bins * groups.repeat_interleave(torch.tensor(widths))).to(device)[:, None]


@functools.lru_cache(maxsize=256)
def _places(levels: tuple[float, ...], count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    places = [level * (count - 1) for level in levels]
    low = torch.tensor([math.floor(place) for place in places])
    high = torch.tensor([math.ceil(place) for place in places])
    weight = torch.tensor(places, dtype=torch.float64) - low
    return low.to(device), high.to(device), weight.to(device)


def reduce_together(taps: Sequence[tuple[Sequence[TapReduction], Tensor]]) -> Iterator[tuple[TapReduction, Tensor]]:
    """The reductions of several taps at once: for networks of many small layers 3 times faster than one by one.

    Args:
        taps: what is asked of each, and its values (samples, features); the samples are as many and of one type.
    """
    units = torch.cat([values for _, values in taps], 1).T.contiguous()
    starts = list(itertools.accumulate((values.shape[1] for _, values in taps), initial=0))
    alike: dict[Hashable, list[tuple[int, TapReduction]]] = {}
    for place, (wanted, values) in enumerate(taps):
        for reduction in wanted:
            if isinstance(reduction, Moments):
                alike.setdefault(Moments, []).append((place, reduction))
            elif isinstance(reduction, Histogram):
                key = (Histogram, reduction.low, reduction.high, reduction.bins)
                alike.setdefault(key, []).append((place, reduction))
            elif isinstance(reduction, Quantiles):
                alike.setdefault((Quantiles, reduction.levels), []).append((place, reduction))
            else:
                yield reduction, reduction.reduce(values)
    for members in alike.values():
        first = members[0][1]
        if isinstance(first, Quantiles):
            assert all(isinstance(reduction, Quantiles) for _, reduction in members)
            chosen = [[starts[i] + unit for unit in reduction.units] for i, reduction in members]  # type: ignore[attr-defined]
            found = quantiles(units[[row for rows in chosen for row in rows]], first.levels)
            parts: Sequence[Tensor] = found.split([len(rows) for rows in chosen])
        else:
            here = units
            if len(members) < len(taps):
                here = units[[row for i, _ in members for row in range(starts[i], starts[i + 1])]]
            widths = [starts[i + 1] - starts[i] for i, _ in members]
            if isinstance(first, Histogram):
                parts = first.count(here, widths).unbind()
            else:
                mean = here.mean(1, keepdim=True)
                parts = torch.stack([mean[:, 0], (here - mean).square_().mean(1)]).split(widths, 1)
        yield from ((reduction, part) for (_, reduction), part in zip(members, parts, strict=True))


@dataclass(frozen=True)
class Saturated(TapReduction):
    """(1,): share of saturated values.

    sigmoid: further than ``threshold`` from 1/2, in units of 1/2; tanh: |value| above ``threshold``; relu: share of
    units that are 0 on the whole batch (dead).
    """

    activation: Literal["sigmoid", "tanh", "relu"]
    threshold: float

    def reduce(self, values: Tensor) -> Tensor:
        if self.activation == "relu":
            axes = [0, *range(2, values.ndim)]
            dead = (values.amax(axes) == 0) & (values.amin(axes) == 0)
            return dead.double().mean().reshape(1)
        outer = (2 * values - 1).abs() if self.activation == "sigmoid" else values.abs()
        return torch.count_nonzero(outer > self.threshold).double().reshape(1) / values.numel()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (1,)


@dataclass(frozen=True)
class TapValues(TapReduction):
    """Shape of the tap: its values (held whole)."""

    def reduce(self, values: Tensor) -> Tensor:
        return values.clone()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (samples, *view.leaf(self.tap).shape[1:])


# ---- of gradients at taps


@dataclass(frozen=True)
class TapGradientReduction(Reduction):
    """Reads values at taps and the gradients of the total loss with respect to them."""

    level = "backward"

    def taps(self) -> tuple[str, ...]:
        raise NotImplementedError

    def reduce(self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class TapGradient(TapGradientReduction):
    """Shape of the tap: the gradient of the total loss with respect to it (held whole)."""

    tap: str

    def taps(self) -> tuple[str, ...]:
        return (self.tap,)

    def reduce(self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
        return gradients[self.tap].clone()

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (samples, *view.leaf(self.tap).shape[1:])


@dataclass(frozen=True)
class NormalisationTerms(TapGradientReduction):
    """(7, units) of a batch normalisation with input y and output z, g = dL/dz, yhat = (y - mean) / sqrt(var + eps).

    Rows: ||g||^2, <1, g>, <g, yhat>, ||dL/dy||^2, mean and (biased) variance of y, number of values per unit. Sums in
    float64 of values as computed.
    """

    before: str
    after: str
    epsilon: float

    def taps(self) -> tuple[str, ...]:
        return (self.before, self.after)

    def reduce(self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
        return self.together([self], values, gradients)[0]

    @staticmethod
    def together(
        terms: Sequence[NormalisationTerms], values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> Sequence[Tensor]:
        """Those of several normalisations of equally many values per unit, at once."""
        rows = []
        for which, source in (("before", values), ("after", gradients), ("before", gradients)):
            found = [by_unit(source[getattr(term, which)]) for term in terms]
            rows.append(torch.cat(found) if len(found) > 1 else found[0])
        widths = [by_unit(values[term.before]).shape[0] for term in terms]
        count = rows[0].shape[1]
        epsilon = torch.tensor(
            [x for t, w in zip(terms, widths, strict=True) for x in [t.epsilon] * w], dtype=torch.float64
        )
        epsilon = epsilon.to(rows[0].device)
        piece = ROWS if rows[0].device.type == "cpu" else 2**24
        few = max(1, piece // max(count, 1))  # float64 copies of a few units at a time, in the cache
        parts = [
            NormalisationTerms._rows([t[i : i + few].double() for t in rows], epsilon[i : i + few])
            for i in range(0, len(rows[0]), few)
        ]
        return torch.cat(parts, 1).split(widths, 1)

    @staticmethod
    def _rows(tensors: Sequence[Tensor], epsilon: Tensor) -> Tensor:
        y, g, v = tensors
        mean = y.mean(1)
        centred = y - mean[:, None]
        variance = centred.square().mean(1)
        correlation = (g * centred).sum(1) / (variance + epsilon).sqrt()
        sums = [g.square().sum(1), g.sum(1), correlation, v.square().sum(1)]
        return torch.stack([*sums, mean, variance, torch.full_like(mean, y.shape[1])])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (7, width(view, self.after))


@dataclass(frozen=True)
class TapCurvature(Reduction):
    """(2,) of a batch normalisation with input y and output z, v = dL/dy, u = (dz/dy) v.

    v^T (d2L/dy2) v and u^T (d2L/dz2) u, all units together: two Hessian-vector products over the layers above. At
    eps = 0, u = (gamma / sigma) v. Before only.
    """

    level = "double"
    before: str
    after: str
    gamma: str | None
    epsilon: float

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (2,)
