"""Sizes of gradients, weights and updates, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.network import View
from probes.points import After, Before
from probes.protocol import At, Declaration, Field, Need, layer_norms, layer_sums
from probes.reductions import (
    GradientNorms,
    GradientProducts,
    LossParts,
    NamedNorms,
    ParameterNorms,
    TapGradientNorm,
    UpdateNorms,
)

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

    A weight that is not trained has a norm, and NaN for what is said of its gradient. One that layers share counts in
    each of them, and once in what is taken over all parameters.

    <W, dL/dW> of the total loss is 0 for scale-invariant weights without a penalty (Ioffe & Szegedy 2015, section
    3.3). ``lipschitz`` = |L(theta_{t+1}) - L(theta_t)| / ||theta_{t+1} - theta_t|| on the training batch.

    Args:
        layers: names; None for all.
        taps: also ||dL/dz|| and ||z|| of what the layer's weights put out, z, over the whole batch: how signals and
            gradients grow over depth (Yang et al. 2019, whose theorem is about these gradients).
        every: measure at every that-many-th step of the base schedule.
    """

    layers: tuple[str, ...] | None = None
    taps: bool = False
    every: int = 1

    def _at_taps(self, network: View) -> dict[str, Need]:
        leaves = {layer.name: network.weight_leaf(layer) for layer in network.select(self.layers) if self.taps}
        taps = {name: leaf.tap for name, leaf in leaves.items() if leaf is not None}
        return {name: Need("train", Before(), TapGradientNorm(tap)) for name, tap in taps.items()}

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
        said = dict.fromkeys(("gradient_norm", "weight_gradient_product"), "; NaN where no weight is trained")
        of_factors = f"; W the trained factors in {', '.join(factors)}" if factors else ""
        fields = {
            key: Field(
                key, unit, reference + of_factors + said.get(key, ""), "train", point, dims=("layer",), layer=names
            )
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
        at_taps = self._at_taps(network)
        if at_taps:
            for key, unit in (("tap_gradient_norm", "loss/activation"), ("tap_norm", "activation")):
                reference = "Yang et al. 2019; of the weights' output, over the batch"
                fields[key] = Field(key, unit, reference, "train", "before", dims=("layer",), layer=tuple(at_taps))
        needs = (_GRADIENTS, _PRODUCTS, _PARAMETERS, _UPDATES, _LOSS_BEFORE, _LOSS_AFTER, self._sizes(network))
        return Declaration((*needs, *at_taps.values()), fields)

    def _sizes(self, network: View) -> Need:
        names = [name for layer in network.select(self.layers) for name in layer.all_weights]
        return Need("train", Before(), NamedNorms(tuple(dict.fromkeys(names))))

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        layers, sizes = at.network.select(self.layers), self._sizes(at.network)
        known = dict(zip(sizes.reduction.names, at[sizes].square().tolist(), strict=True))  # type: ignore[attr-defined]
        size = torch.tensor([sum(known[n] for n in x.all_weights) for x in layers], dtype=torch.float64).sqrt()
        trained = set(at.network.parameters)
        weights = [[name for name in layer.all_weights if name in trained] for layer in layers]
        none = torch.tensor([not names for names in weights])
        distance = at[_UPDATES].norm()
        taps = [at[need] for need in self._at_taps(at.network).values()]
        at_taps = dict(zip(("tap_gradient_norm", "tap_norm"), torch.stack(taps, 1), strict=True)) if taps else {}
        return {
            **at_taps,
            "gradient_norm": layer_norms(at[_GRADIENTS], at.network, weights).masked_fill(none, math.nan),
            "weight_norm": size,
            "relative_update": layer_norms(at[_UPDATES], at.network, weights) / size,
            "weight_gradient_product": layer_sums(at[_PRODUCTS], at.network, weights).masked_fill(none, math.nan),
            "total_gradient_norm": at[_GRADIENTS].norm(),
            "total_parameter_norm": at[_PARAMETERS].norm(),
            "total_relative_update": distance / at[_PARAMETERS].norm(),
            "update_norm": distance,
            "lipschitz": torch.abs(at[_LOSS_AFTER][0] - at[_LOSS_BEFORE][0]) / distance,
        }
