"""Singular values of the maps that layers are: how signals and gradients are stretched on the way."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import SingularValues


@dataclass(frozen=True)
class Jacobian:
    """Singular values of the derivative of one sample's values at a tap by the same sample's values at an earlier tap.

    At theta_t, in train mode, for the first samples of the batch and each pair of taps that follow each other. Records:
    the largest and the smallest (averaged over samples), the mean logarithm (the volume per dimension, in nats), and
    the greatest |sigma - 1| of any sample (Saxe et al. 2014; Pennington et al. 2017; Meterez et al. 2024); arrays: all
    of them, where a map has at most ``narrow``; else the records are estimates by Lanczos's method (see the fields).

    Args:
        taps: names, in the order of the network; None for the outputs of all layers (the last of normalisation and
            activation).
        place: where ``taps`` are None: the layers' outputs ("output"), or what enters their activation functions
            ("into_activation"): the normalisation's output, else the layer's own.
        statistics: of torch's batch normalisations: moving with the sample ("moving"), or constants ("held").
        standardised: between vectors divided by each number's deviation over the batch, so that networks with and
            without normalisation are alike in scale (Ioffe & Szegedy 2015, section 3.3); only where all are found.
        samples: the first so many of the batch.
        narrow: singular values up to which all are found, by one product with J^T for each number at the later tap.
        steps: of Lanczos's method where there are more.
        batch: "train" is the step's own; others are given to Probes.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: an option out of its range, taps that are not there or not in order, statistics that cannot be held,
            a network that stops gradients.
    """

    taps: tuple[str, ...] | None = None
    place: Literal["output", "into_activation"] = "output"
    statistics: Literal["moving", "held"] = "moving"
    standardised: bool = False
    samples: int = 2
    narrow: int = 64
    steps: int = 30
    batch: str = "train"
    every: int = 1

    def __post_init__(self) -> None:
        if self.statistics not in ("moving", "held"):
            raise ProbeError(f"jacobian statistics={self.statistics!r}: must be 'moving' or 'held'")
        if self.place not in ("output", "into_activation"):
            raise ProbeError(f"jacobian place={self.place!r}: must be 'output' or 'into_activation'")
        if self.samples < 1 or self.narrow < 1 or self.steps < 1:
            raise ProbeError(
                f"jacobian samples={self.samples} narrow={self.narrow} steps={self.steps}: must be at least 1"
            )
        if self.taps is not None and len(self.taps) < 2:
            raise ProbeError(f"jacobian taps={list(self.taps)}: at least two are needed")

    def _needs(self, network: View) -> dict[str, Need]:
        """Name of the map's end -> what is asked. The ends are called as the layers where they are their outputs."""
        end_of = _output if self.place == "output" else _into_activation
        outputs = {end_of(network, layer): layer.name for layer in network.layers} if self.taps is None else {}
        ends = {tap: name for tap, name in outputs.items() if tap is not None}
        taps = list(ends) if self.taps is None else list(self.taps)
        if len(taps) < 2:
            what = "layers" if self.place == "output" else "layers with an activation function"
            raise ProbeError(f"jacobian: this network has fewer than two {what}, so there is no map between them")
        options = (self.samples, self.narrow, self.steps, self.statistics, self.standardised)
        return {
            ends.get(after, after): Need(self.batch, Before(), SingularValues(before, after, *options))
            for before, after in itertools.pairwise(taps)
        }

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        needs = self._needs(network)
        estimated = []
        fields: dict[str, Field] = {}
        for name, need in needs.items():
            reduction = need.reduction
            assert isinstance(reduction, SingularValues)
            reduction.check(network)
            if not reduction.exact(network):
                estimated.append(name)
                continue
            shape = (min(self.samples, network.leaf(reduction.before).shape[0]), min(reduction.sizes(network)))
            fields[f"singular_values.{name}"] = Field(
                "singular_values", "1", f"statistics {self.statistics}", self.batch, "before", ("sample", "place"),
                (name,), None, shape,
            )  # fmt: skip
        told = f"; estimated in {', '.join(estimated)}" if estimated else ""
        for key, reference in _RECORDS.items():
            reference = f"{reference}; statistics {self.statistics}{' standardised' if self.standardised else ''}{told}"
            fields[key] = Field(key, "1", reference, self.batch, "before", dims=("layer",), layer=tuple(needs))
        return Declaration(tuple(needs.values()), fields, modes=True)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        answer: dict[str, Tensor] = {}
        rows = []
        for name, need in self._needs(at.network).items():
            reduction, found = need.reduction, at[need]
            assert isinstance(reduction, SingularValues)
            if reduction.exact(at.network):
                answer[f"singular_values.{name}"] = found
                found = torch.stack([found[:, 0], found[:, -1], found.log().mean(1)], 1)
            largest, smallest, logarithm = found.T
            away = torch.maximum((largest - 1).abs(), (smallest - 1).abs()).max()
            rows.append(torch.stack([largest.mean(), smallest.mean(), logarithm.mean(), away]))
        return answer | dict(zip(_RECORDS, torch.stack(rows, 1), strict=True))


def _into_activation(network: View, layer: Layer) -> str | None:
    """What enters a layer's activation function; None for a layer without one, such as the last."""
    if layer.activation is None:
        return None
    return layer.after_normalisation or layer.before_normalisation


def _output(network: View, layer: Layer) -> str | None:
    """The last tap of a layer's weights, normalisation and activation; None where none can be read."""
    leaf = network.weight_leaf(layer)
    order = [leaf.tap for leaf in network.leaves if leaf.seen]
    taps = [
        leaf.tap if leaf is not None else None,
        layer.before_normalisation,
        layer.after_normalisation,
        layer.activation,
    ]
    return max((tap for tap in taps if tap in order), key=order.index, default=None)


_RECORDS = {
    "singular_value_largest": "averaged over samples",
    "singular_value_smallest": "averaged over samples",
    "singular_value_mean_logarithm": "averaged over samples; log |det| per dimension",
    "singular_value_deviation": "Meterez et al. 2024: the greatest |sigma - 1|",
}
