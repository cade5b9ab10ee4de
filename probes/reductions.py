"""What can be asked at a point: the closed set of reductions.

Each is evaluated once per (batch, point) while the tensors it reads are alive, on their device. Sums over tensors are
taken in float64: in float32 the norm of two million numbers is off by 4e-5.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
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


SMALL, PIECE = 2**13, 2**17


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
        lengths = torch.tensor([lists[0][i].numel() for i in small], device=flat[0].device)
        stacked = torch.stack(list(terms(*flat)), 1)
        found.update(zip(small, torch.segment_reduce(stacked, "sum", lengths=lengths), strict=True))
    for i in range(len(lists[0])):
        if i not in found:
            pieces = zip(*(values[i].detach().reshape(-1).split(PIECE) for values in lists), strict=True)
            parts = [torch.stack([t.sum() for t in terms(*(x.double() for x in piece))]) for piece in pieces]
            found[i] = torch.stack(parts).sum(0)
    return torch.stack([found[i] for i in range(len(lists[0]))], 1)


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
        counts = torch.zeros(self.bins + 3, dtype=torch.int64, device=values.device)
        for part in values.reshape(-1).split(2**16 if values.device.type == "cpu" else 2**24):
            place = (part - self.low).mul_(self.bins / (self.high - self.low)).add_(1).clamp_(0, self.bins + 1)
            place.nan_to_num_(self.bins + 2)
            counts += torch.bincount(place.to(torch.int32), minlength=self.bins + 3)
        return counts[:-1]

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
        if chosen.device.type == "cpu" and chosen.dtype in (torch.float32, torch.float64):
            chosen = chosen.contiguous()
            chosen.numpy().sort(axis=1)  # the tensor itself is sorted; torch's own sort takes 20 times as long
        else:
            chosen = chosen.sort(dim=1).values
        low, high, weight = _places(self.levels, chosen.shape[1])
        below, above = chosen[:, low].double(), chosen[:, high].double()
        return below + (above - below) * weight.to(values.device)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        return (len(self.units), len(self.levels))


@functools.lru_cache(maxsize=256)
def _places(levels: tuple[float, ...], count: int) -> tuple[list[int], list[int], Tensor]:
    places = [level * (count - 1) for level in levels]
    low = [math.floor(place) for place in places]
    weight = torch.tensor([place - floor for place, floor in zip(places, low, strict=True)], dtype=torch.float64)
    return low, [math.ceil(place) for place in places], weight


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
        tensors = (values[self.before], gradients[self.after], gradients[self.before])
        y, g, v = (by_unit(tensor) for tensor in tensors)
        few = max(1, 2**20 // max(y.shape[1], 1))  # float64 copies of a few units at a time
        parts = [self._rows(*(t[i : i + few].double() for t in (y, g, v))) for i in range(0, len(y), few)]
        return torch.cat(parts, 1)

    def _rows(self, y: Tensor, g: Tensor, v: Tensor) -> Tensor:
        variance, mean = torch.var_mean(y, 1, correction=0)
        normalised = (y - mean[:, None]) / (variance + self.epsilon).sqrt()[:, None]
        sums = [g.square().sum(1), g.sum(1), (g * normalised).sum(1), v.square().sum(1)]
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
