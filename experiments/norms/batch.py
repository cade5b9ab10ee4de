"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithm 1): torch's own layers."""

from __future__ import annotations

from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.norms.base import NORMS, device_and_dtype, in_range, is_convolution, refuse_single_values, units


class BatchNorm1d(nn.BatchNorm1d):
    """torch's, with the suite's error for a training batch of one value per unit."""

    is_normalisation = True

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            refuse_single_values("batch", input, input.numel() // self.num_features)
        return super().forward(input)


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, with the suite's error for a training batch of one value per channel."""

    is_normalisation = True

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            refuse_single_values("batch", input, input.numel() // self.num_features, of="channel")
        return super().forward(input)


@NORMS.register("batch")
def batch(layer: nn.Module, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance per unit over the batch (and H, W).

    In evaluation mode the running mean and running variance take their place. As in torch, the running variance is a
    moving average of the unbiased one, m / (m - 1) times the variance used in training, m the values per unit.

    Args:
        layer: ``nn.Linear`` or ``nn.Conv2d``.
        eps: added to the variance; more than 0, as torch demands.
        momentum: weight of the newest batch in the running statistics, in [0, 1].
    """
    if not eps > 0:
        raise WrongInput(f"norm.eps={eps}: must be more than 0")
    in_range("momentum", momentum, 0, 1)
    cls = BatchNorm2d if is_convolution(layer) else BatchNorm1d
    return cls(units(layer), eps=eps, momentum=momentum, **device_and_dtype(layer))
