"""What the probes know of a network: its leaves in order, and the layers that they form.

A *leaf* is a module that is called as one step; a *tap* is the name of a leaf's output. A *layer* is a weight leaf
(convolution, linear) with the normalisation and the activation that follow it up to the next weight leaf, in whatever
order they stand.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from probes.errors import ProbeError
from probes.points import Moves


@dataclass(frozen=True)
class Leaf:
    """One step of the forward pass, in order of execution."""

    tap: str
    """Name of its output."""
    module: str | None
    """Qualified name of the module; None for a function of a traced network."""
    kind: str
    """"weight", "norm", "other", or the activation's name in lower case ("relu", "sigmoid", ...)."""
    shape: tuple[int, ...]
    """Shape of its output on the example batch."""
    operations: int
    """Floating-point operations of its forward pass on the example batch (2 per multiply-add)."""
    parameters: tuple[str, ...] = ()
    """Its parameters that require a gradient."""

    @property
    def trained(self) -> bool:
        """Whether it has a parameter that requires a gradient."""
        return bool(self.parameters)


@dataclass(frozen=True)
class Layer:
    """A weight leaf and what follows it up to the next one; all names are the network's own."""

    name: str
    """The weight leaf's qualified name, without a trailing ".layer"."""
    weights: tuple[str, ...]
    """Weight parameters (for weight normalisation the factors that are trained)."""
    weight_parameters: tuple[str, ...]
    """All trainable parameters of the weight leaf, its bias too."""
    gamma: str | None
    """The normalisation's scale, trained or not; ``beta`` is its shift."""
    beta: str | None
    parameters: tuple[str, ...]
    """All trainable parameters of the layer."""
    first: int
    """Place of the weight leaf among the leaves."""
    end: int
    """Place after the layer's last leaf."""
    before_normalisation: str
    """Tap that enters the normalisation; the weight leaf's output where there is none. ``<name>:input`` where the
    normalisation's input need not be the output of the leaf before it (a network that is no chain)."""
    after_normalisation: str | None
    """Tap that leaves the normalisation (its noise included); None where there is none."""
    normalisation: str | None
    """Tap of the normalisation's first leaf alone."""
    batch_norm_epsilon: float | None
    """The normalisation's eps if its first leaf is torch's batch normalisation (or a subclass) and normalises by the
    batch."""
    activation: str | None
    """Tap after the activation function, None where there is none."""
    activation_kind: str | None
    """"relu", "sigmoid", "tanh", ..."""


@dataclass(frozen=True)
class View:
    """A network as the probes see it."""

    leaves: tuple[Leaf, ...]
    layers: tuple[Layer, ...]
    parameters: tuple[str, ...]
    """Trainable parameters, in the network's order."""
    shapes: Mapping[str, tuple[int, ...]]
    """Shape of every parameter, trained or not."""
    ordered: bool
    """Whether the network is exactly the composition of its leaves; else their order is that of execution."""

    def layer(self, name: str) -> Layer:
        """The layer called ``name``.

        Raises:
            ProbeError: there is none; the layers are listed.
        """
        if name in self._layers:
            return self._layers[name]
        names = [layer.name for layer in self.layers]
        close = difflib.get_close_matches(str(name), names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ProbeError(f"layer {name!r}: not in this network; {hint}its layers are {', '.join(names) or 'none'}")

    def select(self, names: Iterable[str] | None) -> tuple[Layer, ...]:
        """The layers called ``names``, in the network's order; all of them for None."""
        if names is None:
            return self.layers
        chosen = {self.layer(name).name for name in names}
        return tuple(layer for layer in self.layers if layer.name in chosen)

    def leaf(self, tap: str) -> Leaf:
        """The leaf whose output is called ``tap``."""
        if tap in self._leaves:
            return self._leaves[tap]
        raise ProbeError(f"tap {tap!r}: not in this network; its taps are {', '.join(x.tap for x in self.leaves)}")

    def moved_before(self, name: str, moves: Moves) -> list[str]:
        """Parameters of the leaves before layer ``name``, which Definition 2.1 moves; or of the weight leaves alone."""
        return self.moving(0, self.layer(name).first, moves)

    def moving(self, first: int, end: int, moves: Moves) -> list[str]:
        """Parameters of the leaves from place ``first`` to before ``end``; of the weight leaves alone for "weights"."""
        leaves = self.leaves[first:end]
        found = (x for leaf in leaves if moves == "all" or leaf.kind == "weight" for x in leaf.parameters)
        return list(dict.fromkeys(found))

    def places(self, names: Iterable[str]) -> list[int]:
        """Places of the parameters ``names`` in :attr:`parameters`."""
        return [self._places[name] for name in names]

    @functools.cached_property
    def _layers(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @functools.cached_property
    def _leaves(self) -> dict[str, Leaf]:
        return {leaf.tap: leaf for leaf in self.leaves}

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.parameters)}


