"""Singular values of the map between two taps, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.reductions.derivatives import CurvatureReduction, Derivatives, Taken
from probes.reductions.eigenvalues import finite, lanczos_quadrature


@dataclass(frozen=True)
class SingularValues(CurvatureReduction):
    """Of the Jacobian of one sample's ``after`` by the same sample's ``before``, for each of the first ``samples``.

    (samples, rank): all of them, descending, where rank, the smaller of the two sizes, is at most ``narrow``. Else
    (samples, 3): estimates of the largest, the smallest, and the mean logarithm, by ``steps`` steps of Lanczos's method
    on J J^T (or J^T J, whichever is smaller) from a Gaussian vector that belongs to the step: nothing lies outside, so
    the largest is a lower bound, the smallest an upper one.

    Statistics of a batch either move with the sample, or are held. ``standardised``: of the map between the vectors
    divided by each number's deviation over the batch, D_after^-1 J D_before; NaN where one is constant.
    """

    before: str
    after: str
    samples: int
    narrow: int
    steps: int
    statistics: Literal["moving", "held"]
    standardised: bool = False

    def taps(self) -> tuple[str, ...]:
        """See :class:`Reduction`."""
        return (self.before, self.after)

    def check(self, view: View) -> None:
        """See :class:`Reduction`."""
        super().check(view)
        taps = [leaf.tap for leaf in view.leaves]
        if taps.index(self.before) >= taps.index(self.after):
            raise ProbeError(f"taps {self.before!r} and {self.after!r}: the first must come before the second")
        if self.standardised and not self.exact(view):
            raise ProbeError(
                f"jacobian standardised: between {self.before!r} and {self.after!r} there are {min(self.sizes(view))} "
                f"singular values; let narrow={self.narrow} be as many"
            )

    def source(self) -> Taken:
        """See :class:`CurvatureReduction`."""
        return self.statistics

    def parameters(self, view: View) -> tuple[str, ...]:
        """See :class:`CurvatureReduction`."""
        return ()

    def sizes(self, view: View) -> tuple[int, int]:
        """Numbers of one sample at ``before`` and ``after``."""
        before, after = (torch.Size(view.leaf(tap).shape[1:]).numel() for tap in self.taps())
        return before, after

    def exact(self, view: View) -> bool:
        """Whether all singular values are found."""
        return min(self.sizes(view)) <= self.narrow

    def reduce(self, curvature: Derivatives, carried: dict[str, Tensor]) -> Tensor:
        """See :class:`CurvatureReduction`."""
        x, y = (curvature.value(tap) for tap in self.taps())
        count = min(self.samples, len(x))
        if min(x[0].numel(), y[0].numel()) > self.narrow:
            return torch.stack([self._estimates(curvature, x, y, i) for i in range(count)])
        rows = torch.zeros(count, y[0].numel(), x[0].numel(), dtype=torch.float64, device=x.device)
        # where no sample sees another, one product gives a row of all of them
        apart = [range(count)] if self.statistics == "held" else [range(i, i + 1) for i in range(count)]
        for place in range(y[0].numel()):
            for samples in apart:
                u = torch.zeros_like(y)
                u.view(len(y), -1)[list(samples), place] = 1
                back = curvature.transposed(self.before, self.after, u)
                rows[list(samples), place] = back[list(samples)].flatten(1).double()
        if self.standardised:
            deviations = [value.double().flatten(1).std(0, correction=0) for value in (x, y)]
            rows = rows * deviations[0] / deviations[1][:, None]
        good = rows.isfinite().flatten(1).all(1)  # LAPACK refuses others
        found = torch.linalg.svdvals(rows.where(good[:, None, None], 0))
        return found.where(good[:, None], torch.nan)

    def _estimates(self, curvature: Derivatives, x: Tensor, y: Tensor, sample: int) -> Tensor:
        def forth(v: Tensor) -> Tensor:
            whole = torch.zeros_like(x)
            whole[sample] = v.view_as(x[0])
            return curvature.jacobian(self.before, self.after, whole)[sample].flatten()

        def back(u: Tensor) -> Tensor:
            whole = torch.zeros_like(y)
            whole[sample] = u.view_as(y[0])
            return curvature.transposed(self.before, self.after, whole)[sample].flatten()

        wide = x[0].numel() > y[0].numel()
        numbers = min(x[0].numel(), y[0].numel())
        drawn = torch.randn(numbers, generator=curvature.generator("jacobian", sample), device=x.device).to(x.dtype)
        try:
            product = finite(lambda v: forth(back(v)) if wide else back(forth(v)))
            squares, weights = lanczos_quadrature(product, drawn, self.steps)
        except FloatingPointError:
            return torch.full((3,), torch.nan, dtype=torch.float64)
        known = weights > 0
        values = squares[known].clamp(min=0).sqrt()
        return torch.stack([values.max(), values.min(), (weights[known] * values.log()).sum()])

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (min(self.samples, samples), min(self.sizes(view)) if self.exact(view) else 3)

    def jacobian_products(self, view: View) -> float:
        """See :class:`CurvatureReduction`."""
        taps = [leaf.tap for leaf in view.leaves]
        between = view.leaves[taps.index(self.before) + 1 : taps.index(self.after) + 1]
        total = sum(leaf.operations for leaf in view.leaves)
        share = sum(leaf.operations for leaf in between) / max(total, 1) if view.ordered else 1.0
        samples = min(self.samples, view.leaf(self.before).shape[0])
        if self.exact(view):
            return share * self.sizes(view)[1] * (1 if self.statistics == "held" else samples)
        return share * samples * self.steps * 3  # J v is a derivative of J^T u, for which that is taken anew

    def working_bytes(self, view: View, tap_bytes: Mapping[str, int]) -> float:
        """See :class:`Reduction`. Matrices in float64 and LAPACK's copy; what lies between the taps, differentiated."""
        before, after = self.sizes(view)
        samples = min(self.samples, view.leaf(self.before).shape[0])
        taps = [leaf.tap for leaf in view.leaves]
        between = sum(tap_bytes.get(tap, 0) for tap in taps[taps.index(self.before) : taps.index(self.after) + 1])
        if self.exact(view):
            return 32 * samples * before * after + 4 * between
        return self.steps * min(before, after) * view.itemsize + 4 * between
