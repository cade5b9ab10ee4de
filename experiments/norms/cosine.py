"""Cosine normalisation (Luo et al. 2017, arXiv:1702.05870): cosines in place of inner products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.errors import WrongInput
from experiments.linear import LINEAR
from experiments.norms.base import NORMS, Rewritten, units


def _effective(layer: Any) -> Tensor:
    """The weight, less each unit's mean where the layer is centred."""
    if not layer.centered:
        return layer.weight
    flat = layer.weight.flatten(1)
    return (flat - flat.mean(1, keepdim=True)).view_as(layer.weight)


def _cosines(layer: Any, product: Tensor, squares: Tensor, sums: Tensor, weight: Tensor) -> Tensor:
    """Of <w, x>, per unit, ||x||^2 and <1, x>, one per place, to <w, x> / (||w|| ||x||) + b."""
    flat = weight.flatten(1)
    if layer.centered:
        squares = squares - sums.square() / flat.shape[1]
    length = torch.sqrt(squares.clamp(min=0) + layer.eps)
    shape = (-1, *[1] * (product.ndim - 2))
    cosines = product / (length * torch.sqrt(flat.square().sum(1) + layer.eps).view(shape))
    return cosines if layer.bias is None else cosines + layer.bias.view(shape)


class CosineLinear(nn.Linear):
    """A linear layer whose units give cosines, see :func:`cosine`."""

    def forward(self, input: Tensor) -> Tensor:
        weight = _effective(self)
        squares, sums = input.square().sum(1, keepdim=True), input.sum(1, keepdim=True)
        return _cosines(self, functional.linear(input, weight), squares, sums, weight)


class CosineConv2d(nn.Conv2d):
    """A convolution whose channels give cosines with the patches under them, see :func:`cosine`."""

    def forward(self, input: Tensor) -> Tensor:
        weight = _effective(self)
        ones = torch.ones(1, *weight.shape[1:], dtype=weight.dtype, device=weight.device)

        def over_patches(values: Tensor) -> Tensor:
            return functional.conv2d(values, ones, None, self.stride, self.padding, self.dilation)

        product = functional.conv2d(input, weight, None, self.stride, self.padding, self.dilation)
        sums = over_patches(input) if self.centered else product[:, :1]
        return _cosines(self, product, over_patches(input.square()), sums, weight)


@NORMS.register("cosine")
def cosine(layer: nn.Module, *, centered: bool = False, eps: float = 1e-6) -> Rewritten:
    """y_j = <w_j, x> / (sqrt(||w_j||^2 + eps) sqrt(||x||^2 + eps)) + b_j, per sample; of a convolution, per patch.

    The layer is rewritten in place and keeps its parameters; its bias is added to the cosine, which lies in [-1, 1].
    There is no further scale. Zeros that a convolution pads with count as parts of the patch. Behaves the same in
    evaluation mode.

    Args:
        layer: ``nn.Linear`` or ``nn.Conv2d`` (padded with zeros, of one group).
        centered: of w_j and x less their means over the inputs: Pearson's correlation.
        eps: keeps the lengths away from 0.

    Raises:
        WrongInput: another kind of layer, or an eps that is not positive.
    """
    if not eps > 0:
        raise WrongInput(f"norm.eps={eps}: must be more than 0")
    kinds: dict[type, type] = {**dict.fromkeys(LINEAR, CosineLinear), nn.Conv2d: CosineConv2d}
    units(layer)
    plain = not isinstance(layer, nn.Conv2d) or (layer.groups == 1 and layer.padding_mode == "zeros")
    if type(layer) not in kinds or not plain:
        raise WrongInput(f"norm=cosine: rewrites plain Linear and Conv2d layers of one group only, not {layer}")
    layer.__class__ = kinds[type(layer)]
    layer.centered, layer.eps = centered, eps  # type: ignore[assignment]
    return Rewritten(layer)
