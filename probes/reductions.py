"""What can be asked at a point: the closed set of reductions.

Each is evaluated once per (batch, point) while the tensors it reads are alive, on their device. Sums over tensors are
taken in float64: in float32 the norm of two million numbers is off by 4e-5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

Level = Literal["parameters", "forward", "backward", "double"]


@dataclass(frozen=True)
class Reduction:
    """One thing asked at a point; ``level`` says how far the evaluation must go."""

    level: ClassVar[Level]


@dataclass(frozen=True)
class LossParts(Reduction):
    """(3,): total loss, data loss, penalty."""

    level = "forward"


# ---- of parameters; vectors over the trainable parameters in the network's order (of a Hybrid: over its layer's)


@dataclass(frozen=True)
class ParameterNorms(Reduction):
    """(parameters,): Euclidean norm of each parameter at the point."""

    level = "parameters"


@dataclass(frozen=True)
class UpdateNorms(Reduction):
    """(parameters,): norm of the point's parameters minus theta_t."""

    level = "parameters"


@dataclass(frozen=True)
class ParameterValues(Reduction):
    """Shape of the parameter: its values at the point (held whole)."""

    level = "parameters"
    parameter: str


@dataclass(frozen=True)
class GradientNorms(Reduction):
    """(parameters,): norm of the gradient with respect to each parameter."""

    level = "backward"


@dataclass(frozen=True)
class GradientComparison(Reduction):
    """(2, parameters): norm of the difference from Before's gradient on the same batch; inner product with it."""

    level = "backward"


@dataclass(frozen=True)
class GradientProducts(Reduction):
    """(parameters,): inner product of each parameter with its gradient."""

    level = "backward"


@dataclass(frozen=True)
class GradientValues(Reduction):
    """Shape of the parameter: its gradient at the point (held whole)."""

    level = "backward"
    parameter: str


@dataclass(frozen=True)
class HessianProducts(Reduction):
    """(2, parameters): norm of each parameter's part of H g, and its inner product with g; Before only."""

    level = "double"


def norm(values: Tensor) -> Tensor:
    """Euclidean norm, accumulated in float64; scalar."""
    flat = values.detach().reshape(-1).double()
    return torch.dot(flat, flat).sqrt()


def product(a: Tensor, b: Tensor) -> Tensor:
    """Inner product, accumulated in float64; scalar."""
    return torch.dot(a.detach().reshape(-1).double(), b.detach().reshape(-1).double())


def norms(values: Sequence[Tensor]) -> Tensor:
    """(n,): norm of each tensor."""
    return torch.stack([norm(value) for value in values])


def products(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """(n,): inner product of each pair."""
    return torch.stack([product(x, y) for x, y in zip(a, b, strict=True)])


def comparison(gradients: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """(2, n): norms of the differences, inner products."""
    differences, inner = [], []
    for gradient, before in zip(gradients, reference, strict=True):
        a, b = gradient.detach().reshape(-1).double(), before.detach().reshape(-1).double()
        inner.append(torch.dot(a, b))
        differences.append(norm(a - b))
    return torch.stack([torch.stack(differences), torch.stack(inner)])


# ---- of taps; a unit is a channel of (samples, channels, ...), a column of (samples, features)


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
        axes = [0, *range(2, values.ndim)]
        variance, mean = torch.var_mean(values, axes, correction=0)
        return torch.stack([mean, variance])


@dataclass(frozen=True)
class Histogram(TapReduction):
    """(bins + 2,): counts below ``low``, in ``bins`` equal bins of [low, high], above ``high``; over all units.

    NaN is counted nowhere.
    """

    low: float
    high: float
    bins: int

    def reduce(self, values: Tensor) -> Tensor:
        below, above = (values < self.low).sum(), (values > self.high).sum()
        if values.device.type == "cpu":
            inside = torch.histc(values.reshape(-1), self.bins, self.low, self.high)
        else:  # histc adds in no fixed order there
            kept = values[(values >= self.low) & (values <= self.high)]
            place = ((kept - self.low) * (self.bins / (self.high - self.low))).long().clamp_(max=self.bins - 1)
            inside = torch.bincount(place, minlength=self.bins)
        return torch.cat([below.double().reshape(1), inside.double(), above.double().reshape(1)])


@dataclass(frozen=True)
class Quantiles(TapReduction):
    """(units, levels): quantiles of chosen units over the batch (linear interpolation)."""

    units: tuple[int, ...]
    levels: tuple[float, ...]

    def reduce(self, values: Tensor) -> Tensor:
        chosen = by_unit(values)[list(self.units)].sort(dim=1).values.double()
        place = torch.tensor(self.levels, dtype=torch.float64, device=values.device) * (chosen.shape[1] - 1)
        low, high = chosen[:, place.floor().long()], chosen[:, place.ceil().long()]
        return low + (high - low) * (place - place.floor())


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
            dead = (by_unit(values) == 0).all(dim=1)
            return dead.double().mean().reshape(1)
        outer = (2 * values - 1).abs() if self.activation == "sigmoid" else values.abs()
        return (outer > self.threshold).double().mean().reshape(1)


@dataclass(frozen=True)
class TapValues(TapReduction):
    """Shape of the tap: its values (held whole)."""

    def reduce(self, values: Tensor) -> Tensor:
        return values.clone()


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


@dataclass(frozen=True)
class NormalisationTerms(TapGradientReduction):
    """(7, units) of a batch normalisation with input y and output z, g = dL/dz, yhat = (y - mean) / sqrt(var + eps).

    Rows: ||g||^2, <1, g>, <g, yhat>, ||dL/dy||^2, mean, var (biased) of y, number of values per unit. Sums in float64 of values as computed.
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
