"""Of the Hessian of the total loss, by its products with vectors."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.reductions.derivatives import CurvatureReduction, Derivatives, Taken
from probes.reductions.eigenvalues import extreme_eigenvalues, finite, lanczos_quadrature


@dataclass(frozen=True)
class HessianReduction(CurvatureReduction):
    """Of the Hessian with respect to the trained parameters whose names match one of ``patterns``; None: all.

    It is that of the loss as a function in which normalisations take the ``statistics`` that are said.
    """

    patterns: tuple[str, ...] | None
    statistics: Taken = field(default="moving", kw_only=True)

    def source(self) -> Taken:
        """See :class:`CurvatureReduction`."""
        return self.statistics

    def check(self, view: View) -> None:
        """See :class:`Reduction`."""
        for pattern in self.patterns or ():
            if not fnmatch.filter(view.parameters, pattern):
                raise ProbeError(
                    f"parameters {pattern!r}: match no trained parameter of this network; there are "
                    f"{', '.join(view.parameters)}"
                )

    def parameters(self, view: View) -> tuple[str, ...]:
        """See :class:`CurvatureReduction`."""
        if self.patterns is None:
            return view.parameters
        return tuple(name for name in view.parameters if any(fnmatch.fnmatchcase(name, p) for p in self.patterns))

    def numbers(self, view: View) -> int:
        """Of the Hessian's rows."""
        return sum(torch.Size(view.shapes[name]).numel() for name in self.parameters(view))

    def vectors(self, view: View, count: int) -> float:
        """Bytes of ``count`` vectors, in the type of the evaluations."""
        return float(count * self.numbers(view) * view.itemsize)


@dataclass(frozen=True)
class ExtremeEigenvalues(HessianReduction):
    """(2 (largest + smallest) + 5,): eigenvalues and residuals of the largest, descending, of the smallest, ascending.

    Then: products taken; the share of ||g||^2 within the span of the largest ones' eigenvectors; g^T H g / ||g||^2;
    ||g||; ||w||, of the parameters looked at. Begins with the eigenvectors of the probed step before, or a random
    vector, and with g, so that what the gradient has turned to is not missed. All NaN where a derivative is not finite.
    """

    largest: int
    smallest: int
    tolerance: float
    products: int

    def check(self, view: View) -> None:
        """See :class:`Reduction`."""
        super().check(view)
        if self.largest + self.smallest > self.numbers(view):
            raise ProbeError(
                f"{self.largest} largest and {self.smallest} smallest eigenvalues: the Hessian has "
                f"{self.numbers(view)} (as many as parameters are looked at)"
            )

    @property
    def room(self) -> int:
        """Vectors of the basis."""
        return 2 * (self.largest + self.smallest) + 8

    def reduce(self, curvature: Derivatives, carried: dict[str, Tensor]) -> Tensor:
        """See :class:`CurvatureReduction`."""
        gradient, drawn = curvature.gradient, 0

        def fresh() -> Tensor:
            nonlocal drawn
            drawn += 1
            generator = curvature.generator("eigenvalues", drawn)
            return torch.randn(len(gradient), generator=generator, device=gradient.device).to(gradient.dtype)

        ends = (self.largest, self.smallest)
        start = [*carried["vectors"].unbind()] if carried else [fresh()]
        length = gradient.norm(dtype=torch.float64)
        start.append((gradient / (length if length > 0 else 1)).to(gradient.dtype))
        try:
            product = finite(curvature.hessian)
            found = extreme_eigenvalues(product, start, fresh, *ends, self.tolerance, self.products, self.room)
        except FloatingPointError:  # of a run that diverges
            return torch.full(self._size, torch.nan, dtype=torch.float64)
        carried["vectors"] = found.vectors
        within = (found.vectors[: self.largest] @ start[-1]).double().square().sum()
        sizes = torch.stack([within, gradient.new_tensor(found.along), length, curvature.parameters.norm()])
        parts = zip(found.values.split(ends), found.residuals.split(ends), strict=True)
        rows = [torch.cat(pair) for pair in parts]
        return torch.cat([*rows, torch.tensor([float(found.products)], dtype=torch.float64), sizes.double().cpu()])

    @property
    def _size(self) -> tuple[int]:
        return (2 * (self.largest + self.smallest) + 5,)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return self._size

    def hessian_products(self) -> int:
        """See :class:`CurvatureReduction`."""
        return self.products

    def carried_numbers(self, view: View) -> int:
        """See :class:`Reduction`."""
        return (self.largest + self.smallest) * self.numbers(view)

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. The basis and its images; the residual and what it is made of."""
        return self.vectors(view, 2 * min(self.room, self.numbers(view)) + 4)


@dataclass(frozen=True)
class SpectralDensity(HessianReduction):
    """(draws, 2, steps): nodes and weights of stochastic Lanczos quadrature, of Gaussian vectors drawn for the step.

    Averaged over draws, sum_k weights_k f(nodes_k) estimates tr f(H) / n (Ghorbani et al. 2019).
    """

    draws: int
    steps: int

    def reduce(self, curvature: Derivatives, carried: dict[str, Tensor]) -> Tensor:
        """See :class:`CurvatureReduction`."""
        gradient, found = curvature.gradient, []
        for draw in range(self.draws):
            generator = curvature.generator("density", draw)
            vector = torch.randn(len(gradient), generator=generator, device=gradient.device).to(gradient.dtype)
            try:
                found.append(torch.stack(lanczos_quadrature(finite(curvature.hessian), vector, self.steps)))
            except FloatingPointError:
                found.append(torch.full((2, self.steps), torch.nan, dtype=torch.float64))
        return torch.stack(found)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (self.draws, 2, self.steps)

    def hessian_products(self) -> int:
        """See :class:`CurvatureReduction`."""
        return self.draws * self.steps

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. The vectors, and three while one is orthogonalised."""
        return self.vectors(view, min(self.steps, self.numbers(view)) + 3)


@dataclass(frozen=True)
class Trace(HessianReduction):
    """(2,): Hutchinson's estimate of tr(H) from vectors of random signs, and its standard error (NaN of one draw)."""

    draws: int

    def reduce(self, curvature: Derivatives, carried: dict[str, Tensor]) -> Tensor:
        """See :class:`CurvatureReduction`."""
        gradient, found = curvature.gradient, []
        for draw in range(self.draws):
            generator = curvature.generator("trace", draw)
            signs = torch.randint(2, (len(gradient),), generator=generator, device=gradient.device)
            vector = (2 * signs - 1).to(gradient.dtype)
            found.append((vector * curvature.hessian(vector)).sum(dtype=torch.float64))
        estimates = torch.stack(found)
        error = estimates.std() / self.draws**0.5 if self.draws > 1 else estimates.new_tensor(torch.nan)
        return torch.stack([estimates.mean(), error])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (2,)

    def hessian_products(self) -> int:
        """See :class:`CurvatureReduction`."""
        return self.draws

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. The signs are drawn as whole numbers of eight bytes."""
        return 16.0 * self.numbers(view) + self.vectors(view, 1)
