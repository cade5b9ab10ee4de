"""A network is an ordered sequence of named blocks, so that every place in it has a name and an output."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from experiments.discovery import Registry
from experiments.errors import WrongInput
from experiments.norms import NormalisedLayer
from probes import randomness

MODELS: Registry[Callable[..., Any]] = Registry("model", "experiments.models")
"""Every model is a class or function ``entry(spec, norm, *, option: type = default, ...)`` and gives a module."""

Activation = Literal["relu", "sigmoid", "tanh", "none"]
Placement = Literal["before", "after"]

Norm = Callable[..., NormalisedLayer]
"""``norm(layer, activation=..., placement=...)``: the configured normalisation applied to a layer, and
``norm(layer, output=True)`` to the one that gives the output; see :class:`experiments.models.placing.Placing`."""


class Spec(Protocol):
    """What a model must know of the data."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (channels, height, width) or (features,)."""

    @property
    def outputs(self) -> int:
        """Number of classes, or of values to predict."""

    @property
    def task(self) -> str:
        """ "classification" or "regression"."""


class Network(nn.Sequential):
    """Named blocks, each an ``nn.Sequential`` or a leaf, so that the forward pass is the composition of the leaves.

    Layers that draw random numbers are told their ``place``, the qualified name, by which they are seeded.

    Args:
        blocks: the blocks by name, in order.
    """

    def __init__(self, blocks: Mapping[str, nn.Module]) -> None:
        super().__init__(OrderedDict(blocks))
        assign_places(self)


def assign_places(network: nn.Module) -> None:
    """Tells every layer that draws random numbers (it has an attribute ``place``) its qualified name."""
    for name, module in network.named_modules():
        if hasattr(module, "place"):
            module.place = name


class Dropout(nn.Module):
    """Sets each value to 0 with the given probability and divides the rest by its complement, in training only.

    The mask is a function of (seed, step, ``place``), see :mod:`probes.randomness`.

    Args:
        probability: of setting a value to 0, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise WrongInput(f"model.dropout={probability}: must be at least 0 and less than 1")
        self.probability = probability
        self.place = ""

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x."""
        if not self.training:
            return x
        uniform = torch.rand(x.shape, device=x.device, generator=randomness.generator(self.place, x.device))
        return x * (uniform >= self.probability).to(x.dtype).div_(1.0 - self.probability)

    def extra_repr(self) -> str:
        return f"probability={self.probability:g}"


def scaled(channels: int, width: float) -> int:
    """``channels`` times the width multiplier, at least 1."""
    if not width > 0:
        raise WrongInput(f"model.width={width}: must be more than 0")
    return max(1, round(channels * width))
