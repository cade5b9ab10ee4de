"""What the normalisations share: the registry, the two ways to act on a layer, and a base class for new ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from experiments.discovery import Registry
from experiments.errors import WrongInput
from probes import statistics

NORMS: Registry[Callable[..., Any]] = Registry("norm", "experiments.norms")
"""Every normalisation is a class or function ``entry(layer, *, option: type = default, ...)``.

It returns the module that acts on the layer's output, or :class:`Rewritten` where the layer itself is replaced.
"""


class Rewritten(NamedTuple):
    """What a normalisation returns that acts on the layer itself instead of on its output."""

    layer: nn.Module


def units(layer: nn.Module) -> int:
    """Number of units of ``layer``: output features of a linear layer, output channels of a convolution.

    Raises:
        WrongInput: ``layer`` is neither ``nn.Linear`` nor ``nn.Conv2d``.
    """
    if isinstance(layer, nn.Linear):
        return layer.out_features
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels
    raise WrongInput(f"layer={type(layer).__name__}: cannot be normalised; allowed: Linear, Conv2d")


def is_convolution(layer: nn.Module) -> bool:
    """Whether ``layer`` puts out images, (batch, channels, height, width), rather than vectors, (batch, units)."""
    return isinstance(layer, nn.Conv2d)


def device_and_dtype(layer: nn.Module) -> dict[str, Any]:
    """Where and in which precision the layer's weight is, as keyword arguments: its normalisation follows it."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return {"device": weight.device, "dtype": weight.dtype}


def in_range(option: str, value: float, low: float, high: float = float("inf")) -> None:
    """Refuses a value outside [low, high]."""
    if not low <= value <= high:
        allowed = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise WrongInput(f"norm.{option}={value}: must be {allowed}")


def refuse_single_values(norm: str, x: Tensor, values: int, of: str = "unit") -> None:
    """Refuses a batch in which statistics would be taken over a single value: its deviation is 0 by construction.

    Args:
        norm: the normalisation's name, for the error line.
        x: the batch, (batch, units) or (batch, channels, height, width).
        values: how many values each mean is taken over.
        of: what they are the values of.
    """
    if values <= 1:
        raise WrongInput(
            f"norm={norm}: a batch of shape {tuple(x.shape)} has one value per {of}, "
            f"which cannot be normalised; more than one is needed (a larger batch or image)"
        )


class OutputNormalisation(nn.Module):
    """Normalisation of a layer's output by statistics of the batch: y = gamma (x - mean) / denominator + beta.

    A subclass says what ``mean`` and ``denominator`` are in :meth:`statistics`; that is all. In training they come from
    the batch and their moving averages are kept; in evaluation mode the moving averages take their place. Where else
    they may come from says :mod:`probes.statistics`.

    Attributes:
        units: number of units (output features or channels); gamma, beta and the statistics have this shape.
        dims: the dimensions of x that the statistics are taken over: the batch, and height and width of a convolution.
        shape: what a (units,) tensor is viewed as to broadcast against x.
        weight, bias: gamma (initially 1) and beta (initially 0), shape (units,).
        running_mean, running_denominator: buffers, moving averages of the statistics as used (no bias correction),
            running <- (1 - momentum) running + momentum statistic; initially 0 and 1.
        num_batches_tracked: buffer, number of training batches seen.
        place: qualified name in the network, set by the network.
    """

    running_mean: Tensor
    running_denominator: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: nn.Module, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        """
        Args:
            layer: the ``nn.Linear`` or ``nn.Conv2d`` whose output is normalised; only its sizes are used.
            eps: for the subclass, to keep the denominator away from 0.
            momentum: weight of the newest batch in the moving averages, in [0, 1].

        Raises:
            WrongInput: another kind of layer, or an option out of range.
        """
        super().__init__()
        in_range("eps", eps, 0)
        in_range("momentum", momentum, 0, 1)
        self.units = units(layer)
        self.eps = eps
        self.momentum = momentum
        self.place = ""
        self.dims: tuple[int, ...] = (0, 2, 3) if is_convolution(layer) else (0,)
        self.shape: tuple[int, ...] = (1, self.units, 1, 1) if is_convolution(layer) else (1, self.units)
        factory = device_and_dtype(layer)
        self.weight = nn.Parameter(torch.ones(self.units, **factory))
        self.bias = nn.Parameter(torch.zeros(self.units, **factory))
        self.register_buffer("running_mean", torch.zeros(self.units, **factory))
        self.register_buffer("running_denominator", torch.ones(self.units, **factory))
        self.register_buffer("num_batches_tracked", torch.tensor(0, device=factory["device"]))

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and denominator of a training batch x, both of shape (units,). To be defined by the subclass."""
        raise NotImplementedError(f"{type(self).__name__} must define statistics(x) -> (mean, denominator)")

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x: (batch, units) or (batch, channels, height, width).

        Raises:
            WrongInput: in training, a batch with one value per unit.
        """
        if not statistics.of_batch(self.training):
            return self.affine(x, *self.held())
        refuse_single_values(type(self).__name__, x, x.numel() // self.units)
        mean, denominator = self.statistics(x)
        if statistics.moves(self.training):
            self.track(mean, denominator)
        return self.affine(x, mean, denominator)

    def held(self) -> tuple[Tensor, ...]:
        """Mean and denominator where they are not the batch's: the running ones, or given ones."""
        own = {"running_mean": self.running_mean, "running_denominator": self.running_denominator}
        return statistics.held(self.place, **own)

    def affine(self, x: Tensor, mean: Tensor, denominator: Tensor) -> Tensor:
        """gamma (x - mean) / denominator + beta in one pass over x; the other arguments are (units,)."""
        scale = self.weight / denominator
        offset = self.bias - mean * scale
        return torch.addcmul(offset.view(self.shape), x, scale.view(self.shape))

    @torch.no_grad()
    def track(self, mean: Tensor, denominator: Tensor) -> None:
        """Moves the moving averages towards the statistics of one training batch."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_denominator.lerp_(denominator, self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        return f"{self.units}, eps={self.eps:g}, momentum={self.momentum:g}"
