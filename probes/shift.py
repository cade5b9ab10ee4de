"""What an update changes in a layer's output: by the layer's own weights, and by what the layers before it hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.points import After, Before
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import ChangeParts, LossParts


@dataclass(frozen=True)
class Shift:
    """The refined coordinate check (Everett et al. 2024; Haas et al. 2025), per layer, on one batch, in train mode.

    With z(W, h) the output of the layer's weights (bias included) on its inputs h, the real update changes
    z(W_t, h_t) to z(W_{t+1}, h_{t+1}). By two evaluations, z(W_{t+1}, h_t) and z(W_t, h_{t+1}), that is exactly
    ``own_part`` + ``input_part`` + ``interaction_part``; all are norms over ||z_t||, as is ``output_change`` itself.
    ``own_share`` and ``input_share`` are the parts' projections on the change over its squared norm, the interaction
    divided evenly; they add up to 1. A layer whose inputs shift while its own weights hardly move it has an input share
    near 1: internal covariate shift, measured as it is said (Ioffe & Szegedy 2015, section 2).

    Args:
        layers: names; None for all.
        batch: "train" is the step's own; others are given to Probes.
        every: measure at every that-many-th step of the base schedule.
    """

    layers: tuple[str, ...] | None = None
    batch: str = "train"
    every: int = 1

    def _needs(self, network: View) -> dict[str, Need]:
        """layer -> what is asked."""
        found = {}
        for layer in network.select(self.layers):
            leaf = network.weight_leaf(layer)
            if leaf is not None and leaf.module is not None:
                found[layer.name] = Need(self.batch, After(), ChangeParts(leaf.module))
        if not found:
            raise ProbeError("shift: this network has no layer with weights")
        return found

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        asked = self._needs(network)
        fields = {
            key: Field(key, unit, reference, self.batch, "after", dims=("layer",), layer=tuple(asked))
            for key, (unit, reference) in _RECORDS.items()
        }
        return Declaration((Need(self.batch, Before(), LossParts()), *asked.values()), fields)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        size, *parts, own, inputs = torch.stack([at[need] for need in self._needs(at.network).values()], 1)
        change = parts[0]
        relative = [(part / size).sqrt() for part in parts]
        return dict(zip(_RECORDS, [*relative, own / change, inputs / change], strict=True))


_PAPER = "refined coordinate check, Haas et al. 2025"
_RECORDS = {
    "output_change": ("1", f"{_PAPER}: ||z_{{t+1}} - z_t|| / ||z_t||"),
    "own_part": ("1", f"{_PAPER}: ||z(W_{{t+1}}, h_t) - z_t|| / ||z_t||"),
    "input_part": ("1", f"{_PAPER}: ||z(W_t, h_{{t+1}}) - z_t|| / ||z_t||"),
    "interaction_part": ("1", "what is left of the change, over ||z_t||"),
    "own_share": ("fraction", "of the change, by its own weights, half of the interaction included"),
    "input_share": ("fraction", "of the change, by its inputs, half of the interaction included"),
}
