"""The Hessian of the loss: its largest and smallest eigenvalues, and the density of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import ExtremeEigenvalues, SpectralDensity, Trace
from probes.reductions.derivatives import Taken
from probes.statistics import Given


@dataclass(frozen=True)
class Spectrum:
    """Of the Hessian H of one batch's total loss at theta_t, in train mode, with the step's own noise.

    Normalisations take the batch's statistics, which move with the parameters; or constants: the batch's, the running
    ones (but for noise such as dropout's, H and g then are of the function that evaluation mode computes), or given
    ones.

    The largest and smallest eigenvalues (algebraically) with their residual norms ||H v - lambda v||; the gradient's
    share within the span of the largest ones' eigenvectors (Gur-Ari et al. 2018; Ghorbani et al. 2019);
    ``sharpness_times_rate`` lr_t lambda_1 (Cohen et al. 2021), ``curvature_along_gradient_times_rate``
    lr_t g^T H g / ||g||^2, ``spherical_sharpness`` ||w||^2 lambda_1 (Lyu et al. 2022). By option the density of all
    eigenvalues, by stochastic Lanczos quadrature, and the trace.

    Evaluated in the type of the other evaluations (float64 by dtype= of Probes, or probes.dtype=float64). From the
    second probed step on it begins with the eigenvectors of the one before, which are part of the checkpoint.

    Args:
        largest, smallest: how many eigenvalues of each end.
        tolerance: residual at which an eigenvalue is good enough, as a share of the largest |eigenvalue|.
        products: of vectors with the Hessian, at most so many for the eigenvalues.
        density_draws, density_steps: vectors and Lanczos steps of each; 0 draws for no density.
        trace_draws: vectors of random signs (Hutchinson); 0 for no trace.
        parameters: patterns of the names of trained parameters to which H is restricted (``conv1.*``); None: all.
        statistics: where normalisations take theirs from: "moving", "held" (the batch's, as constants; torch's batch
            normalisations only), "running" (as they stood before this batch), "given" (of ``statistics_file``), or
            given ones by the names of the buffers that hold the running ones, as in a state dict.
        statistics_file: tensors by name, as torch.save wrote a state dict, or a dictionary that has one at "network"
            (a checkpoint).
        batch: "train" is the step's own; others are given to Probes.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: an option out of its range; more eigenvalues than parameters, a pattern that matches none, a network
            that stops gradients, so that differentiating twice leaves out a part; statistics that cannot be had.
    """

    largest: int = 5
    smallest: int = 0
    tolerance: float = 1e-2
    products: int = 60
    density_draws: int = 0
    density_steps: int = 90
    trace_draws: int = 0
    parameters: tuple[str, ...] | None = None
    statistics: str | Mapping[str, Tensor] = "moving"
    statistics_file: str | None = None
    batch: str = "train"
    every: int = 1

    def __post_init__(self) -> None:
        if self.largest < 1 or self.smallest < 0:
            raise ProbeError(f"spectrum largest={self.largest} smallest={self.smallest}: at least 1, and 0 or more")
        if not 0 < self.tolerance < 1:
            raise ProbeError(f"spectrum tolerance={self.tolerance}: must be between 0 and 1")
        least = 2 * (self.largest + self.smallest) + 1
        if self.products < least:
            raise ProbeError(f"spectrum products={self.products}: must be at least {least} for so many eigenvalues")
        if self.density_draws < 0 or self.density_steps < 1 or self.trace_draws < 0:
            raise ProbeError(
                f"spectrum density_draws={self.density_draws} density_steps={self.density_steps} "
                f"trace_draws={self.trace_draws}: must be 0 or more, at least 1, 0 or more"
            )
        if self.parameters is not None and not self.parameters:
            raise ProbeError("spectrum parameters=[]: at least one pattern is needed, or null for all parameters")
        object.__setattr__(self, "_source", self._chosen())

    def _chosen(self) -> Taken:
        """Where statistics come from; one object as long as this probe lives, since given ones are equal to themselves
        only."""
        told, file = self.statistics, self.statistics_file
        if (file is not None) != (told == "given"):
            named = "by name" if isinstance(told, Mapping) else told
            raise ProbeError(
                f"spectrum statistics={named} statistics_file={file}: given ones need a file, no others do"
            )
        if file is not None:
            return Given(_read(file))
        if isinstance(told, Mapping):
            return Given(told)
        if told not in ("moving", "held", "running"):
            raise ProbeError(f"spectrum statistics={told}: must be moving, held, running or given")
        return cast(Taken, told)

    def _need(self, reduction: ExtremeEigenvalues | SpectralDensity | Trace) -> Need:
        return Need(self.batch, Before(), reduction)

    @property
    def _patterns(self) -> tuple[str, ...] | None:
        return None if self.parameters is None else tuple(self.parameters)

    @property
    def _taken(self) -> Taken:
        return cast(Taken, vars(self)["_source"])

    @property
    def _of(self) -> ExtremeEigenvalues:
        ends = (self.largest, self.smallest, self.tolerance, self.products)
        return ExtremeEigenvalues(self._patterns, *ends, statistics=self._taken)

    @property
    def _ends(self) -> Need:
        return self._need(self._of)

    @property
    def _density(self) -> Need:
        return self._need(
            SpectralDensity(self._patterns, self.density_draws, self.density_steps, statistics=self._taken)
        )

    @property
    def _trace(self) -> Need:
        return self._need(Trace(self._patterns, self.trace_draws, statistics=self._taken))

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        needs = [self._ends]
        told = "given" if isinstance(self._taken, Given) else self._taken
        batch = self.batch if told == "moving" else f"{self.batch}, {told} statistics"
        fields: dict[str, Field] = {}
        for end, count in (("largest", self.largest), ("smallest", self.smallest)):
            places = tuple(float(place) for place in range(1, count + 1))
            for what in ("eigenvalues", "residuals") if count else ():
                key, reference = f"{end}_{what}", "||H v - lambda v||" if what == "residuals" else "of the Hessian"
                fields[key] = Field(key, "loss/parameter^2", reference, batch, "before", dims=("x",), x=places)
        for key, (unit, reference) in _RECORDS.items():
            fields[key] = Field(key, unit, reference, batch, "before")
        if self.density_draws:
            needs.append(self._density)
            for key, unit in (("density_nodes", "loss/parameter^2"), ("density_weights", "fraction")):
                fields[key] = Field(
                    key, unit, "Ghorbani et al. 2019", batch, "before", ("draw", "node"), None, None,
                    (self.density_draws, self.density_steps),
                )  # fmt: skip
        if self.trace_draws:
            needs.append(self._trace)
            for key in ("trace", "trace_standard_error"):
                fields[key] = Field(key, "loss/parameter^2", "Hutchinson's estimate", batch, "before")
        return Declaration(tuple(needs), fields, modes=told == "held")

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        k, m = self.largest, self.smallest
        high, of_high, low, of_low, rest = at[self._ends].split([k, k, m, m, 5])
        products, share, along, length, size = rest
        rate = torch.tensor(at.rate_of(self._of.parameters(at.network)), dtype=torch.float64)
        answer = {"largest_eigenvalues": high, "largest_residuals": of_high}
        if m:
            answer |= {"smallest_eigenvalues": low, "smallest_residuals": of_low}
        values = (rate * high[0], rate * along, size.square() * high[0], share, along, length, products)
        answer |= dict(zip(_RECORDS, values, strict=True))
        if self.density_draws:
            answer["density_nodes"], answer["density_weights"] = at[self._density].unbind(1)
        if self.trace_draws:
            answer["trace"], answer["trace_standard_error"] = at[self._trace]
        return answer


def _read(file: str) -> Mapping[str, Tensor]:
    """The tensors of a file, by name."""
    key = f"spectrum statistics_file={file}"
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged files torch raises many types
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged, or none of torch's"
        raise ProbeError(f"{key}: cannot be read ({reason})") from None
    found = found.get("network", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ProbeError(f"{key}: must hold tensors by name, as a state dict does")
    return found


_RECORDS = {
    "sharpness_times_rate": ("1", "Cohen et al. 2021: lr_t lambda_1; NaN where the parameters have several rates"),
    "curvature_along_gradient_times_rate": ("1", "lr_t g^T H g / ||g||^2"),
    "spherical_sharpness": ("loss", "Lyu et al. 2022: ||w||^2 lambda_1, w the parameters looked at"),
    "gradient_share": (
        "fraction",
        "Gur-Ari et al. 2018; of ||g||^2, in the span of the largest ones' vectors",
    ),
    "curvature_along_gradient": ("loss/parameter^2", "g^T H g / ||g||^2"),
    "gradient_norm": ("loss/parameter", "of the parameters looked at"),
    "hessian_products": ("1", "that the eigenvalues took"),
}