# Softmax and its relatives too: they stand where an activation does
_ACTIVATIONS = frozenset(x.lower() for x in nn.modules.activation.__all__) - {"multiheadattention"}
_NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


def activation_kind(function: str) -> str:
    """The activation's name without underscores ("leakyrelu") for the name of a function; "other" for other ones."""
    spelled = function.replace("_", "").lower()
    return spelled if spelled in _ACTIVATIONS else "other"


def kind_of(module: nn.Module, name: str) -> str:
    """ "norm", "weight", the name of an activation function, or "other"."""
    spelled = type(module).__name__.lower()
    if type(module).__module__ == "torch.nn.modules.activation" and spelled in _ACTIVATIONS:
        return spelled
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return "weight"
    if isinstance(module, _NORMALISATIONS) or "norm" in name.split("."):
        return "norm"
    if any(parameter.ndim >= 2 for parameter in module.parameters()):
        return "weight"
    return "norm" if "norm" in spelled else "other"


def normalises_by_batch(module: nn.Module) -> bool:
    """Whether it is torch's batch normalisation and takes its statistics from the batch in its present mode."""
    if not isinstance(module, nn.modules.batchnorm._BatchNorm):
        return False
    return module.training or (module.running_mean is None and module.running_var is None)


def batch_modes(network: nn.Module) -> dict[str, bool]:
    """For each of torch's batch normalisations whether it takes its statistics from the batch."""
    kind = nn.modules.batchnorm._BatchNorm
    return {name: normalises_by_batch(m) for name, m in network.named_modules() if isinstance(m, kind)}


def _batch_norm_epsilon(network: nn.Module, leaf: Leaf) -> float | None:
    module: Any = network.get_submodule(leaf.module) if leaf.module is not None else None
    return module.eps if module is not None and normalises_by_batch(module) else None


def _affine(network: nn.Module, leaf: Leaf, owner: dict[int, str]) -> dict[str, str]:
    """The names of a normalisation's weight and bias, by these words, whether they are trained or not."""
    module = network.get_submodule(leaf.module) if leaf.module is not None else None
    return {} if module is None else {n.rpartition(".")[2]: owner[id(p)] for n, p in module.named_parameters()}


def layers_of(network: nn.Module, leaves: tuple[Leaf, ...]) -> tuple[Layer, ...]:
    """Groups ``leaves``, in their order, into layers."""
    starts = [i for i, leaf in enumerate(leaves) if leaf.kind == "weight"]
    owner = {id(parameter): name for name, parameter in network.named_parameters()}
    taken: set[str] = set()
    return tuple(
        _layer(network, leaves, first, end, owner, taken)
        for first, end in zip(starts, [*starts, len(leaves)][1:], strict=True)
    )


def _layer(
    network: nn.Module, leaves: tuple[Leaf, ...], first: int, end: int, owner: dict[int, str], taken: set[str]
) -> Layer:
    members = leaves[first:end]
    owned = []
    for leaf in members:
        owned.append([name for name in leaf.parameters if name not in taken])
        taken.update(owned[-1])
    shape = {name: parameter.ndim for name, parameter in network.named_parameters()}
    norms = [i for i, leaf in enumerate(members) if leaf.kind == "norm"]
    affine = _affine(network, members[norms[0]], owner) if norms else {}
    activations = [i for i, leaf in enumerate(members) if i and leaf.kind not in ("norm", "weight", "other")]
    # a normalisation may be two leaves (batch, noise): the run that starts at the first one
    last = norms[0] if norms else 0
    while last + 1 in norms:
        last += 1
    name = members[0].tap
    return Layer(
        name=name.removesuffix(".layer") if name != "layer" else name,
        # the factors of a reparametrised weight count as weights whatever their shape; biases do not
        weights=tuple(n for n in owned[0] if shape[n] >= 2 or ".parametrizations.weight." in f".{n}"),
        weight_parameters=tuple(owned[0]),
        gamma=affine.get("weight"),
        beta=affine.get("bias"),
        parameters=tuple(name for names in owned for name in names),
        first=first,
        end=end,
        before_normalisation=members[norms[0] - 1].tap if norms else members[0].tap,
        after_normalisation=members[last].tap if norms else None,
        normalisation=members[norms[0]].tap if norms else None,
        batch_norm_epsilon=_batch_norm_epsilon(network, members[norms[0]]) if norms else None,
        activation=members[activations[0]].tap if activations else None,
        activation_kind=members[activations[0]].kind if activations else None,
    )
