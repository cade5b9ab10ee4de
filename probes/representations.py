"""What becomes of a batch's samples from layer to layer: ranks, angles, shapes, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need, group_sums
from probes.reductions import AbsoluteMeans, Geometry, Moments, MostPredicted, ParameterValues, Shape, UnitNorms
from probes.reductions.representations import MEASURES

_PLACES = ("before_normalisation", "after_normalisation", "after_activation", "output", "stream")


@dataclass(frozen=True)
class Representations:
    """Per layer, on each of the batches, in train mode, of the taps of a pass that is made anyway.

    Of the samples as vectors (the columns of H): h-rank, also of H less the mean sample, stable rank, orthogonality
    gap, pairwise cosines (mean, the same without the sample of the largest norm, share above each threshold), that
    sample's share of the energy, second moment; of the units over the batch: |skew| and |excess kurtosis|, averaged
    (see :class:`probes.reductions.Geometry` and :class:`~probes.reductions.Shape`).

    ``hyperplane_distance``: mean distance, in the space of a layer's inputs, from a sample (of a convolution: a patch)
    to the hyperplane on which what leaves the unit's normalisation is 0, |z| sqrt(var + eps) / (|gamma| ||w||),
    averaged over units (Balestriero & Baraniuk 2022); of layers whose weights are followed by torch's batch
    normalisation in training mode, or by none, for only there it is known to be a hyperplane.
    ``most_predicted_share``: share of the samples to which the network's output gives the class that it gives most
    often (Francazi et al.).

    Args:
        layers: names; None for all.
        batches: names of batches; "train" is the step's own, others are given to Probes.
        places: of a layer, where samples are looked at: before_normalisation, after_normalisation, after_activation, or
            output, whichever of these and of what the weights put out comes last; or stream, the sum in which the
            residual block ends whose last layer it is (De & Smith 2020), with a row for each sum.
        samples: the first so many of a batch are compared with each other; None: all of them.
        thresholds: of the cosines, ascending, in (-1, 1).
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: an option out of its range.
    """

    layers: tuple[str, ...] | None = None
    batches: tuple[str, ...] = ("train",)
    places: tuple[str, ...] = ("output",)
    samples: int | None = 64
    thresholds: tuple[float, ...] = (0.0, 0.5, 0.9, 0.99)
    every: int = 1

    def __post_init__(self) -> None:
        if not self.batches or len(set(self.batches)) < len(self.batches):
            raise ProbeError(f"representations batches={list(self.batches)}: must be names, each once, at least one")
        if not self.places or len(set(self.places)) < len(self.places) or not set(self.places) <= set(_PLACES):
            raise ProbeError(
                f"representations places={list(self.places)}: must be of {', '.join(_PLACES)}, each once, at least one"
            )
        if self.samples is not None and self.samples < 3:
            raise ProbeError(f"representations samples={self.samples}: must be at least 3, or null for all")
        levels = [float(x) for x in self.thresholds]
        if levels != sorted(set(levels)) or not all(-1 < x < 1 for x in levels):
            raise ProbeError(f"representations thresholds={levels}: must be ascending, between -1 and 1")

    # ---- what is asked

    def _taps(self, network: View, place: str) -> dict[str, str]:
        """layer -> tap."""
        if place == "stream":
            return self._sums(network)
        found = {}
        for layer in network.select(self.layers):
            taps = {
                "before_normalisation": layer.before_normalisation,
                "after_normalisation": layer.after_normalisation,
                "after_activation": layer.activation,
            }
            order = [leaf.tap for leaf in network.leaves if leaf.seen]
            leaf = network.weight_leaf(layer)
            own = [] if leaf is None else [leaf.tap]
            there = [tap for tap in (*own, *taps.values()) if tap in order]
            tap = max(there, key=order.index, default=None) if place == "output" else taps[place]
            if tap is not None:
                found[layer.name] = tap
        return found

    def _sums(self, network: View) -> dict[str, str]:
        """The last layer before each sum -> the sum's tap; of several sums after one layer the first."""
        chosen = {layer.name for layer in network.select(self.layers)}
        places = {leaf.tap: place for place, leaf in enumerate(network.leaves)}
        own = [(places[leaf.tap], x.name) for x in network.layers if (leaf := network.weight_leaf(x)) is not None]
        found: dict[str, str] = {}
        for place, leaf in enumerate(network.leaves):
            before = [name for at, name in own if at < place]
            if leaf.joins and leaf.seen and before and before[-1] in chosen:
                found.setdefault(before[-1], leaf.tap)
        return found

    def _geometry(self, batch: str, tap: str) -> Need:
        return Need(batch, Before(), Geometry(tap, self.samples, tuple(self.thresholds)))

    def _planes(self, network: View) -> dict[str, tuple[Layer, str]]:
        """layer -> it, and its weight, where what enters its activation is 0 on a hyperplane for each unit."""
        found = {}
        for layer in network.select(self.layers):
            leaf = network.weight_leaf(layer)
            plain = layer.normalisation is None or layer.batch_norm_epsilon is not None
            # an activation that stands before the normalisation bends the plane
            if leaf is None or not plain or layer.before_normalisation != leaf.tap:
                continue
            weight = f"{leaf.module}.weight"
            if network.shapes.get(weight, (0,))[0] == leaf.units:
                found[layer.name] = (layer, weight)
        return found

    def _plane_needs(self, batch: str, layer: Layer, weight: str) -> dict[str, Need]:
        assert layer.before_normalisation is not None
        asked = {"size": AbsoluteMeans(layer.normalisation or layer.before_normalisation), "weight": UnitNorms(weight)}
        if layer.normalisation is not None:
            asked["moments"] = Moments(layer.before_normalisation)
        if layer.gamma is not None:
            asked["gamma"] = ParameterValues(layer.gamma)
        return {name: Need(batch, Before(), reduction) for name, reduction in asked.items()}

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        needs: list[Need] = []
        fields: dict[str, Field] = {}
        for batch in self.batches:
            for place in self.places:
                taps = self._taps(network, place)
                if not taps:
                    continue
                names = tuple(taps)
                for tap in taps.values():
                    needs += [self._geometry(batch, tap), Need(batch, Before(), Shape(tap))]
                for metric, reference in _REFERENCES.items():
                    key = f"{metric}_{place}"
                    unit = "activation^2" if metric == "second_moment" else "1"
                    fields[f"{key}.{batch}"] = Field(
                        key, unit, reference, batch, "before", dims=("layer",), layer=names
                    )
                if self.thresholds:
                    key = f"cosine_share_above_{place}"
                    fields[f"{key}.{batch}"] = Field(
                        key, "fraction", "of pairs of samples; x the cosine", batch, "before", ("layer", "x"), names,
                        tuple(self.thresholds),
                    )  # fmt: skip
            planes = self._planes(network)
            for layer, weight in planes.values():
                needs += self._plane_needs(batch, layer, weight).values()
            if planes:
                fields[f"hyperplane_distance.{batch}"] = Field(
                    "hyperplane_distance", "activation", "Balestriero & Baraniuk 2022", batch, "before", ("layer",),
                    tuple(planes),
                )  # fmt: skip
            if not self._classes(network):
                continue
            needs.append(self._predicted(network, batch))
            fields[f"most_predicted_share.{batch}"] = Field(
                "most_predicted_share", "fraction", "Francazi et al., guessing bias", batch, "before"
            )
        return Declaration(tuple(dict.fromkeys(needs)), fields, modes=True)

    def _classes(self, network: View) -> bool:
        """Whether the last leaf puts out one number for each class."""
        return network.leaves[-1].seen and len(network.leaves[-1].shape) == 2

    def _predicted(self, network: View, batch: str) -> Need:
        return Need(batch, Before(), MostPredicted(network.leaves[-1].tap))

    # ---- what is made of it

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        answer: dict[str, Tensor] = {}
        for batch in self.batches:
            for place in self.places:
                taps = self._taps(at.network, place).values()
                if not taps:
                    continue
                found = torch.stack([at[self._geometry(batch, tap)] for tap in taps])
                shapes = torch.stack([at[Need(batch, Before(), Shape(tap))] for tap in taps])
                columns = [*found[:, : len(MEASURES)].T, *shapes.T]
                for metric, values in zip(_REFERENCES, columns, strict=True):
                    answer[f"{metric}_{place}.{batch}"] = values
                if self.thresholds:
                    answer[f"cosine_share_above_{place}.{batch}"] = found[:, len(MEASURES) :]
            # all layers' units at once: of many small layers each operation takes longer to call than to do
            columns, widths, small = [], [], []
            for layer, weight in self._planes(at.network).values():
                parts = {name: at[need] for name, need in self._plane_needs(batch, layer, weight).items()}
                one = torch.ones_like(parts["size"])
                variance = one if layer.batch_norm_epsilon is None else parts["moments"][1]
                columns.append(torch.stack([parts["size"], parts["weight"], variance, parts.get("gamma", one)]))
                widths.append(len(one))
                small.append(layer.batch_norm_epsilon or 0.0)
            if columns:
                lengths = torch.tensor(widths)
                size, norm, variance, gamma = torch.cat(columns, 1)
                eps = torch.tensor(small, dtype=torch.float64).repeat_interleave(lengths)
                distance = size / norm * (variance + eps).sqrt() / gamma.abs()
                answer[f"hyperplane_distance.{batch}"] = group_sums(distance, widths) / lengths
            if self._classes(at.network):
                answer[f"most_predicted_share.{batch}"] = at[self._predicted(at.network, batch)][0]
        return answer


_REFERENCES = {
    "h_rank": "Daneshmand et al. 2020: tr(G)^2 / ||G||_F^2, G = H^T H",
    "h_rank_centred": "Daneshmand et al. 2020, of H less the mean sample",
    "stable_rank": "||H||_F^2 / ||H||_2^2",
    "orthogonality_gap": "Daneshmand et al. 2021: ||G / tr(G) - I/n||_F",
    "cosine_mean": "Yang et al. 2019; mean over pairs of samples",
    "cosine_mean_without_largest": "Nachum et al. 2024; without the sample of the largest norm",
    "largest_sample_share": "Nachum et al. 2024; of ||H||_F^2",
    "second_moment": "De & Smith 2020: of all units and samples, the mean left in",
    "skew": "absolute, averaged over units that vary",
    "excess_kurtosis": "absolute, averaged over units that vary; 0 for a Gaussian",
}
"""In the order of :data:`MEASURES`, then of :class:`Shape`."""
