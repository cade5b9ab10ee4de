"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithm 1), and its parts one by one.

As it is, it is torch's own layers. What differs from it (a part left out, statistics without gradient, statistics of
parts of the batch) is :class:`BatchStatistics`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.errors import WrongInput
from experiments.norms.base import NORMS, device_and_dtype, in_range, is_convolution, refuse_single_values, units
from probes import statistics

Detached = Literal["none", "mean", "std", "both"]
Trained = Literal["batch", "running", "population"]


class _Contextual(nn.modules.batchnorm._BatchNorm):
    """torch's batch normalisation, with its statistics from where :mod:`probes.statistics` says.

    A training batch of one value per unit is refused with the suite's error.
    """

    place = ""
    _values_of = "unit"

    def forward(self, input: Tensor) -> Tensor:
        of_batch = statistics.of_batch(self.training)
        if of_batch:
            refuse_single_values("batch", input, input.numel() // self.num_features, of=self._values_of)
        if statistics.chosen() is None:
            return super().forward(input)
        if of_batch:
            return functional.batch_norm(input, None, None, self.weight, self.bias, True, 0.0, self.eps)
        assert self.running_mean is not None
        assert self.running_var is not None
        mean, variance = statistics.held(self.place, running_mean=self.running_mean, running_var=self.running_var)
        if mean.requires_grad or variance.requires_grad:  # torch's kernel would leave their gradient out
            return _affine(input, mean[None], torch.rsqrt(variance[None] + self.eps), self.weight, self.bias)
        return functional.batch_norm(input, mean, variance, self.weight, self.bias, False, 0.0, self.eps)


class BatchNorm1d(_Contextual, nn.BatchNorm1d):
    """torch's for vectors, see :class:`_Contextual`."""

    holds_all = True  # nothing beside parameters, buffers and the context: see probes.engine.hooks.torchs_own

    def forward(self, input: Tensor) -> Tensor:  # samples that are neighbours go as a channel's pixels, without a copy
        if input.ndim == 2 and input.stride(0) == 1 and not input.is_contiguous():
            return super().forward(input.t()[None]).squeeze(0).t()
        return super().forward(input)


class BatchNorm2d(_Contextual, nn.BatchNorm2d):
    """torch's for images, see :class:`_Contextual`."""

    holds_all = True
    _values_of = "channel"


def adopt(network: nn.Module) -> nn.Module:
    """Makes torch's batch normalisations in ``network`` take their statistics from where the context says.

    They compute what they did and keep their state. For a model that this suite has not built.

    Args:
        network: changed in place, and returned.

    Raises:
        WrongInput: a batch normalisation of another kind, which would not be told.
    """
    ours = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d}
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, _Contextual):
            if type(module) not in ours or not module.track_running_stats:
                raise WrongInput(
                    f"{name}: a {type(module).__name__} cannot take its statistics from elsewhere; "
                    "BatchNorm1d and BatchNorm2d with running statistics can"
                )
            module.__class__ = ours[type(module)]
            module.place = name
    return network


