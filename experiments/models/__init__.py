"""Networks, and the one door to them: :func:`build_model`.

One file per family. A user's own model comes in by the same door, from the user's file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.models.initialisation import Scheme, draw_gammas, fix, initialise
from experiments.models.network import MODELS, Network, Spec, assign_places
from experiments.models.placing import Placing
from experiments.norms import NORMS, NormalisedLayer, apply_norm, normalised
from experiments.options import build, in_users_code
from probes import randomness, statistics

__all__ = ["MODELS", "Network", "Spec", "build_model", "initialise"]

_OF_EVERY_MODEL = ("initialisation", "gain", "init_std", "positive", "gains", "gamma", "fixed_output", "norm_at")


def build_model(model_options: Mapping[str, Any], norm_options: Mapping[str, Any], spec: Spec, seed: int) -> nn.Module:
    """The network that the configuration groups ``model`` and ``norm`` describe, on the CPU, in training mode.

    A function of its arguments alone; torch's global random state is left as it was.

    Args:
        model_options: ``name`` and ``file`` (null unless it is the user's own), the model's own options, and for every
            model those of :func:`of_every_model`.
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
    shared = {key: options.pop(key) for key in _OF_EVERY_MODEL if key in options}
    norm = _Norm(norm_rest.pop("name"), norm_rest.pop("file", None), norm_rest)
    entry = MODELS.get(name, file)
    with torch.random.fork_rng(devices=[]), randomness.at_step(seed, 0):
        finish = build("model", of_every_model, (), shared)
        network, placing = finish.place(lambda door: _built(name, entry, spec, door, options, seed), norm)
        assign_places(network)
        finish.start(network, placing, seed, plain=norm.name == "none")
        _check(name, network, spec, {"norm": (norm.file, norm.name), "model": (file, name)})
        if not norm.used and norm.name != "none":
            raise WrongInput(f"norm={norm.name}: the model {name} normalises no layer, so it takes norm=none only")
    return network.train()


def _built(
    name: str, entry: Callable[..., Any], spec: Spec, norm: Placing, options: Mapping[str, Any], seed: int
) -> nn.Module:
    torch.default_generator.manual_seed(randomness.derived_seed(seed, "model"))
    network = build("model", entry, (spec, norm), options)
    if not isinstance(network, nn.Module):
        raise WrongInput(f"model.name={name}: gives {type(network).__name__}; must give a torch.nn.Module")
    return network


class _Norm:
    """The configured normalisation: where it stands and what follows it is the model's to say.

    Its own options are those of the configuration alone.
    """

    def __init__(self, name: str, file: str | None, options: Mapping[str, Any]) -> None:
        self.name, self.file, self.options, self.used = name, file, options, False

    def __call__(
        self,
        layer: nn.Module | None = None,
        *,
        activation: str | None = None,
        placement: str = "before",
        units: int | None = None,
        dims: int | None = None,
    ) -> NormalisedLayer:
        entry = NORMS.get(self.name, self.file)
        how: dict[str, Any] = {"activation": activation, "placement": placement, "units": units, "dims": dims}
        block = normalised(layer, entry, self.name, self.options, **how)
        # one that rewrites layers does nothing where it stands alone
        self.used |= layer is not None or "norm" in block._modules
        return block


@dataclass(frozen=True)
class OfEveryModel:
    """What every model has done to it, whatever it is; see :func:`of_every_model`."""

    norm_at: str | Sequence[str] | None
    initialise: Callable[[nn.Module, int], None] | None
    uniform_gamma: bool
    fixed_output: float | None

    def place(
        self, make: Callable[[Placing], nn.Module], norm: Callable[..., NormalisedLayer]
    ) -> tuple[nn.Module, Placing]:
        """The network with its normalisations where ``norm_at`` says; it is made twice where they have to be named."""
        plain, wanted = functools.partial(apply_norm, name="none"), None
        if self.norm_at is not None:
            trial = Placing(plain, plain)
            wanted = trial.chosen_by(self.norm_at, make(trial))
        placing = Placing(norm, plain, wanted)
        return make(placing), placing

    def start(self, network: nn.Module, placing: Placing, seed: int, plain: bool) -> None:
        """Sets what training starts from; ``plain`` where there is no normalisation."""
        if self.initialise is not None:
            self.initialise(network, seed)
        if self.uniform_gamma and not draw_gammas(network, seed) and not plain:
            raise WrongInput("model.gamma=uniform: this normalisation has no gamma")
        if self.fixed_output is not None:
            if placing.output is None:
                raise WrongInput(
                    f"model.fixed_output={self.fixed_output}: this model does not say which layer is its output "
                    "(norm(layer, output=True))"
                )
            fix(placing.output, self.fixed_output)


def of_every_model(
    *,
    initialisation: Scheme | None = "glorot",
    gain: float = 1.0,
    init_std: float = 0.01,
    positive: float = 0.0,
    gains: list[Any] | None = None,
    gamma: Literal["ones", "uniform"] = "ones",
    fixed_output: float | None = None,
    norm_at: str | list[str] | None = None,
) -> OfEveryModel:
    """The options of every model.

    Args:
        initialisation, gain, init_std, positive, gains: see :func:`initialise`; no initialisation: what the model sets.
        gamma: where the scales of the normalisations start: ones, or drawn from U(0, 1).
        fixed_output: the output layer is not trained, and its weight has this Frobenius norm; with a weight decay it
            stays in the penalty that is recorded, as a constant.
        norm_at: which layers are normalised, see :meth:`Placing.chosen_by`; None: as the model says (hidden ones).
    """
    draw = None
    if initialisation is None and (positive or gains):
        key, value = ("positive", positive) if positive else ("gains", gains)
        raise WrongInput(f"model.{key}={value}: needs an initialisation, not model.initialisation=null")
    if initialisation is not None:
        draw = functools.partial(_initialise, initialisation, gain, init_std, positive, tuple(gains or ()))
    return OfEveryModel(norm_at, draw, gamma == "uniform", fixed_output)


def _initialise(
    scheme: Scheme, gain: float, std: float, positive: float, gains: Sequence[Any], network: nn.Module, seed: int
) -> None:
    initialise(network, scheme, gain, std, seed, positive=positive, gains=gains)


def _check(name: str, network: nn.Module, spec: Spec, named: Mapping[str, tuple[str | None, str]]) -> None:
    """One small forward pass in evaluation mode, which moves no running statistics; ``named``: the user's files."""
    reference = next(network.parameters(), torch.empty(0))
    inputs = torch.zeros(2, *spec.input_shape, dtype=reference.dtype)
    try:
        with torch.no_grad(), statistics.in_domain(0):
            output = network.eval()(inputs)
    except WrongInput:
        raise
    except Exception as error:  # whatever a user's model raises is the user's to see, in one line
        if users := in_users_code(error, named):
            raise users from error
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
