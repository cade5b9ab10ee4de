"""Initial weights as a function of (seed, place): networks that differ elsewhere start from the same weights."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from experiments.errors import WrongInput, near_miss
from probes.randomness import seeded_generator

Scheme = Literal["glorot", "he", "gaussian"]


def initialise(
    network: nn.Module, scheme: Scheme = "glorot", gain: float = 1.0, std: float = 0.01, seed: int = 0
) -> None:
    """Draws the weights of all linear layers and convolutions anew, and sets their biases to 0.

    Each layer draws from a generator of its own, seeded by (seed, qualified name): the normalisation beside it changes
    nothing. Of a reparametrised layer (weight normalisation) it is the effective weight that is set.

    Args:
        network: changed in place.
        scheme: "glorot": uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, equation 16);
            "he": Gaussian with variance 2 / fan_in (He et al. 2015, equation 10); "gaussian": with deviation ``std``.
        gain: factor on every weight; more than 0.
        std: standard deviation of "gaussian" at gain 1; more than 0. The others do not use it.
        seed: the run's seed.

    Raises:
        WrongInput: an unknown scheme, or a gain or deviation that is not positive.
    """
    if scheme not in get_args(Scheme):
        raise WrongInput(
            f"model.initialisation={scheme}: unknown initialisation; {near_miss(scheme, get_args(Scheme))}"
        )
    for key, value in (("gain", gain), ("init_std", std)):
        if not value > 0:
            raise WrongInput(f"model.{key}={value}: must be more than 0")
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        weight = _draw(module.weight, scheme, std, seeded_generator("cpu", seed, "initialisation", name))
        with torch.no_grad():
            weight = weight.mul_(gain).to(module.weight)
            if parametrize.is_parametrized(module, "weight"):
                module.weight = weight  # runs the parametrisation backwards
            else:
                module.weight.copy_(weight)
            if module.bias is not None:
                module.bias.zero_()


def _draw(like: Tensor, scheme: Scheme, std: float, generator: torch.Generator) -> Tensor:
    """A float32 weight of the shape of ``like``, (out, in, ...), on the CPU: one for all devices and precisions."""
    weight = torch.empty(like.shape, dtype=torch.float32)
    receptive = like[0, 0].numel()
    fan_in, fan_out = like.shape[1] * receptive, like.shape[0] * receptive
    if scheme == "glorot":
        bound = math.sqrt(6.0 / (fan_in + fan_out))
        return weight.uniform_(-bound, bound, generator=generator)
    return weight.normal_(0.0, math.sqrt(2.0 / fan_in) if scheme == "he" else std, generator=generator)
