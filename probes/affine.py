"""Gamma and beta: how great they are, and how many gammas have all but switched their unit off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import ParameterValues


@dataclass(frozen=True)
class Affine:
    """Per layer whose normalisation has a gamma, before the update, trained or not; no pass is added.

    ``gamma_small_share``, of units with |gamma| < ``below`` (Frankle et al. 2021, section 5), and the same of all
    layers' units together, ``gamma_small_share_of_all``; ``gamma_size`` and ``beta_size``, the means of |gamma| and
    |beta| over units, the second of layers that have a beta.

    Args:
        below: the size under which a gamma counts as 0.
        layers: names; None for all whose normalisation has a gamma.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: a size that is not positive; no such layer, or one without a gamma.
    """

    below: float = 0.01
    layers: tuple[str, ...] | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if not self.below > 0:
            raise ProbeError(f"affine below={self.below}: must be more than 0")

    def _layers(self, network: View) -> list[Layer]:
        chosen = network.select(self.layers)
        if self.layers is None:
            return [layer for layer in chosen if layer.gamma is not None]
        for layer in chosen:
            if layer.gamma is None:
                raise ProbeError(f"affine: layer {layer.name!r} has no normalisation with a gamma")
        return list(chosen)

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`. A network without a gamma has no fields."""
        layers = self._layers(network)
        with_beta = tuple(layer.name for layer in layers if layer.beta is not None)
        members = dict.fromkeys(("gamma_small_share", "gamma_size"), tuple(layer.name for layer in layers))
        members["beta_size"] = with_beta
        fields = {
            key: Field(key, unit, reference, "train", "before", dims=("layer",), layer=members[key])
            for key, unit, reference in _RECORDS
            if members[key]
        }
        if layers:
            fields[_ALL] = Field(_ALL, "fraction", _RECORDS[0][2], "train", "before")
        needs = tuple(_of(name) for layer in layers for name in (layer.gamma, layer.beta) if name is not None)
        return Declaration(needs, fields, nothing="" if layers else "no layer's normalisation has a gamma")

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        layers = self._layers(at.network)
        gammas = [at[_of(layer.gamma)].abs().double() for layer in layers if layer.gamma is not None]
        betas = [at[_of(layer.beta)].abs().double() for layer in layers if layer.beta is not None]
        answer = {}
        if gammas:
            answer["gamma_small_share"] = torch.stack([(gamma < self.below).double().mean() for gamma in gammas])
            answer[_ALL] = (torch.cat([gamma.flatten() for gamma in gammas]) < self.below).double().mean()
            answer["gamma_size"] = torch.stack([gamma.mean() for gamma in gammas])
        if betas:
            answer["beta_size"] = torch.stack([beta.mean() for beta in betas])
        return answer


def _of(name: str) -> Need:
    return Need("train", Before(), ParameterValues(name))


_ALL = "gamma_small_share_of_all"
_RECORDS = (
    ("gamma_small_share", "fraction", "Frankle et al. 2021: of units with |gamma| below a size"),
    ("gamma_size", "1", "mean of |gamma| over units"),
    ("beta_size", "activation", "mean of |beta| over units"),
)
