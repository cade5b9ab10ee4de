"""Instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022): torch's own layer."""

from __future__ import annotations

from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.norms.base import NORMS, device_and_dtype, in_range, is_convolution, refuse_single_values, units


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's, with the suite's error for an image of one pixel."""

    def forward(self, input: Tensor) -> Tensor:
        refuse_single_values("instance", input, input[0, 0].numel(), of="sample and channel")
        return super().forward(input)


@NORMS.register("instance")
def instance(layer: nn.Module, *, eps: float = 1e-5) -> nn.Module:
    """y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance per sample and channel over H and W.

    Behaves the same in evaluation mode.

    Args:
        layer: ``nn.Conv2d``.
        eps: added to the variance.
    """
    in_range("eps", eps, 0)
    if not is_convolution(layer):
        raise WrongInput(
            "norm=instance: does not fit a Linear: it normalises each channel of each sample over "
            "height and width, and there a channel is a single value; use it on convolutions, or norm=layer"
        )
    return InstanceNorm2d(units(layer), eps=eps, affine=True, **device_and_dtype(layer))
