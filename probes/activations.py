"""Distributions of activations, and how they drift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import After, Before, Point
from probes.protocol import At, Declaration, Field, Need, group_sums
from probes.randomness import seeded_generator
from probes.reductions import Dead, Histogram, Moments, Quantiles, Saturated

_PLACES = ("before_normalisation", "after_normalisation")
_ENDS = {"relu": "dead", "sigmoid": "saturated", "tanh": "saturated"}
"""What is said of values at the end of an activation function's range."""


@dataclass(frozen=True)
class Activations:
    """Per layer, before and after its normalisation, on each of the batches, in train mode.

    Of each unit: mean and (biased) variance; of some units, drawn once: percentiles; of the layer: a histogram over
    fixed edges; the share of saturated values of sigmoid and tanh and of dead units of ReLU, after the activation
    function (Ioffe & Szegedy 2015, figure 1; Santurkar et al. 2018, figures 1, 2, 6, 8 and 9).

    Drift of mean and variance (absolute, averaged over units) and the Wasserstein-1 distance (averaged over the drawn
    units): *by the update* (After against Before, same batch, same noise) and *between steps* (each step's own batch
    and noise), since the last probed step and since the first.

    Args:
        layers: names; None for all.
        batches: names of batches; "train" is the step's own, others are given to Probes.
        low, high, bins: edges of the histograms; two more bins count what is below and above.
        units: number of units drawn per layer for percentiles and Wasserstein-1.
        levels: of the percentiles, ascending, in [0, 1].
        resolution: quantiles from which Wasserstein-1 is summed.
        saturation: values nearer to an end of sigmoid's or tanh's range than this share of half the range are
            saturated (at 0.05: below 0.025 or above 0.975 for sigmoid, beyond +-0.95 for tanh).
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: an option out of its range.
    """

    layers: tuple[str, ...] | None = None
    batches: tuple[str, ...] = ("train", "fixed")
    low: float = -4.0
    high: float = 4.0
    bins: int = 64
    units: int = 4
    levels: tuple[float, ...] = (0.15, 0.5, 0.85)
    resolution: int = 32
    saturation: float = 0.05
    every: int = 1

    def __post_init__(self) -> None:
        if not self.batches or len(set(self.batches)) < len(self.batches):
            raise ProbeError(f"activations batches={list(self.batches)}: must be names, each once, at least one")
        if not (-float("inf") < self.low < self.high < float("inf")) or self.bins < 1:
            raise ProbeError(f"activations low={self.low} high={self.high} bins={self.bins}: low < high, bins >= 1")
        levels = list(self.levels)
        if not levels or levels != sorted(set(levels)) or not 0 <= levels[0] <= levels[-1] <= 1:
            raise ProbeError(f"activations levels={levels}: must be ascending, in [0, 1], at least one")
        if self.units < 1 or self.resolution < 1 or not 0 < self.saturation < 1:
            raise ProbeError(
                f"activations units={self.units} resolution={self.resolution} saturation={self.saturation}: "
                "the first two must be at least 1, the last between 0 and 1"
            )

    # ---- what is asked

    def _sites(self, network: View) -> list[_Site]:
        """What is asked at each place on each batch: the same objects at every step, so that looking up is quick."""
        known = getattr(self, "_known", None)
        if known is None or known[0] is not network:
            known = (network, [site for batch in self.batches for site in self._places(network, batch)])
            object.__setattr__(self, "_known", known)
        return known[1]

    def _places(self, network: View, batch: str) -> Iterator[_Site]:
        for place in _PLACES:
            taps = [(x.name, getattr(x, place)) for x in network.select(self.layers)]
            found = [(name, tap) for name, tap in taps if tap is not None]
            if found:
                only = [tap for _, tap in found]
                moments = {p: [self._moments(batch, p, tap) for tap in only] for p in (Before(), After())}
                quantiles = {p: [self._quantiles(network, batch, p, tap) for tap in only] for p in (Before(), After())}
                histograms = [self._histogram(batch, tap) for tap in only]
                yield _Site(batch, place, found, moments, quantiles, histograms)

    def _chosen(self, network: View, tap: str) -> tuple[int, ...]:
        width = network.leaf(tap).units
        order = torch.randperm(width, generator=seeded_generator("cpu", "units", tap))
        return tuple(sorted(order[: self.units].tolist()))

    def _moments(self, batch: str, point: Point, tap: str) -> Need:
        return Need(batch, point, Moments(tap))

    def _quantiles(self, network: View, batch: str, point: Point, tap: str) -> Need:
        middles = tuple((k + 0.5) / self.resolution for k in range(self.resolution))
        return Need(batch, point, Quantiles(tap, self._chosen(network, tap), (*self.levels, *middles)))

    def _histogram(self, batch: str, tap: str) -> Need:
        return Need(batch, Before(), Histogram(tap, self.low, self.high, self.bins))

    def _at_ends(self, network: View) -> dict[str, list[Layer]]:
        """metric -> the layers whose activation function it is about."""
        found: dict[str, list[Layer]] = {}
        for layer in network.select(self.layers):
            if layer.activation_kind in _ENDS:
                found.setdefault(_ENDS[layer.activation_kind], []).append(layer)
        return found

    def _end(self, metric: str, batch: str, layer: Layer) -> Need:
        assert layer.activation is not None
        if metric == "dead":
            return Need(batch, Before(), Dead(layer.activation))
        return Need(batch, Before(), Saturated(layer.activation, layer.activation_kind, 1 - self.saturation))  # type: ignore[arg-type]

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        needs: list[Need] = []
        remember: list[Need] = []
        fields: dict[str, Field] = {}
        for site in self._sites(network):
            for metric, unit, point, reference in _SUMMARIES:
                names = tuple(name for name, _ in site.taps)
                fields[f"{metric}_{site.place}.{site.batch}"] = Field(
                    f"{metric}_{site.place}", unit, reference, site.batch, point, dims=("layer",), layer=names
                )
            for point_of in (site.moments, site.quantiles):
                needs += [need for found in point_of.values() for need in found]
                remember += point_of[Before()]
            needs += site.histograms
            for name, tap in site.taps:
                fields |= self._arrays(network, site.batch, site.place, name, tap)
        for batch in self.batches:
            for metric, layers in self._at_ends(network).items():
                needs += [self._end(metric, batch, layer) for layer in layers]
                names = tuple(layer.name for layer in layers)
                reference = "Ioffe & Szegedy 2015, section 1" if metric == "saturated" else "units 0 on the whole batch"
                fields[f"{metric}.{batch}"] = Field(
                    metric, "fraction", reference, batch, "before", dims=("layer",), layer=names
                )
        return Declaration(tuple(needs), fields, tuple(remember))

    def _arrays(self, network: View, batch: str, place: str, name: str, tap: str) -> dict[str, Field]:
        width, chosen = network.leaf(tap).units, self._chosen(network, tap)
        edges = tuple(self.low + (self.high - self.low) * k / self.bins for k in range(self.bins + 1))

        def array(
            metric: str, unit: str, reference: str, dims: tuple[str, ...], shape: tuple[int, ...], x: object
        ) -> Field:
            return Field(f"{metric}_{place}", unit, reference, batch, "before", dims, (name,), x, shape)  # type: ignore[arg-type]

        figure = "Santurkar et al. 2018, figure"
        percentiles = f"Ioffe & Szegedy 2015, figure 1; units {', '.join(map(str, chosen))}"
        return {
            f"unit_mean_{place}.{batch}.{name}": array(
                "unit_mean", "activation", f"{figure} 8", ("unit",), (width,), None
            ),
            f"unit_variance_{place}.{batch}.{name}": array(
                "unit_variance", "activation^2", f"{figure} 8", ("unit",), (width,), None
            ),
            f"histogram_{place}.{batch}.{name}": array(
                "histogram", "count", f"{figure}s 1 (c), 2, 6, 9", ("bin",), (self.bins + 2,), edges
            ),
            f"percentiles_{place}.{batch}.{name}": array(
                "percentiles",
                "activation",
                percentiles,
                ("unit", "level"),
                (len(chosen), len(self.levels)),
                self.levels,
            ),
        }

    # ---- what is made of it

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        answer: dict[str, Tensor] = {}
        for site in self._sites(at.network):
            moments, quantiles = site.moments[Before()], site.quantiles[Before()]
            now = ([at[need] for need in moments], [at[need] for need in quantiles])
            after = ([at[need] for need in site.moments[After()]], [at[need] for need in site.quantiles[After()]])
            last = ([at.previous(need) for need in moments], [at.previous(need) for need in quantiles])
            start = ([at.first(need) for need in moments], [at.first(need) for need in quantiles])
            widths = [found.shape[1] for found in now[0]]
            summaries = [*averages(torch.cat(now[0], 1), widths)]
            for then in (after, last, start):
                summaries += self._drift(now, then)
            for (metric, *_), values in zip(_SUMMARIES, summaries, strict=True):
                answer[f"{metric}_{site.place}.{site.batch}"] = values
            for i, (name, _) in enumerate(site.taps):
                suffix = f"{site.place}.{site.batch}.{name}"
                answer[f"unit_mean_{suffix}"], answer[f"unit_variance_{suffix}"] = now[0][i]
                answer[f"histogram_{suffix}"] = at[site.histograms[i]]
                answer[f"percentiles_{suffix}"] = now[1][i][:, : len(self.levels)]
        for batch in self.batches:
            for metric, layers in self._at_ends(at.network).items():
                answer[f"{metric}.{batch}"] = torch.cat([at[self._end(metric, batch, layer)] for layer in layers])
        return answer

    def _drift(self, now: _Found, then: _Found) -> list[Tensor]:
        """(layers,) each: |mean - mean'|, |var - var'|, averaged over units; Wasserstein-1, over the drawn units."""
        moments = averages((torch.cat(then[0], 1) - torch.cat(now[0], 1)).abs(), [x.shape[1] for x in now[0]])
        middles = (torch.cat(then[1]) - torch.cat(now[1]))[:, len(self.levels) :].abs().mean(1)
        return [moments[0], moments[1], averages(middles, [len(x) for x in now[1]])]


_Found = tuple[list[Tensor], list[Tensor]]
"""Moments and quantiles of each tap of a site."""


@dataclass(frozen=True)
class _Site:
    """What is asked before or after the normalisations (``place``) of some layers, on one batch.

    Args:
        batch, place: where.
        taps: (layer, tap).
        moments, quantiles: the needs of each tap, by point.
        histograms: the needs of each tap.
    """

    batch: str
    place: str
    taps: list[tuple[str, str]]
    moments: dict[Before | After, list[Need]]
    quantiles: dict[Before | After, list[Need]]
    histograms: list[Need]


def averages(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """(..., groups): averages over consecutive groups of the last axis, of ``lengths`` members."""
    return group_sums(values, lengths) / torch.tensor(lengths)


_SUMMARIES = (
    ("mean", "activation", "before", "average over units"),
    ("variance", "activation^2", "before", "average over units"),
    *(
        (
            f"{what}_{since}",
            unit,
            "after" if since == "drift_by_update" else "before",
            "Santurkar et al. 2018, figure 8",
        )
        for since in ("drift_by_update", "drift_since_last", "drift_since_start")
        for what, unit in (("mean", "activation"), ("variance", "activation^2"), ("wasserstein", "activation"))
    ),
)
