"""What the probes know of a network: its leaves in order, and the layers that they form.

A *leaf* is a module that is called as one step; a *tap* is the name of a leaf's output. A *layer* is a weight leaf
(convolution, linear) with the normalisation and the activation that follow it up to the next weight leaf, in whatever
order they stand.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from probes.errors import ProbeError


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
    trained: bool
    """Whether it has a parameter that requires a gradient."""


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
    beta: str | None
    parameters: tuple[str, ...]
    """All trainable parameters of the layer."""
    first: int
    """Place of the weight leaf among the leaves."""
    end: int
    """Place after the layer's last leaf."""
    before_normalisation: str
    """Tap that enters the normalisation; the weight leaf's output where there is none."""
    after_normalisation: str | None
    """Tap that leaves the normalisation (its noise included); None where there is none."""
    normalisation: str | None
    """Tap of the normalisation's first leaf alone."""
    batch_norm_epsilon: float | None
    """The normalisation's eps if its first leaf is torch's batch normalisation (or a subclass) in training mode."""
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
    sizes: tuple[int, ...]
    """Number of elements of each of ``parameters``."""
    ordered: bool
    """Whether the network is exactly the composition of its leaves; else their order is that of execution."""

    @property
    def stem(self) -> tuple[Leaf, ...]:
        """The leaves before the first layer."""
        return self.leaves[: self.layers[0].first] if self.layers else self.leaves

    def layer(self, name: str) -> Layer:
        """The layer called ``name``.

        Raises:
            ProbeError: there is none; the layers are listed.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
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
        for leaf in self.leaves:
            if leaf.tap == tap:
                return leaf
        raise ProbeError(f"tap {tap!r}: not in this network; its taps are {', '.join(x.tap for x in self.leaves)}")

    def places(self, names: Iterable[str]) -> list[int]:
        """Places of the parameters ``names`` in :attr:`parameters`."""
        return [self.parameters.index(name) for name in names]


def kind_of(module: nn.Module, name: str) -> str:
    """ "norm", "weight", the name of an activation function, or "other"."""
    spelled = type(module).__name__.lower()
    if type(module).__module__ == "torch.nn.modules.activation" and not isinstance(module, nn.MultiheadAttention):
        return spelled
    if "norm" in spelled or "norm" in name.split("."):
        return "norm"
    return "weight" if any(parameter.ndim >= 2 for parameter in module.parameters()) else "other"


def _batch_norm_epsilon(network: nn.Module, leaf: Leaf) -> float | None:
    module = network.get_submodule(leaf.module) if leaf.module is not None else None
    return module.eps if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training else None


def layers_of(network: nn.Module, leaves: tuple[Leaf, ...]) -> tuple[Layer, ...]:
    """Groups ``leaves``, in their order, into layers."""
    starts = [i for i, leaf in enumerate(leaves) if leaf.kind == "weight"]
    owner: dict[int, str] = {}
    for name, parameter in network.named_parameters():
        owner[id(parameter)] = name
    taken: set[str] = set()
    return tuple(
        _layer(network, leaves, first, end, owner, taken)
        for first, end in zip(starts, [*starts, len(leaves)][1:], strict=True)
    )


def _layer(
    network: nn.Module, leaves: tuple[Leaf, ...], first: int, end: int, owner: dict[int, str], taken: set[str]
) -> Layer:
    def trainable(leaf: Leaf) -> Iterator[str]:
        if leaf.module is not None:
            for parameter in network.get_submodule(leaf.module).parameters():
                name = owner[id(parameter)]
                if parameter.requires_grad and name not in taken:
                    taken.add(name)
                    yield name

    members = leaves[first:end]
    owned = [list(trainable(leaf)) for leaf in members]
    shape = {name: parameter.ndim for name, parameter in network.named_parameters()}
    norms = [i for i, leaf in enumerate(members) if leaf.kind == "norm"]
    affine = [name for i in norms for name in owned[i]]
    gamma = [name for name in affine if name.endswith(".weight") or name == "weight"]
    beta = [name for name in affine if name.endswith(".bias") or name == "bias"]
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
        gamma=gamma[0] if gamma else None,
        beta=beta[0] if beta else None,
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
