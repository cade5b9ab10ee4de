"""Algorithm 1 of Santurkar et al. (2018): time-varying, per-sample noise on the (normalised) activations."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.norms import drift
from experiments.norms.base import NORMS, in_range
from experiments.norms.batch import batch
from probes import randomness

_LONGEST = 10_000
"""Steps, beyond which a step would draw hundreds of thousands of numbers for each unit."""


@NORMS.register("noise")
class Noise(nn.Module):
    """y_ij = s_ij x_ij + m_ij, drawn anew at every training step.

    For each unit (channel) j: mu_j ~ U(-n_mu, n_mu), sigma_j ~ U(1, n_sigma). Then for each sample i, where height and
    width of a convolution count as samples: m_ij ~ U(mu_j - r_mu, mu_j + r_mu), s_ij ~ N(sigma_j, r_sigma). The
    paper does not say whether r_sigma is a deviation or a variance; here it is the standard deviation.

    With a ``correlation_time`` above 1 the units' mu_j and sigma_j drift instead of jumping, see
    :func:`experiments.norms.drift.uniform`; at each step they are distributed as before, and so are the samples about
    them, which are drawn anew. That is within :func:`probes.at_step`, as a run and probes call the network; outside,
    where no step is known, they jump at each call.

    With ``noise_per="sample"`` every sample i has a mu_ij and a sigma_ij of its own in place of its unit's: each m_ij
    and s_ij is distributed as before, but nothing is shared over the batch, so that no distribution of a unit moves.

    The draw is a function of (seed, step, ``place``), see :mod:`probes.randomness`. It is made in float32 whatever the
    network's precision, so that a float64 copy of the network sees the same noise.

    Attributes:
        place: qualified name in the network, set by the network.
    """

    def __init__(
        self,
        layer: nn.Module,
        *,
        n_mu: float = 0.5,
        n_sigma: float = 1.25,
        r_mu: float = 0.1,
        r_sigma: float = 0.1,
        noise_at_eval: bool = False,
        correlation_time: float = 1.0,
        noise_per: Literal["unit", "sample"] = "unit",
    ) -> None:
        """
        Args:
            layer: the layer whose output, normalised or not, is disturbed.
            n_mu: largest shift of a unit's mean; at least 0.
            n_sigma: largest factor on a unit's deviation; at least 1.
            r_mu: largest deviation of a sample's shift from its unit's; at least 0.
            r_sigma: standard deviation of a sample's factor about its unit's; at least 0.
            noise_at_eval: keep the noise in evaluation mode.
            correlation_time: steps over which mu_j and sigma_j are remembered; 1: not at all, as published; .inf: for
                ever. From 1 to 10,000, or infinite; each step draws about 28 numbers per unit times it.
            noise_per: whether the samples of a batch share their unit's mu_j and sigma_j, as published, or not.

        Raises:
            WrongInput: a value out of range; a correlation time of noise that no unit keeps.
        """
        super().__init__()
        in_range("n_mu", n_mu, 0)
        in_range("n_sigma", n_sigma, 1)
        in_range("r_mu", r_mu, 0)
        in_range("r_sigma", r_sigma, 0)
        self.n_mu, self.n_sigma, self.r_mu, self.r_sigma = n_mu, n_sigma, r_mu, r_sigma
        self.noise_at_eval = noise_at_eval
        if correlation_time != math.inf:
            in_range("correlation_time", correlation_time, 1, _LONGEST)
        self.correlation_time = correlation_time
        if noise_per == "sample" and correlation_time > 1:
            raise WrongInput(
                f"norm.correlation_time={correlation_time:g}: must be 1 with norm.noise_per=sample, for no unit keeps "
                "what is drawn"
            )
        self.noise_per = noise_per
        self.place = ""

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x: (batch, units) or (batch, channels, height, width)."""
        if not (self.training or self.noise_at_eval):
            return x
        generator = randomness.generator(self.place, x.device)
        per_unit = (1, x.shape[1], *[1] * (x.ndim - 2))
        shared = x.shape if self.noise_per == "sample" else per_unit
        mu = torch.empty(shared, device=x.device).uniform_(-self.n_mu, self.n_mu, generator=generator)
        sigma = torch.empty(shared, device=x.device).uniform_(1.0, self.n_sigma, generator=generator)
        if self.correlation_time > 1 and randomness.current() is not None:
            drifting = drift.uniform(self.place, self.correlation_time, (2, x.shape[1]), x.device)
            mu = (self.n_mu * (2.0 * drifting[0] - 1.0)).view(per_unit)
            sigma = (1.0 + (self.n_sigma - 1.0) * drifting[1]).view(per_unit)
        m = torch.empty(x.shape, device=x.device).uniform_(-self.r_mu, self.r_mu, generator=generator).add_(mu)
        s = torch.empty(x.shape, device=x.device).normal_(0.0, self.r_sigma, generator=generator).add_(sigma)
        return torch.addcmul(m.to(x.dtype), s.to(x.dtype), x)

    def extra_repr(self) -> str:
        return (
            f"n_mu={self.n_mu}, n_sigma={self.n_sigma}, r_mu={self.r_mu}, r_sigma={self.r_sigma}, "
            f"correlation_time={self.correlation_time:g}, noise_per={self.noise_per}"
        )


@NORMS.register("noisy_batch")
def noisy_batch(
    layer: nn.Module,
    *,
    eps: float = 1e-5,
    momentum: float = 0.1,
    n_mu: float = 0.5,
    n_sigma: float = 1.25,
    r_mu: float = 0.1,
    r_sigma: float = 0.1,
    noise_at_eval: bool = False,
    correlation_time: float = 1.0,
    noise_per: Literal["unit", "sample"] = "unit",
) -> nn.Module:
    """Noisy batch normalisation (Santurkar et al. 2018, Algorithm 1): children ``batch`` and ``noise``.

    The noise comes after the affine part of batch normalisation. Options: those of :func:`batch` and :class:`Noise`.
    """
    noise = Noise(
        layer,
        n_mu=n_mu,
        n_sigma=n_sigma,
        r_mu=r_mu,
        r_sigma=r_sigma,
        noise_at_eval=noise_at_eval,
        correlation_time=correlation_time,
        noise_per=noise_per,
    )
    return nn.Sequential(OrderedDict(batch=batch(layer, eps=eps, momentum=momentum), noise=noise))
