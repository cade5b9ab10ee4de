"""Batch renormalisation (Ioffe 2017, arXiv:1702.03275, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.norms.base import NORMS, OutputNormalisation, in_range, refuse_single_values
from probes import statistics


@NORMS.register("batch_renorm")
class BatchRenorm(OutputNormalisation):
    """y = gamma ((x - mean_B) / sigma_B * r + d) + beta, with r and d from the running statistics.

    r = sigma_B / sigma clipped to [1 / r_max, r_max], d = (mean_B - mean) / sigma clipped to [-d_max, d_max], both
    without gradient; mean_B and sigma_B = sqrt(var_B + eps) are those of the batch (biased variance), mean and sigma
    the running ones (``running_mean``, ``running_denominator``) before this batch is averaged in. Where nothing is
    clipped y = gamma (x - mean) / sigma + beta, what evaluation computes; with r_max = 1, d_max = 0 it is batch
    normalisation.

    The bounds start as those of batch normalisation and open with the number of batches seen (``num_batches_tracked``):
    closed for ``warmup`` batches, then linearly over ``r_ramp`` and ``d_ramp`` batches. The defaults are the
    paper's schedule shortened fifty times; its own is warmup=5000, r_ramp=35000, d_ramp=20000.

    With ``ghost_size`` a batch is normalised in micro-batches of so many consecutive samples, each by its own
    statistics (section 4.2); the running ones move once a batch, by the mean over micro-batches.
    """

    def __init__(
        self,
        layer: nn.Module,
        *,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup: int = 100,
        r_ramp: int = 700,
        d_ramp: int = 400,
        eps: float = 1e-5,
        momentum: float = 0.01,
        ghost_size: int | None = None,
    ) -> None:
        """
        Args:
            layer: ``nn.Linear`` or ``nn.Conv2d``.
            r_max: largest correction of the scale; at least 1.
            d_max: largest correction of the mean, in running deviations; at least 0.
            warmup: training batches that are normalised as by batch normalisation.
            r_ramp, d_ramp: training batches over which the bounds then grow to r_max and d_max; 0 for at once.
            eps: added to the variance.
            momentum: weight of the newest batch in the running statistics, in [0, 1].
            ghost_size: samples of a micro-batch; must divide the batch. None: the whole batch.
        """
        super().__init__(layer, eps=eps, momentum=momentum)
        in_range("r_max", r_max, 1)
        in_range("d_max", d_max, 0)
        in_range("warmup", warmup, 0)
        in_range("r_ramp", r_ramp, 0)
        in_range("d_ramp", d_ramp, 0)
        if ghost_size is not None and ghost_size < 1:
            raise WrongInput(f"norm.ghost_size={ghost_size}: must be at least 1")
        self.ghost_size = ghost_size
        self.r_max, self.d_max = r_max, d_max
        self.warmup, self.r_ramp, self.d_ramp = warmup, r_ramp, d_ramp

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, sigma = self._of_parts(x[None])
        return mean[0], sigma[0]

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`OutputNormalisation`. WrongInput too where micro-batches do not divide the batch."""
        if not statistics.of_batch(self.training):
            return super().forward(x)
        size = self.ghost_size or len(x)
        if len(x) % size:
            raise WrongInput(f"norm.ghost_size={self.ghost_size}: does not divide a batch of {len(x)} samples")
        refuse_single_values("batch_renorm", x, size * x[0, 0].numel())
        parts = x.unflatten(0, (-1, size))
        mean, sigma = self._of_parts(parts)
        r, d = torch.ones_like(sigma), torch.zeros_like(mean)
        if statistics.moves(self.training):  # where they come from elsewhere the batch's are taken as they are
            with torch.no_grad():
                r_bound = 1.0 + (self.r_max - 1.0) * self._opened(self.r_ramp)
                d_bound = self.d_max * self._opened(self.d_ramp)
                r = torch.clamp(sigma / self.running_denominator, 1.0 / r_bound, r_bound)
                d = torch.clamp((mean - self.running_mean) / self.running_denominator, -d_bound, d_bound)
                self.track(mean.mean(0), sigma.mean(0))
        scale = self.weight / (sigma / r)
        offset = self.bias + self.weight * d - mean * scale
        shape = (-1, *self.shape)
        return torch.addcmul(offset.view(shape), parts, scale.view(shape)).flatten(0, 1)

    def _of_parts(self, parts: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sigma of each part, (parts, units), of (parts, samples, units, ...)."""
        dims = [1 + dim for dim in self.dims]
        mean = parts.mean(dims)
        variance = (parts - mean.view(-1, *self.shape)).square().mean(dims)
        return mean, torch.sqrt(variance + self.eps)

    def _opened(self, ramp: int) -> Tensor:
        """How far a bound has opened after the batches seen so far, from 0 to 1. A tensor: no wait for the device."""
        seen = self.num_batches_tracked - self.warmup
        if ramp == 0:
            return (seen >= 0).to(self.running_mean.dtype)
        return (seen.to(self.running_mean.dtype) / ramp).clamp(0.0, 1.0)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, r_max={self.r_max:g}, d_max={self.d_max:g}, ghost_size={self.ghost_size}"
