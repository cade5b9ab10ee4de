"""Layer normalisation (Ba et al. 2016, arXiv:1607.06450): torch's own layers."""

from __future__ import annotations

from torch import nn

from experiments.errors import WrongInput
from experiments.norms.base import NORMS, device_and_dtype, in_range, is_convolution, units
from experiments.norms.group import GroupNorm


@NORMS.register("layer")
def layer(layer: nn.Module, *, eps: float = 1e-5) -> nn.Module:
    """y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance per sample over all units (and H, W).

    On a convolution it is group normalisation with one group: gamma and beta stay one per channel. Behaves the same in
    evaluation mode.

    Args:
        layer: ``nn.Linear`` with more than one unit, or ``nn.Conv2d``.
        eps: added to the variance.
    """
    in_range("eps", eps, 0)
    if is_convolution(layer):
        return GroupNorm(1, units(layer), eps=eps, **device_and_dtype(layer))
    if units(layer) == 1:
        raise WrongInput("norm=layer: a Linear with one unit has one value per sample, which cannot be normalised")
    return nn.LayerNorm(units(layer), eps=eps, **device_and_dtype(layer))
