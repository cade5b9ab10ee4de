"""Whitening by the batch covariance (Huang et al. 2018, arXiv:1804.08450; by iterations: 2019, arXiv:1904.03441)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.norms.base import (
    NORMS,
    OutputNormalisation,
    in_range,
    refuse_single_values,
)
from experiments.norms.batch import Detached
from probes import statistics


@NORMS.register("whitening")
class Whitening(nn.Module):
    """y = gamma C^(-1/2) (x - mean) + beta, with C = covariance + eps I over the batch (and H, W), in groups of units.

    The symmetric root (ZCA) of each group's covariance, by the coupled Newton-Schulz iteration, which is differentiated
    through: with A = C / tr C, Y_0 = A, Z_0 = I and T = (3 I - Z Y) / 2, Y <- Y T and Z <- T Z tend to A^(1/2) and
    A^(-1/2). An eigenvalue l of A is brought to 1 as l grows by up to 2.25 a step: after k of them, those below about
    2.25^-k are whitened in part only.

    In evaluation mode the running mean and covariance take their place, or what :mod:`probes.statistics` says.

    Attributes:
        groups: (units, first unit) of the groups: as few as ``group_size`` allows, as equal as can be.
        weight, bias: gamma (initially 1) and beta (initially 0), shape (units,).
        running_mean: buffer, (units,), moving average of the mean; initially 0.
        running_covariance: buffer, (units, largest group), moving average of the unbiased covariance; row u is that of
            unit u with the units of its group, then zeros; initially the identity.
        num_batches_tracked: buffer, number of training batches seen.
        place: qualified name in the network, set by the network.
    """

    running_mean: Tensor
    running_covariance: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        layer: nn.Module,
        *,
        group_size: int = 16,
        iterations: int = 10,
        detach: Detached = "none",
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        """
        Args:
            layer: ``nn.Linear`` or ``nn.Conv2d``.
            group_size: units that are whitened together, at most; 1 is batch normalisation.
            iterations: of Newton and Schulz.
            detach: what of the batch's statistics has no gradient: nothing, the mean, the root (std), or both.
            eps: added to the variances; more than 0.
            momentum: weight of the newest batch in the running statistics, in [0, 1].
        """
        super().__init__()
        in_range("group_size", group_size, 1)
        in_range("iterations", iterations, 1)
        in_range("momentum", momentum, 0, 1)
        if not eps > 0:
            raise WrongInput(f"norm.eps={eps}: must be more than 0")
        like = OutputNormalisation(layer, eps=eps, momentum=momentum)
        self.units, self.iterations, self.detach = like.units, iterations, detach
        self.eps, self.momentum, self.place = eps, momentum, ""
        count = -(-self.units // group_size)
        small, larger = divmod(self.units, count)
        # of equal groups at a time: those with one unit more than the others, then the others
        self.groups = [(n, size) for n, size in ((larger, small + 1), (count - larger, small)) if n]
        self.weight, self.bias = like.weight, like.bias
        self.register_buffer("running_mean", like.running_mean)
        identity = [torch.eye(size).repeat(n, 1) for n, size in self.groups]
        widest = self.groups[0][1]
        padded = [nn.functional.pad(rows, (0, widest - rows.shape[1])) for rows in identity]
        self.register_buffer("running_covariance", torch.cat(padded).to(like.running_mean))
        self.register_buffer("num_batches_tracked", like.num_batches_tracked)

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x: (batch, units) or (batch, channels, height, width).

        Raises:
            WrongInput: in training, a batch with one value per unit.
        """
        rows = x.movedim(1, -1).reshape(-1, self.units)  # (values, units)
        if statistics.of_batch(self.training):
            refuse_single_values("whitening", x, len(rows))
            mean = rows.mean(0)
            centred = rows - mean
            covariances = [part.transpose(1, 2) @ part / len(rows) for part in self._columns(centred)]
            if statistics.moves(self.training):
                self._track(mean, covariances, len(rows))
            if self.detach in ("mean", "both"):
                centred = rows - mean.detach()
        else:
            own = {"running_mean": self.running_mean, "running_covariance": self.running_covariance}
            mean, covariance = statistics.held(self.place, **own)
            centred = rows - mean
            covariances = [part[..., : part.shape[1]] for part in self._parts(covariance)]
        whitened = []
        for part, covariance in zip(self._columns(centred), covariances, strict=True):
            root = self.inverse_root(covariance)
            if self.detach in ("std", "both"):
                root = root.detach()
            whitened.append((part @ root).transpose(0, 1).flatten(1))  # the root is symmetric
        y = torch.cat(whitened, 1).view(len(x), *x.shape[2:], self.units).movedim(-1, 1)
        shape = (1, self.units, *[1] * (x.ndim - 2))
        return torch.addcmul(self.bias.view(shape), y, self.weight.view(shape))

    def _columns(self, rows: Tensor) -> list[Tensor]:
        """(values, units) by groups of equal size: (groups, values, units of each)."""
        parts = rows.split([n * size for n, size in self.groups], dim=1)
        return [
            part.unflatten(1, (n, size)).transpose(0, 1) for part, (n, size) in zip(parts, self.groups, strict=True)
        ]

    def _parts(self, rows: Tensor) -> list[Tensor]:
        """(units, anything) by groups of equal size: (groups, units of each, anything)."""
        parts = rows.split([n * size for n, size in self.groups])
        return [part.view(n, size, -1) for part, (n, size) in zip(parts, self.groups, strict=True)]

    def inverse_root(self, covariance: Tensor) -> Tensor:
        """(covariance + eps I)^(-1/2), (groups, size, size), to the accuracy of the iterations."""
        identity = torch.eye(covariance.shape[1], dtype=covariance.dtype, device=covariance.device)
        covariance = covariance + self.eps * identity
        trace = covariance.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        y, z = covariance / trace, identity.expand(covariance.shape)
        for _ in range(self.iterations):
            step = (3.0 * identity - z @ y) / 2.0
            y, z = y @ step, step @ z
        return z / trace.sqrt()

    @torch.no_grad()
    def _track(self, mean: Tensor, covariances: list[Tensor], values: int) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        for running, found in zip(self._parts(self.running_covariance), covariances, strict=True):
            running[..., : found.shape[1]].lerp_(found * (values / (values - 1)), self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        groups = " and ".join(f"{n} of {size}" for n, size in self.groups)
        return f"{self.units} in {groups}, iterations={self.iterations}, eps={self.eps:g}, detach={self.detach}"
