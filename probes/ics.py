"""Internal covariate shift as the change of gradients (Santurkar et al. 2018, Definition 2.1, figure 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import Before, Hybrid, Moves
from probes.protocol import At, Declaration, Field, Need, group_sums
from probes.reductions import GradientComparison, GradientNorms

_BEFORE = Need("train", Before(), GradientNorms())


@dataclass(frozen=True)
class InternalCovariateShift:
    """||G_i - G'_i||, that over ||G_i||, and cos(G_i, G'_i), for each layer i.

    G_i is the gradient of the training batch's loss with respect to layer i's weights at theta_t; G'_i the one after
    the layers before i, and only they, have moved by the real update of this step; the same batch, the same noise. The
    same for the layer's gamma and its beta. Of a reparametrised weight the gradient is that of what is trained.

    What precedes a layer is what its weights' input is computed from, its own normalisation included where that stands
    before them (pre-activation); the gradient of gamma and beta is compared where the normalisation follows.

    Args:
        layers: names; None for all with trained weights, save for modules that hold several weight matrices in an order
            of their own (recurrent ones, attention): these move like all others, and count as one layer if named.
        moves: everything that precedes moves, gamma and beta and what stands before the first layer too ("all"), or
            the preceding convolutions and linear maps only, weight and bias ("weights").
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: no such layer, or one without trained weights, or one that has no one place in the order as weights
            that precede it are used elsewhere too (tied weights).
    """

    layers: tuple[str, ...] | None = None
    moves: Moves = "all"
    every: int = 1

    def __post_init__(self) -> None:
        if self.moves not in ("all", "weights"):
            raise ProbeError(f"ics moves={self.moves!r}: must be 'all' or 'weights'")

    def _layers(self, network: View) -> list[Layer]:
        chosen = network.select(self.layers)
        if self.layers is None:
            return [layer for layer in chosen if layer.weights and not layer.compound]
        for layer in chosen:
            if not layer.weights:
                raise ProbeError(f"layer {layer.name!r} has no trained weights")
        return list(chosen)

    def _groups(self, network: View) -> dict[str, dict[str, tuple[str, ...]]]:
        """prefix of the metric -> layer -> parameters."""
        layers = self._layers(network)
        return {
            "ics": {layer.name: layer.weights for layer in layers},
            "ics_gamma": {x.name: (x.gamma,) for x in layers if x.gamma is not None and x.gamma in x.parameters},
            "ics_beta": {x.name: (x.beta,) for x in layers if x.beta is not None and x.beta in x.parameters},
        }

    @property
    def _suffix(self) -> str:
        return "" if self.moves == "all" else "_weights_move"

    def _need(self, layer: str) -> Need:
        return Need("train", Hybrid(layer, self.moves), GradientComparison())

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        layers = self._layers(network)
        if not layers:
            raise ProbeError("ics: no layer of this network has trained weights of its own order; name layers")
        needs = [_BEFORE, *(self._need(layer.name) for layer in layers)]
        fields = {}
        for group, members in self._groups(network).items():
            for what, unit in (("l2", "loss/parameter"), ("relative", "1"), ("cosine", "1")):
                if members:
                    key = f"{group}_{what}{self._suffix}"
                    reference = "Santurkar et al. 2018, Definition 2.1"
                    names = tuple(members)
                    fields[key] = Field(key, unit, reference, "train", "hybrid", dims=("layer",), layer=names)
        return Declaration(tuple(needs), fields)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        answer = {}
        layers = self._layers(at.network)
        compared = torch.cat([at[self._need(layer.name)] for layer in layers], 1)  # (3, parameters of all layers)
        columns = [(layer.name, parameter) for layer in layers for parameter in layer.parameters]
        place = {column: i for i, column in enumerate(columns)}  # tied weights have a column in each of their layers
        for group, members in self._groups(at.network).items():
            if not members:
                continue
            names = [parameter for parameters in members.values() for parameter in parameters]
            lengths = [len(parameters) for parameters in members.values()]
            places = [place[layer, name] for layer, parameters in members.items() for name in parameters]
            difference, product, after = compared[:, places]
            before = at[_BEFORE][at.network.places(names)]
            squares = torch.stack([difference.square(), before.square(), after.square(), product])
            sums = group_sums(squares, lengths)
            difference, before, after = sums[:3].sqrt()
            cosine = sums[3] / (before * after)
            for what, values in (("l2", difference), ("relative", difference / before), ("cosine", cosine)):
                answer[f"{group}_{what}{self._suffix}"] = values
        return answer
