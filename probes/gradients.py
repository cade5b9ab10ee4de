"""Sizes of gradients, weights and updates, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.network import View
from probes.points import After, Before
from probes.protocol import At, Declaration, Field, Need, layer_norms, layer_sums
from probes.reductions import GradientNorms, GradientProducts, LossParts, ParameterNorms, UpdateNorms

_GRADIENTS = Need("train", Before(), GradientNorms())
_PRODUCTS = Need("train", Before(), GradientProducts())
_PARAMETERS = Need("train", Before(), ParameterNorms())
_UPDATES = Need("train", After(), UpdateNorms())
_LOSS_BEFORE = Need("train", Before(), LossParts())
_LOSS_AFTER = Need("train", After(), LossParts())


@dataclass(frozen=True)
class Gradients:
    """Per layer, for its weights: ||W||, ||dL/dW||, ||update|| / ||W||, <W, dL/dW>.

    The first three over all parameters too. Of a reparametrised weight (weight normalisation) W stands for the factors
    that are trained, taken together: not for the weight that the layer applies; the fields' references say so.

    <W, dL/dW> of the total loss is 0 for scale-invariant weights without a penalty (Ioffe & Szegedy 2015, section
    3.3). ``lipschitz`` = |L(theta_{t+1}) - L(theta_t)| / ||theta_{t+1} - theta_t|| on the training batch.

    Args:
        layers: names; None for all.
        every: measure at every that-many-th step of the base schedule.
    """

    layers: tuple[str, ...] | None = None
    every: int = 1

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        names = tuple(layer.name for layer in network.select(self.layers))
        per_layer = {
            "gradient_norm": ("loss/parameter", "before", "Yang et al. 2019"),
            "weight_norm": ("parameter", "before", "van Laarhoven 2017"),
            "relative_update": ("1", "after", "||W_{t+1} - W_t|| / ||W_t||"),
            "weight_gradient_product": ("loss", "before", "Ioffe & Szegedy 2015, section 3.3"),
        }
        factors = [x.name for x in network.select(self.layers) if any(".parametrizations." in w for w in x.weights)]
        of_factors = f"; W the trained factors in {', '.join(factors)}" if factors else ""
        fields = {
            key: Field(key, unit, reference + of_factors, "train", point, dims=("layer",), layer=names)
            for key, (unit, point, reference) in per_layer.items()
        }
        total = {
            "total_gradient_norm": ("loss/parameter", "before"),
            "total_parameter_norm": ("parameter", "before"),
            "total_relative_update": ("1", "after"),
            "update_norm": ("parameter", "after"),
            "lipschitz": ("loss/parameter", "after"),
        }
        for key, (unit, point) in total.items():
            fields[key] = Field(key, unit, "over all trained parameters", "train", point)
        needs = (_GRADIENTS, _PRODUCTS, _PARAMETERS, _UPDATES, _LOSS_BEFORE, _LOSS_AFTER)
        return Declaration(needs, fields)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        weights = [layer.weights for layer in at.network.select(self.layers)]
        size = layer_norms(at[_PARAMETERS], at.network, weights)
        distance = at[_UPDATES].norm()
        return {
            "gradient_norm": layer_norms(at[_GRADIENTS], at.network, weights),
            "weight_norm": size,
            "relative_update": layer_norms(at[_UPDATES], at.network, weights) / size,
            "weight_gradient_product": layer_sums(at[_PRODUCTS], at.network, weights),
            "total_gradient_norm": at[_GRADIENTS].norm(),
            "total_parameter_norm": at[_PARAMETERS].norm(),
            "total_relative_update": distance / at[_PARAMETERS].norm(),
            "update_norm": distance,
            "lipschitz": torch.abs(at[_LOSS_AFTER][0] - at[_LOSS_BEFORE][0]) / distance,
        }
