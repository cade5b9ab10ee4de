"""How weights grow, turn and wander, and how far running statistics stand from those of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import After, Before
from probes.protocol import At, Declaration, Field, Need, group_sums
from probes.reductions import (
    BufferValues,
    ChannelNorms,
    DistancesFromStart,
    Moments,
    ParameterValues,
    UnitsFromStart,
    UpdateTerms,
    WeightTerms,
)
from probes.reductions.dynamics import turned


@dataclass(frozen=True)
class Dynamics:
    """Per layer, of its weights w, gradient g of the training batch's total loss, and real update d; no pass is added.

    ``weight_norm`` ||w||; ``update_angle`` between w and w + d, and ``unit_update_angle``, the root mean square over
    units of the same for each unit's weights (Kosson et al. 2024), in radians; ``effective_rate`` lr_t / ||w||^2
    (van Laarhoven 2017; Arora et al. 2019); ``gradient_radial`` <w, g> / ||w|| with its sign, and
    ``gradient_tangential``, the norm of what is left of g; ``distance_from_start`` ||w - w_0||, w_0 at the first probed
    step. Of a reparametrised weight (weight normalisation) w stands for the factors that are trained, taken together.

    Of torch's batch normalisations that keep running statistics, averaged over units (Wang et al. 2022):
    ``running_mean_discrepancy`` |mean_running - mean_batch| / sigma_batch and ``running_deviation_discrepancy``
    |sigma_running / sigma_batch - 1|, sigma = sqrt(variance + eps) as each is used (the batch's variance is the biased
    one, torch averages the unbiased ones); the running ones as they stood before this batch moved them.

    By option, as arrays, ``channel_norms`` of every weight: the norm of each output channel's (a row of the weight).

    With ``values``, as arrays, ``weight_values``: every weight itself, a row for each unit; for toys, since it is
    stored whole at every probed step.

    With ``units``, of each layer with one trained weight of more than one column, ``unit_distance_from_start``
    ||w_j - w_j0|| and ``unit_angle_from_start``, the angle between the two in radians, of each unit's weights w_j:
    arrays, and their means over units; the norms ||w_j|| as ``channel_norms`` of that weight, and their mean
    ``unit_norm``.

    Args:
        layers: names; None for all that have trained weights.
        channels: whether to take the norms by channel, too.
        values: whether to store the weights themselves, too.
        units: whether arrays over units are kept; norms are then taken of these units' weights at least.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: no such layer, or one without trained weights.
    """

    layers: tuple[str, ...] | None = None
    channels: bool = False
    values: bool = False
    units: bool = False
    every: int = 1

    def _layers(self, network: View) -> list[Layer]:
        chosen = network.select(self.layers)
        if self.layers is None:
            return [layer for layer in chosen if layer.weights]
        for layer in chosen:
            if not layer.weights:
                raise ProbeError(f"dynamics: layer {layer.name!r} has no trained weights")
        return list(chosen)

    def _averaged(self, network: View) -> dict[str, tuple[float, Need, Need, Need]]:
        """layer -> eps, running mean and variance, the batch's moments."""
        found = {}
        for layer in network.select(self.layers):
            if layer.batch_norm_epsilon is None or layer.normalisation is None or layer.before_normalisation is None:
                continue
            leaf = network.leaf(layer.normalisation)
            names = [f"{leaf.module}.{which}" for which in ("running_mean", "running_var")]
            if all(name in network.buffers for name in names):
                mean, variance = (Need("train", Before(), BufferValues(name)) for name in names)
                moments = Need("train", Before(), Moments(layer.before_normalisation))
                found[layer.name] = (layer.batch_norm_epsilon, mean, variance, moments)
        return found

    def _of_units(self, network: View) -> dict[str, str]:
        """layer -> the weight whose rows are its units."""
        found = {}
        for layer in self._layers(network) if self.units else ():
            wide = [w for w in layer.weights if len(network.shapes[w]) > 1]
            if len(wide) == 1:
                found[layer.name] = wide[0]
        return found

    def _by_channel(self, network: View) -> dict[str, str]:
        """Weight -> its layer, of those whose channels' norms are taken."""
        if self.channels:
            return {weight: layer.name for layer in self._layers(network) for weight in layer.weights}
        return {weight: name for name, weight in self._of_units(network).items()}

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        layers, averaged = self._layers(network), self._averaged(network)
        if not layers:
            raise ProbeError("dynamics: no layer of this network has trained weights")
        factors = [x.name for x in layers if any(".parametrizations." in w for w in x.weights)]
        of_factors = f"; w the trained factors in {', '.join(factors)}" if factors else ""
        names = tuple(layer.name for layer in layers)
        fields = {
            key: Field(key, unit, reference + of_factors, "train", point, dims=("layer",), layer=names)
            for key, unit, point, reference in _RECORDS
        }
        needs = list(_asked(layers))
        by_channel, of_units = self._by_channel(network), self._of_units(network)
        if by_channel:
            needs.append(_norms(by_channel))
        for weight, name in by_channel.items():
            fields[f"{CHANNEL_NORMS}.{weight}"] = Field(
                CHANNEL_NORMS, "parameter", f"of the rows of {weight}", "train", "before", ("channel",),
                (name,), None, network.shapes[weight][:1],
            )  # fmt: skip
        for weight, name in _weights(layers) if self.values else ():
            shape, need = network.shapes[weight], _values(weight)
            needs.append(need)
            fields[f"{WEIGHT_VALUES}.{weight}"] = Field(
                WEIGHT_VALUES, "parameter", f"{weight} itself", "train", "before", ("unit", "input"), (name,), None,
                (shape[0], math.prod(shape[1:])),
            )  # fmt: skip
        if averaged:
            needs += [need for _, *three in averaged.values() for need in three]
            for key in ("running_mean_discrepancy", "running_deviation_discrepancy"):
                reference = "Wang et al. 2022, training-inference discrepancy"
                fields[key] = Field(key, "1", reference, "train", "before", dims=("layer",), layer=tuple(averaged))
        needs += [_from_start(weight) for weight in of_units.values()]
        for key, unit, reference in _UNITS if of_units else ():
            fields[key] = Field(key, unit, reference, "train", "before", dims=("layer",), layer=tuple(of_units))
            for name, weight in of_units.items() if key != "unit_norm" else ():
                fields[f"{key}.{name}"] = Field(
                    key, unit, reference, "train", "before", ("unit",), (name,), None, network.shapes[weight][:1]
                )
        return Declaration(tuple(needs), fields, modes=bool(averaged))

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        network, layers = at.network, self._layers(at.network)
        terms, updates, distances = (at[need] for need in _asked(layers))
        lengths = [len(layer.weights) for layer in layers]
        size_squared, product, gradient_squared = group_sums(terms, lengths)
        along, step_squared, squares = group_sums(updates, lengths)
        radial = product / size_squared.sqrt()
        rates = torch.tensor([at.rate_of(layer.weights) for layer in layers], dtype=torch.float64)
        answer = {
            "weight_norm": size_squared.sqrt(),
            "update_angle": turned(along, step_squared, size_squared),
            "unit_update_angle": (squares / torch.tensor([_units(network, layer) for layer in layers])).sqrt(),
            "effective_rate": rates / size_squared,
            "gradient_radial": radial,
            "gradient_tangential": (gradient_squared - radial.square()).clamp(min=0).sqrt(),
            "distance_from_start": group_sums(distances.square(), lengths).sqrt(),
        }
        norms: dict[str, Tensor] = {}
        if by_channel := self._by_channel(network):
            parts = at[_norms(by_channel)].split([network.shapes[weight][0] for weight in by_channel])
            norms = dict(zip(by_channel, parts, strict=True))
            answer |= {f"{CHANNEL_NORMS}.{weight}": part for weight, part in norms.items()}
        for weight, _ in _weights(layers) if self.values else ():
            answer[f"{WEIGHT_VALUES}.{weight}"] = at[_values(weight)].flatten(1)
        averaged = self._averaged(network)
        if averaged:
            # all layers' units at once: of many small layers each operation takes longer to call than to do
            small, *needs = zip(*averaged.values(), strict=True)
            means, variances, (of_batch, squared) = (torch.cat([at[need] for need in of], -1) for of in needs)
            widths = torch.tensor([at[mean].numel() for mean in needs[0]])
            eps = torch.tensor(small, dtype=torch.float64).repeat_interleave(widths)
            running = (variances + eps).sqrt()
            spread = (squared + eps).sqrt()
            ratios = torch.stack([(means - of_batch).abs() / spread, (running / spread - 1).abs()])
            found = group_sums(ratios, widths.tolist()) / widths
            answer["running_mean_discrepancy"], answer["running_deviation_discrepancy"] = found
        if of_units := self._of_units(network):
            answer["unit_norm"] = torch.stack([norms[weight].mean() for weight in of_units.values()])
            for place, (key, *_) in enumerate(_UNITS[1:]):
                arrays = {name: at[_from_start(weight)][place] for name, weight in of_units.items()}
                answer[key] = torch.stack([values.mean() for values in arrays.values()])
                answer |= {f"{key}.{name}": values for name, values in arrays.items()}
        return answer


