"""Layers of whose weight a few numbers are trained in each output channel, drawn by chance (Frankle et al. 2021).

The layer is reparametrised: what is trained are those numbers alone, the parameter
``<layer>.parametrizations.weight.original`` of shape (channels, n), and its weight is put together from them and from
the rest as it stood at the start, which is a buffer. So nothing moves the rest, no momentum, decay or perturbation; and
whatever looks at trained parameters (optimisers, penalties, walks, probes) sees the trained numbers and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from experiments.errors import WrongInput
from probes.randomness import seeded_generator


class ChosenEntries(nn.Module):
    """Puts a weight together from its trained entries and the rest.

    Attributes:
        places: buffer, (channels, n): of each output channel the trained entries, as places in the flattened channel.
        rest: buffer, the weight at the start, of its shape.
    """

    places: Tensor
    rest: Tensor

    def __init__(self, places: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)
        self.register_buffer("rest", weight.detach().clone())

    def forward(self, entries: Tensor) -> Tensor:
        """The weight, of ``rest``'s shape, from its trained entries, (channels, n)."""
        return self.rest.flatten(1).scatter(1, self.places, entries).view(self.rest.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The trained entries of a weight."""
        return weight.flatten(1).gather(1, self.places)


def choose_entries(network: nn.Module, name: str, count: int, seed: int, key: str) -> str:
    """Lets ``count`` random entries of each output channel of a weight be trained and fixes the rest.

    Args:
        network: changed in place; the function that it computes is the same.
        name: of the weight of a linear layer or a convolution.
        count: entries of each output channel.
        seed: the run's; which entries is a function of it and of the name.
        key: where this was asked, for error lines.

    Returns:
        The name of the parameter that is trained in its place.

    Raises:
        WrongInput: another kind of parameter, one that several modules share, or more entries than there are.
    """
    path, _, attribute = name.rpartition(".")
    layer = network.get_submodule(path)
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    convolution = isinstance(layer, nn.modules.conv._ConvNd) and not transposed
    plain = attribute == "weight" and (isinstance(layer, nn.Linear) or convolution)
    if not plain or parametrize.is_parametrized(layer):
        raise WrongInput(f"{key}: {name}: only weights of linear layers and convolutions can be chosen from; except it")
    weight: Tensor = layer.weight  # type: ignore[assignment]
    names = [n for n, p in network.named_parameters(remove_duplicate=False) if p is weight]
    if len(names) > 1:
        raise WrongInput(f"{key}: {name}: is shared ({', '.join(names)}), and cannot be chosen from; except it")
    there = weight[0].numel()
    if count > there:
        raise WrongInput(f"{key}: {name}: has {there} weights per channel; choose at most so many")
    drawn = torch.rand(len(weight), there, generator=seeded_generator("cpu", seed, "chosen entries", name))
    places = drawn.argsort(1)[:, :count].sort(1).values
    return _put(layer, path, places.to(weight.device))


def _put(layer: nn.Module, path: str, places: Tensor) -> str:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    parametrize.register_parametrization(layer, "weight", ChosenEntries(places, weight))
    return f"{path}.parametrizations.weight.original" if path else "parametrizations.weight.original"


def entries_as_stored(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Reparametrises ``network``, changed in place, as the network was whose state dict ``state`` is."""
    for name, places in state.items():
        if f".{name}".endswith(_PLACES):
            path = name.removesuffix(_PLACES[1:]).removesuffix(".")
            _put(network.get_submodule(path), path, places)


def put_together(network: nn.Module) -> None:
    """Puts plain layers in place of those that train chosen entries; ``network`` is changed, its outputs are not.

    torch's own way back would take the weight from every copy of the layer, which share a class.
    """
    for name, module in list(network.named_modules()):
        if parametrize.is_parametrized(module, "weight") and any(True for _ in trained_entries(module)):
            kind: Any = type(module).__mro__[1]
            plain: nn.Module = kind.__new__(kind)
            plain.__dict__.update(module.__dict__)
            plain._modules = {}
            weight: Any = module.weight
            plain._parameters = {"weight": nn.Parameter(weight.detach()), **module._parameters}
            network.set_submodule(name, plain)


_PLACES = ".parametrizations.weight.0.places"


def trained_entries(network: nn.Module) -> Iterable[Tensor]:
    """The parameters that stand for chosen entries of weights."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList) and isinstance(module[0], ChosenEntries):
            yield module.original