def _affine(x: Tensor, mean: Tensor, scale: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
    """gamma (x - mean) scale + beta in one pass over x; mean, scale are (1 or samples, units), gamma, beta (units,)."""
    scale = scale if gamma is None else scale * gamma
    offset = -mean * scale if beta is None else beta - mean * scale
    shape = (-1, x.shape[1], *[1] * (x.ndim - 2))
    return torch.addcmul(offset.reshape(shape), x, scale.reshape(shape))


class BatchStatistics(nn.Module):
    """y = gamma (x - c mean) / sqrt(q + eps) + beta with the statistics of groups of samples; see :func:`batch`.

    c is 1, 0 or what ``center`` says, q = mean((x - c mean)^2) = var + (1 - c)^2 mean^2, and 1 - eps without ``scale``.

    Attributes:
        weight, bias: gamma and beta, shape (units,), or None without ``affine``.
        running_mean, running_var: buffers, moving averages of the mean and of the unbiased variance, over the groups of
            a batch weighed by their sizes, shape (units,); with ``running="domain"`` one row per domain.
        num_batches_tracked: buffer, number of training batches seen.
        place: qualified name in the network, set by the network.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        units: int,
        *,
        center: float,
        scale: bool,
        affine: bool,
        detach: Detached,
        statistics: Trained,
        ghost_size: int | None,
        domains: int | None,
        running_by_domain: bool,
        frozen_after: int | None,
        eps: float,
        momentum: float,
        **factory: Any,
    ) -> None:
        """Options as of :func:`batch`; ``domains`` is their number, or None where they are not told apart."""
        super().__init__()
        self.units, self.center, self.scale, self.detach = units, center, scale, detach
        self.statistics = statistics
        self.ghost_size, self.domains, self.running_by_domain = ghost_size, domains, running_by_domain
        self.frozen_after = frozen_after
        self.eps, self.momentum = eps, momentum
        self.place = ""
        self.weight = nn.Parameter(torch.ones(units, **factory)) if affine else None
        self.bias = nn.Parameter(torch.zeros(units, **factory)) if affine else None
        shape = (domains, units) if running_by_domain and domains else (units,)
        self.register_buffer("running_mean", torch.zeros(shape, **factory))
        self.register_buffer("running_var", torch.ones(shape, **factory))
        self.register_buffer("num_batches_tracked", torch.tensor(0, device=factory["device"]))

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x: (batch, units) or (batch, channels, height, width).

        Raises:
            WrongInput: a group of one value per unit, a ghost size that does not divide the batch, no domains or more
                of them than there are.
        """
        if not statistics.of_batch(self.training) or self._frozen():
            mean, variance = statistics.held(self.place, running_mean=self.running_mean, running_var=self.running_var)
            rows = self._domains_of(x) if self.running_by_domain else None
            return self._normalised(x, mean, variance, rows)
        moves = statistics.moves(self.training)
        if moves and self.statistics == "running":
            y = self._normalised(x, self.running_mean.clone(), self.running_var.clone(), None)
            self._track(*self._moments(x.detach(), None), None)
            return y
        if moves and self.statistics == "population":
            mean, variance, values = statistics.population(self.place)
            self._track(mean, variance, values, None)
            return self._normalised(x, mean, variance, None)
        groups, members = self._groups(x)
        mean, variance, values = self._moments(x, members)
        if statistics.gathering() and self.statistics == "population":
            statistics.gather(self.place, (mean, variance, values))
        if moves:
            self._track(mean, variance, values, groups)
        return self._normalised(x, mean, variance, members)

    def _frozen(self) -> bool:
        """Whether training has come to where the running statistics stand still and take the batch's place."""
        if self.frozen_after is None or not statistics.moves(self.training):
            return False
        return int(self.num_batches_tracked) >= self.frozen_after

    def _groups(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The domain of each group, where they are domains; and each sample's group, None where all are of one."""
        if self.ghost_size is not None:
            if len(x) % self.ghost_size:
                raise WrongInput(f"norm.ghost_size={self.ghost_size}: does not divide a batch of {len(x)} samples")
            return None, torch.arange(len(x), device=x.device) // self.ghost_size
        if self.domains is not None:
            groups, members = self._domains_of(x).unique(return_inverse=True)
            return groups, members
        return None, None

    def _domains_of(self, x: Tensor) -> Tensor:
        assert self.domains is not None
        found = statistics.domains(len(x), x.device)
        if found is None:
            raise WrongInput("norm.per=domain: these data have no domains; choose per=batch, or data with domains")
        if not 0 <= int(found.min()) <= int(found.max()) < self.domains:
            raise WrongInput(
                f"norm.domains={self.domains}: a sample is of domain {int(found.max())}; they count from 0"
            )
        return found

    def _moments(self, x: Tensor, members: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and biased variance of each group, (groups, units), and its number of values per unit, (groups, 1)."""
        places = x[0, 0].numel()
        if members is None:
            values = torch.full((1, 1), len(x) * places, dtype=x.dtype, device=x.device)
        else:
            values = torch.bincount(members)[:, None].to(x.dtype) * places
        refuse_single_values("batch", x, int(values.min()), of="unit" if members is None else "unit and group")
        if members is None:
            variance, mean = torch.var_mean(x, [d for d in range(x.ndim) if d != 1], correction=0)
            return mean[None], variance[None], values

        def average(of_samples: Tensor) -> Tensor:
            sums = torch.zeros(len(values), self.units, dtype=x.dtype, device=x.device)
            return sums.index_add(0, members, of_samples) / values * places

        def over_places(y: Tensor) -> Tensor:
            return y.flatten(2).mean(2) if y.ndim > 2 else y

        mean = average(over_places(x))
        centred = x - mean[members].reshape(len(x), self.units, *[1] * (x.ndim - 2))
        return mean, average(over_places(centred.square())), values

    def _normalised(self, x: Tensor, mean: Tensor, variance: Tensor, rows: Tensor | None) -> Tensor:
        """y by the statistics (groups, units) or (units,); ``rows`` says which row is whose, None for one for all."""
        if self.scale:
            square = variance if self.center == 1 else variance + ((1 - self.center) * mean).square()
            if self.detach in ("std", "both"):
                square = square.detach()
            scale = torch.rsqrt(square + self.eps)
        else:
            scale = torch.ones(variance.shape, dtype=x.dtype, device=x.device)
        if self.detach in ("mean", "both"):
            mean = mean.detach()
        if rows is not None:
            mean, scale = mean[rows], scale[rows]
        return _affine(x, self.center * mean, scale, self.weight, self.bias)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, values: Tensor, groups: Tensor | None) -> None:
        unbiased = variance * (values / (values - 1))
        for running, found in ((self.running_mean, mean), (self.running_var, unbiased)):
            if self.running_by_domain:
                assert groups is not None
                running[groups] = running[groups].lerp(found, self.momentum)
            else:
                running.lerp_((found * (values / values.sum())).sum(0), self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        return (
            f"{self.units}, center={self.center:g}, scale={self.scale}, detach={self.detach}, "
            f"statistics={self.statistics}, ghost_size={self.ghost_size}, domains={self.domains}, "
            f"frozen_after={self.frozen_after}, eps={self.eps:g}, momentum={self.momentum:g}"
        )


@NORMS.register("batch")
def batch(
    layer: nn.Module,
    *,
    eps: float = 1e-5,
    momentum: float = 0.1,
    center: bool | float = True,
    scale: bool = True,
    affine: bool = True,
    detach: Detached = "none",
    statistics: Trained = "batch",
    per: Literal["batch", "domain", "ghost"] = "batch",
    ghost_size: int | None = None,
    running: Literal["shared", "domain"] = "shared",
    domains: int = 2,
    frozen_after: int | None = None,
) -> nn.Module:
    """y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance per unit over the batch (and H, W).

    In evaluation mode the running mean and running variance take their place. As in torch, the running variance is a
    moving average of the unbiased one, m / (m - 1) times the variance used in training, m the values per unit. Where
    else statistics may come from says :mod:`probes.statistics`.

    Args:
        layer: ``nn.Linear`` or ``nn.Conv2d``.
        eps: added to the variance; more than 0, as torch demands.
        momentum: weight of the newest batch in the running statistics, in [0, 1].
        center: whether the mean is removed; a number c in (0, 1) removes c times the mean (Lubana et al. 2021). What
            is divided by is the root mean square of what is left: without centring that of x itself.
        scale: whether to divide at all; false is centring only.
        affine: whether there are gamma and beta.
        detach: what of the batch's statistics has no gradient: nothing, the mean that is removed, what is divided by
            (std), or both (Ioffe & Szegedy 2015, section 2).
        statistics: what training normalises by. The batch's; the running ones as they stand before the batch, which
            have no gradient and then follow the batch's; or those of the whole training set at the present weights
            (population normalisation, Luo et al. 2019, arXiv:1809.00846), with gradient through all of it unless
            ``detach`` says otherwise, which the running ones follow: a pass of the whole set at each step.
        per: which samples share statistics: all of the batch, those of one domain (Irpan 2017), or ``ghost_size``
            consecutive ones (ghost batches, Hoffer et al. 2017, arXiv:1705.08741). The running ones then follow the
            groups' statistics weighed by their sizes, within groups only.
        ghost_size: samples of a ghost batch; must divide the batch.
        running: whether the domains share running statistics or each has its own, which its samples take in
            evaluation mode.
        domains: how many there are.
        frozen_after: after so many training batches the running statistics stand still and training normalises by
            them, as evaluation does (Wu & Johnson 2021, arXiv:2105.07576, section 4.2); None: never.

    Raises:
        WrongInput: a value out of range, options that do not go together.
    """
    if not eps > 0:
        raise WrongInput(f"norm.eps={eps}: must be more than 0")
    in_range("momentum", momentum, 0, 1)
    if not isinstance(center, bool) and not 0 < center < 1:
        raise WrongInput(f"norm.center={center}: must be true, false, or a number between them (0 and 1 excluded)")
    if not center and not scale:
        raise WrongInput("norm.scale=false: with norm.center=false nothing is normalised; choose norm=none")
    if (per == "ghost") != (ghost_size is not None):
        raise WrongInput(f"norm.ghost_size={ghost_size}: norm.per=ghost needs one, and nothing else does")
    if ghost_size is not None and ghost_size < 1:
        raise WrongInput(f"norm.ghost_size={ghost_size}: must be at least 1")
    if per != "domain" and (running, domains) != ("shared", 2):
        key, value = ("running", running) if running != "shared" else ("domains", str(domains))
        raise WrongInput(f"norm.{key}={value}: needs norm.per=domain")
    if statistics != "batch" and per != "batch":
        raise WrongInput(f"norm.statistics={statistics}: needs norm.per=batch, not {per}")
    if statistics == "running" and detach != "none":
        raise WrongInput(f"norm.detach={detach}: running statistics have no gradient; choose norm.statistics=batch")
    if domains < 1:
        raise WrongInput(f"norm.domains={domains}: must be at least 1")
    if frozen_after is not None and (frozen_after < 1 or statistics != "batch"):
        rule = "must be at least 1, or null" if frozen_after < 1 else "needs norm.statistics=batch"
        raise WrongInput(f"norm.frozen_after={frozen_after}: {rule}")
    if (center, scale, detach, statistics, per, frozen_after) == (True, True, "none", "batch", "batch", None):
        cls = BatchNorm2d if is_convolution(layer) else BatchNorm1d
        return cls(units(layer), eps=eps, momentum=momentum, affine=affine, **device_and_dtype(layer))
    return BatchStatistics(
        units(layer),
        center=float(center),
        scale=scale,
        affine=affine,
        detach=detach,
        statistics=statistics,
        ghost_size=ghost_size,
        domains=domains if per == "domain" else None,
        running_by_domain=running == "domain",
        frozen_after=frozen_after,
        eps=eps,
        momentum=momentum,
        **device_and_dtype(layer),
    )
