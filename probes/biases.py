"""The biases of the layers: how they grow, and whether anything pulls at them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need, group_sums, layer_norms
from probes.reductions import GradientNorms, NamedNorms

_GRADIENTS = Need("train", Before(), GradientNorms())


@dataclass(frozen=True)
class Biases:
    """Per layer whose weights have a trained bias b beside them: ||b||, ||dL/db||, and ||dL/db|| / ||dL/dW||.

    Of the layer itself, not the shift of its normalisation. Before a normalisation that removes the mean, b is idle:
    the loss does not depend on it (Ioffe & Szegedy 2015, section 3.2). Where that mean has no gradient, b grows without
    bound while the loss stays (their section 2). The quotient is NaN where no weight of the layer is trained.

    Args:
        layers: names; None for all that have a trained bias.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: no such layer, or one without a trained bias.
    """

    layers: tuple[str, ...] | None = None
    every: int = 1

    def _biases(self, network: View) -> dict[str, tuple[Layer, tuple[str, ...]]]:
        """Layer -> itself and its biases."""
        found = {}
        for layer in network.select(self.layers):
            others = {*layer.all_weights, layer.gamma, layer.beta}
            biases = tuple(name for name in layer.parameters if name not in others)
            if biases:
                found[layer.name] = (layer, biases)
            elif self.layers is not None:
                raise ProbeError(f"biases: layer {layer.name!r} has no trained bias")
        return found

    def _norms(self, network: View) -> Need:
        names = [name for _, biases in self._biases(network).values() for name in biases]
        return Need("train", Before(), NamedNorms(tuple(names)))

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`. A network without a trained bias has no fields."""
        names = tuple(self._biases(network))
        if not names:
            return Declaration((), {}, nothing="no layer has a trained bias")
        fields = {
            key: Field(key, unit, reference, "train", "before", dims=("layer",), layer=names)
            for key, (unit, reference) in _RECORDS.items()
        }
        return Declaration((_GRADIENTS, self._norms(network)), fields)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        found = list(self._biases(at.network).values())
        if not found:
            return {}
        gradients, norms = at[_GRADIENTS], at[self._norms(at.network)]
        lengths = [len(biases) for _, biases in found]
        of_bias = layer_norms(gradients, at.network, [biases for _, biases in found])
        of_weight = layer_norms(gradients, at.network, [layer.weights for layer, _ in found])
        none = torch.tensor([not layer.weights for layer, _ in found])
        return {
            "bias_norm": group_sums(norms.square(), lengths).sqrt(),
            "bias_gradient_norm": of_bias,
            "bias_gradient_share": (of_bias / of_weight).masked_fill(none, math.nan),
        }


_RECORDS = {
    "bias_norm": ("parameter", "Ioffe & Szegedy 2015, section 2"),
    "bias_gradient_norm": ("loss/parameter", "Ioffe & Szegedy 2015, section 3.2"),
    "bias_gradient_share": ("1", "||dL/db|| / ||dL/dW|| of the layer"),
}