CHANNEL_NORMS = "channel_norms"
"""The arrays are called so, a dot, and the weight's qualified name."""


WEIGHT_VALUES = "weight_values"
"""The arrays are called so, a dot, and the weight's qualified name."""


def _weights(layers: list[Layer]) -> list[tuple[str, str]]:
    """Every weight, and its layer's name."""
    return [(weight, layer.name) for layer in layers for weight in layer.weights]


def _values(weight: str) -> Need:
    return Need("train", Before(), ParameterValues(weight))


def _norms(weights: Iterable[str]) -> Need:
    return Need("train", Before(), ChannelNorms(tuple(weights)))


def _from_start(weight: str) -> Need:
    return Need("train", Before(), UnitsFromStart(weight))


def _asked(layers: list[Layer]) -> tuple[Need, Need, Need]:
    """Of all weights of ``layers``, one layer after the other."""
    weights = tuple(name for layer in layers for name in layer.weights)
    return (
        Need("train", Before(), WeightTerms(weights)),
        Need("train", After(), UpdateTerms(weights)),
        Need("train", Before(), DistancesFromStart(weights)),
    )


def _units(network: View, layer: Layer) -> int:
    """Rows of more than one number in the layer's weights."""
    shapes = [torch.Size(network.shapes[name]) for name in layer.weights]
    return sum(shape[0] for shape in shapes if shape.numel() > shape[0])


_RECORDS: tuple[tuple[str, str, str, str], ...] = (
    ("weight_norm", "parameter", "before", "van Laarhoven 2017"),
    ("update_angle", "radian", "after", "angle between w_t and w_{t+1}"),
    ("unit_update_angle", "radian", "after", "Kosson et al. 2024; root mean square over units"),
    (
        "effective_rate",
        "1/parameter^2",
        "before",
        "van Laarhoven 2017: lr_t / ||w||^2; NaN for several rates in a layer",
    ),
    (
        "gradient_radial",
        "loss/parameter",
        "before",
        "<w, g> / ||w||; of scale-invariant weights the penalty's alone, decay ||w||",
    ),
    ("gradient_tangential", "loss/parameter", "before", "norm of g less its radial part"),
    ("distance_from_start", "parameter", "before", "||w - w_0||, w_0 at the first probed step"),
)
_UNITS: tuple[tuple[str, str, str], ...] = (
    ("unit_norm", "parameter", "mean over units of ||w_j||, which channel_norms has by unit"),
    ("unit_distance_from_start", "parameter", "||w_j - w_j0||; mean over units"),
    ("unit_angle_from_start", "radian", "angle between w_j and w_j0; mean over units"),
)
