"""Initial weights as a function of (seed, place): networks that differ elsewhere start from the same weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from experiments.errors import WrongInput, near_miss
from experiments.patterns import matching
from probes.network import kind_of
from probes.randomness import seeded_generator

Scheme = Literal["glorot", "he", "gaussian", "orthogonal"]


def initialise(
    network: nn.Module,
    scheme: Scheme = "glorot",
    gain: float = 1.0,
    std: float = 0.01,
    seed: int = 0,
    *,
    positive: float = 0.0,
    gains: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Draws the weights of all linear layers and convolutions anew, and sets their biases to 0.

    Each layer draws from a generator of its own, seeded by (seed, qualified name): the normalisation beside it changes
    nothing. Of a reparametrised layer (weight normalisation) it is the effective weight that is set.

    Args:
        network: changed in place.
        scheme: "glorot": uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, equation 16);
            "he": Gaussian with variance 2 / fan_in (He et al. 2015, equation 10); "gaussian": with deviation ``std``;
            "orthogonal": a random (out, in * receptive field) with orthonormal rows or columns (Saxe et al. 2014).
        gain: factor on every weight; more than 0.
        std: standard deviation of "gaussian" at gain 1; more than 0. The others do not use it.
        seed: the run's seed.
        positive: a of W + a |W|, which breaks the symmetry about 0: at 1 no weight is negative. At least 0; before the
            gains.
        gains: further factors for some layers, ``{"match": "conv*", "gain": 2.0}`` each; layers go by their names in
            the network without a trailing ".layer".

    Raises:
        WrongInput: an unknown scheme, a gain or deviation that is not positive, a pattern that matches no layer, or two
            that match the same one.
    """
    if scheme not in get_args(Scheme):
        raise WrongInput(
            f"model.initialisation={scheme}: unknown initialisation; {near_miss(scheme, get_args(Scheme))}"
        )
    for key, value in (("gain", gain), ("init_std", std)):
        if not value > 0:
            raise WrongInput(f"model.{key}={value}: must be more than 0")
    if not positive >= 0:
        raise WrongInput(f"model.positive={positive}: must be at least 0")
    layers = {name: module for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))}
    factors = _factors(gains, [name.removesuffix(".layer") for name in layers])
    for name, module in layers.items():
        weight = _draw(module.weight, scheme, std, seeded_generator("cpu", seed, "initialisation", name))
        with torch.no_grad():
            if positive:
                weight.add_(weight.abs(), alpha=positive)
            weight = weight.mul_(gain * factors.get(name.removesuffix(".layer"), 1.0)).to(module.weight)
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
    if scheme == "orthogonal":
        return nn.init.orthogonal_(weight, generator=generator)
    return weight.normal_(0.0, math.sqrt(2.0 / fan_in) if scheme == "he" else std, generator=generator)


def _factors(gains: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """The further factor of each layer that has one, by name."""
    found: dict[str, float] = {}
    for entry in gains:
        if not isinstance(entry, Mapping) or set(entry) != {"match", "gain"}:
            raise WrongInput(f"model.gains={entry}: must be {{match: name or pattern, gain: number}}")
        factor = entry["gain"]
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not factor > 0:
            raise WrongInput(f"model.gains={entry['match']}: gain={factor} must be a number above 0")
        for name in matching("model.gains", entry["match"], names):
            if name in found:
                raise WrongInput(f"model.gains={entry['match']}: {name} is matched by another pattern too")
            found[name] = float(factor)
    return found


def draw_gammas(network: nn.Module, seed: int) -> bool:
    """Draws every normalisation's gamma from U(0, 1) (Frankle et al. 2021, arXiv:2003.00152).

    Each is a function of (seed, name). Returns whether there is any.
    """
    any_found = False
    for name, module in network.named_modules():
        gamma = getattr(module, "weight", None)
        if kind_of(module, name) == "norm" and isinstance(gamma, nn.Parameter):
            drawn = torch.rand(gamma.shape, generator=seeded_generator("cpu", seed, "gamma", name))
            with torch.no_grad():
                gamma.copy_(drawn)
            any_found = True
    return any_found


def fix(block: nn.Module, norm: float) -> None:
    """Scales the weight of the one layer in ``block`` to Frobenius norm ``norm``, and trains it no more, nor its bias.

    Raises:
        WrongInput: ``norm`` is not positive, or the layer's weight is reparametrised.
    """
    if not norm > 0:
        raise WrongInput(f"model.fixed_output={norm}: must be more than 0")
    (layer,) = (module for module in block.modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
    if parametrize.is_parametrized(layer):
        raise WrongInput(f"model.fixed_output={norm}: the output layer's weight is reparametrised; it cannot be fixed")
    with torch.no_grad():
        layer.weight.mul_(norm / layer.weight.norm())
    layer.requires_grad_(False)
