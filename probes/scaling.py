"""What becomes of a layer's outputs and gradients when its weights are multiplied by a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import Before, Moment, Point
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import GradientReduction, TapValues


@dataclass(frozen=True)
class Scaled(Point):
    """theta_t, but for these parameters, which are multiplied by ``factor``."""

    weights: tuple[str, ...]
    factor: float

    def __str__(self) -> str:
        return f"{', '.join(self.weights)} x {self.factor:g}"

    def move(self, moment: Moment) -> None:
        """See :class:`Point`."""
        moment.load({name: self.factor * moment.start[name] for name in self.weights})

    @property
    def family(self) -> str:
        """See :class:`Point`."""
        return "weights of a layer multiplied"


@dataclass(frozen=True)
class ScaledGradientError(GradientReduction):
    """(1,): ||factor g' - g|| / ||g|| of the gradients g at Before and g' here with respect to ``weights``."""

    weights: tuple[str, ...]
    factor: float
    rests_on_before = True

    def reduce(
        self, gradients: Mapping[str, Tensor], reference: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> Tensor:
        """See :class:`GradientReduction`."""
        pairs = [(gradients[name].double(), reference[name].double()) for name in self.weights]
        away = torch.stack([(self.factor * here - before).square().sum() for here, before in pairs]).sum()
        return (away / torch.stack([before.square().sum() for _, before in pairs]).sum()).sqrt().reshape(1)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (1,)


@dataclass(frozen=True)
class Scaling:
    """Per layer that a normalisation follows: how far it is from being blind to the scale of its weights W.

    Where outputs do not change with a in norm(a W u), the gradient with respect to a W is 1/a times that with respect
    to W (Ioffe & Szegedy 2015, section 3.3): the larger the weights, the smaller the gradient. ``scaling_output_error``
    is ||y(aW) - y(W)|| / ||y(W)|| of the normalisation's outputs, ``scaling_gradient_error`` is ||a g(aW) - g(W)|| /
    ||g(W)|| of the gradients of the total loss; both on the training batch. The layer's bias stays as it is: before a
    normalisation that removes the mean it has no say. eps is not scaled, so that it breaks the invariance, most where
    a is small: ask with a small one, in float64.

    Args:
        layers: names; None for all with trained weights that a normalisation follows.
        factors: the a, above 0.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: a factor that is not above 0, or none; no such layer, or no normalisation behind it.
    """

    layers: tuple[str, ...] | None = None
    factors: tuple[float, ...] = (0.1, 10.0)
    every: int = 1

    def __post_init__(self) -> None:
        positive = all(0 < a < math.inf for a in self.factors)
        if not self.factors or not positive or list(self.factors) != sorted(set(self.factors)):
            raise ProbeError(f"scaling factors={list(self.factors)}: must be ascending, above 0, at least one")

    def _needs(self, network: View) -> dict[str, tuple[Need, list[tuple[Need, Need]]]]:
        """Layer -> its outputs at Before; for each factor its outputs and the error of its gradient there."""
        found = {}
        for layer in network.select(self.layers):
            tap = layer.after_normalisation
            if tap is None or not layer.weights or not _behind(network, layer, tap):
                if self.layers is not None:
                    raise ProbeError(
                        f"scaling: layer {layer.name!r} has no trained weights that a normalisation follows"
                    )
                continue
            points = [(Scaled(layer.weights, a), a) for a in self.factors]
            found[layer.name] = (
                Need("train", Before(), TapValues(tap)),
                [
                    (Need("train", at, TapValues(tap)), Need("train", at, ScaledGradientError(layer.weights, a)))
                    for at, a in points
                ],
            )
        return found

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        asked = self._needs(network)
        if not asked:
            return Declaration((), {}, nothing="no layer with trained weights is followed by a normalisation")
        fields = {
            key: Field(
                key, "1", reference, "train", "none", dims=("layer", "x"), layer=tuple(asked), x=tuple(self.factors)
            )
            for key, reference in _RECORDS.items()
        }
        needs = [
            need for before, pairs in asked.values() for need in (before, *(one for pair in pairs for one in pair))
        ]
        return Declaration(tuple(needs), fields, modes=True)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        outputs, gradients = [], []
        for before, pairs in self._needs(at.network).values():
            y = at[before]
            outputs.append(torch.stack([(at[here] - y).norm() / y.norm() for here, _ in pairs]))
            gradients.append(torch.cat([at[error] for _, error in pairs]))
        if not outputs:
            return {}
        return {"scaling_output_error": torch.stack(outputs), "scaling_gradient_error": torch.stack(gradients)}


def _behind(network: View, layer: Layer, tap: str) -> bool:
    """Whether a layer's normalisation comes after its weights: before an activation that feeds them is one too."""
    return [leaf.tap for leaf in network.leaves].index(tap) > layer.first


_RECORDS = {
    "scaling_output_error": "Ioffe & Szegedy 2015, section 3.3: ||y(aW) - y(W)|| / ||y(W)||",
    "scaling_gradient_error": "Ioffe & Szegedy 2015, section 3.3: ||a g(aW) - g(W)|| / ||g(W)||",
}
