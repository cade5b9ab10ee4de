"""Networks, and the one door to them: :func:`build_model`.

One file per family. A user's own model comes in by the same door, from the user's file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.models.initialisation import Scheme, initialise
from experiments.models.network import MODELS, Network, Spec, assign_places, flatten
from experiments.norms import apply_norm
from experiments.registry import build
from probes import randomness

__all__ = ["MODELS", "Network", "Spec", "build_model", "flatten", "initialise"]

_INITIALISATION = ("initialisation", "gain", "init_std")


def build_model(model_options: Mapping[str, Any], norm_options: Mapping[str, Any], spec: Spec, seed: int) -> nn.Module:
    """The network that the configuration groups ``model`` and ``norm`` describe, on the CPU, in training mode.

    A function of its arguments alone; torch's global random state is left as it was.

    Args:
        model_options: ``name`` and ``file`` (null unless it is the user's own), the model's own options, and for every
            model ``initialisation`` (glorot, he, gaussian, or null for what the model itself sets), ``gain`` and
            ``init_std``.
        norm_options: ``name``, ``file`` and the options of the normalisation.
        spec: shape of the inputs and number of outputs.
        seed: the run's seed; initial weights are a function of it and of the layer's name.

    Returns:
        A :class:`Network`, or whatever module the user's own model is.

    Raises:
        WrongInput: a name, option or value that does not fit, data that the model does not take, or a user's model that
            does not map (2, *input_shape) to (2, outputs).
    """
    options, norm_rest = dict(model_options), dict(norm_options)
    name, file = options.pop("name"), options.pop("file", None)
    start = {key: options.pop(key) for key in _INITIALISATION if key in options}
    norm = functools.partial(apply_norm, name=norm_rest.pop("name"), file=norm_rest.pop("file", None), **norm_rest)
    entry = MODELS.get(name, file)
    with torch.random.fork_rng(devices=[]), randomness.at_step(seed, 0):
        torch.default_generator.manual_seed(randomness.derived_seed(seed, "model"))
        network = build("model", entry, (spec, norm), options)
        if not isinstance(network, nn.Module):
            raise WrongInput(f"model.name={name}: gives {type(network).__name__}; must give a torch.nn.Module")
        assign_places(network)
        build("model", _initialise, (network, seed), start)
        _check(name, network, spec)
    return network.train()


def _initialise(
    network: nn.Module,
    seed: int,
    *,
    initialisation: Scheme | None = "glorot",
    gain: float = 1.0,
    init_std: float = 0.01,
) -> None:
    if initialisation is not None:
        initialise(network, initialisation, gain, init_std, seed)


def _check(name: str, network: nn.Module, spec: Spec) -> None:
    """One small forward pass in evaluation mode, which moves no running statistics."""
    reference = next(network.parameters(), torch.empty(0))
    inputs = torch.zeros(2, *spec.input_shape, dtype=reference.dtype)
    try:
        with torch.no_grad():
            output = network.eval()(inputs)
    except WrongInput:
        raise
    except Exception as error:  # whatever a user's model raises is the user's to see, in one line
        first = str(error).partition("\n")[0]
        raise WrongInput(
            f"model.name={name}: fails on inputs of shape {tuple(inputs.shape)}: {type(error).__name__}: {first}"
        ) from error
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if shape != (2, spec.outputs):
        raise WrongInput(
            f"model.name={name}: gives {shape} for inputs of shape {tuple(inputs.shape)}; "
            f"must give a tensor of shape {(2, spec.outputs)}"
        )
