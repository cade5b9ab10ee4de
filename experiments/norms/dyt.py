"""Dynamic Tanh (Zhu et al. 2025, arXiv:2503.10622, equation 1): no statistics at all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.norms.base import NORMS, device_and_dtype, in_range, units


@NORMS.register("dyt")
class DynamicTanh(nn.Module):
    """y = gamma tanh(alpha x) + beta, with one learnt alpha for the layer, gamma and beta one per unit.

    Behaves the same in evaluation mode.

    Attributes:
        alpha: shape (1,), initially ``alpha``.
        weight, bias: gamma (initially 1) and beta (initially 0), shape (units,).
    """

    def __init__(self, layer: nn.Module, *, alpha: float = 0.5) -> None:
        """
        Args:
            layer: ``nn.Linear`` or ``nn.Conv2d``.
            alpha: where alpha starts; at least 0. The paper's default.
        """
        super().__init__()
        in_range("alpha", alpha, 0)
        factory = device_and_dtype(layer)
        self.alpha = nn.Parameter(torch.full((1,), alpha, **factory))
        self.weight = nn.Parameter(torch.ones(units(layer), **factory))
        self.bias = nn.Parameter(torch.zeros(units(layer), **factory))

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x: (batch, units) or (batch, channels, height, width)."""
        shape = (-1, *[1] * (x.ndim - 2))
        return torch.addcmul(self.bias.view(shape), torch.tanh(self.alpha * x), self.weight.view(shape))

    def extra_repr(self) -> str:
        return f"{len(self.weight)}"
