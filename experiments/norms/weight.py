"""Weight normalisation (Salimans & Kingma 2016, arXiv:1602.07868, equation 2)."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from experiments.norms.base import NORMS, Rewritten


@NORMS.register("weight")
def weight(layer: nn.Module) -> Rewritten:
    """W = g V / ||V||, with one length g per unit.

    The trained parameters are ``parametrizations.weight.original0`` (g) and ``parametrizations.weight.original1`` (V).
    The effective weight ``layer.weight`` starts as the one that the layer had. Behaves the same in evaluation mode.
    """
    return Rewritten(weight_norm(layer, name="weight", dim=0))
