"""What the probes know of a network: its leaves in order, and the layers that they form.

A *leaf* is a module that is called as one step, or a place where a function uses trained parameters; a *tap* is the
name of a leaf's output. A *layer* is a weight leaf (convolution, linear, recurrent, attention, embedding, a bare
parameter of two or more dimensions) with one normalisation and one activation: those that it feeds, else those that it
is fed by. What precedes a layer is what its input is computed from; the order of the calls says nothing.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from probes import statistics
from probes.errors import ProbeError

Moves = Literal["all", "weights"]
"""Whether all parameters of a leaf move, or those of weight leaves alone (bias included, gamma and beta staying)."""


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
    """Shape of its output on the example batch; of several tensors, of the first."""
    operations: int
    """Floating-point operations of its forward pass on the example batch (2 per multiply-add)."""
    parameters: tuple[str, ...] = ()
    """The parameters that it uses and that require a gradient."""
    axis: int = 1
    """The axis of its units: -1 (features come last: linear maps, embeddings, layer normalisation and what follows
    them) or 1 (channels: convolutions, batch normalisation of images and what follows them), seldom another."""
    step: int = 0
    """Its place in the program, of an ordered network."""
    seen: bool = True
    """Whether its output can be read."""
    joins: bool = False
    """Whether it is a function of what several steps put out and of no parameter: the sum that ends a residual block,
    and just as well the product of a gate."""

    @property
    def units(self) -> int:
        """Number of its units."""
        return self.shape[self.axis] if len(self.shape) > 1 else 1


@dataclass(frozen=True)
class Layer:
    """A weight leaf with its normalisation and activation; all names are the network's own.

    A normalisation that no weight leaf feeds alone or is fed by is a layer of its own, without weights.
    """

    name: str
    """The weight leaf's qualified name, without a trailing ".layer"; a bare parameter's own."""
    weights: tuple[str, ...]
    """Weight parameters (for weight normalisation the factors that are trained); tied ones in each of their layers."""
    all_weights: tuple[str, ...]
    """The same, trained or not."""
    gamma: str | None
    """The normalisation's scale, trained or not; ``beta`` is its shift."""
    beta: str | None
    parameters: tuple[str, ...]
    """Trainable parameters of the weight leaf, and of the normalisation that it feeds."""
    compound: bool
    """Whether the weight leaf holds several weight matrices in an order of its own (recurrent, attention)."""
    first: int
    """Place of the weight leaf in the order of execution."""
    entry: int
    """Place in the program where the link of the chain begins that holds the layer (a residual block is one link)."""
    preceding: tuple[str, ...]
    """Trained parameters of what the weight leaf's input is computed from: those that move in Definition 2.1."""
    astride: Mapping[str, str]
    """Those of them that precede one of two uses of a parameter and not the other, and that parameter (a tied weight):
    the layer then has no one place in the order."""
    backward: int
    """Operations of a backward pass from the loss to the layer's own weights."""
    before_normalisation: str | None
    """Tap that enters the normalisation; the weight leaf's output where there is none. ``<name>:input`` where what
    enters is not the output of one leaf, or is used elsewhere too. None where it cannot be read."""
    after_normalisation: str | None
    """Tap that leaves the normalisation (its noise included); None where there is none."""
    normalisation: str | None
    """Tap of the normalisation's first leaf alone."""
    batch_norm_epsilon: float | None
    """The normalisation's eps if its first leaf is torch's batch normalisation (or a subclass) and normalises by the
    batch."""
    activation: str | None
    """Tap after the activation function, None where there is none: one that follows a sum belongs to the sum."""
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
    buffers: Mapping[str, tuple[int, ...]]
    """Shape of every buffer."""
    itemsize: int
    """Bytes of one number of a trained parameter, in the type of the evaluations."""
    ordered: bool
    """Whether the network is a program that can be entered between its links."""
    unused: tuple[str, ...] = ()
    """Trained parameters that the forward pass on the example batch did not use."""

    def remarks(self) -> list[str]:
        """What a reader of the plan should know of it, a line each."""
        found = {
            "outputs that cannot be read, as functions use the weights": [x.tap for x in self.leaves if not x.seen],
            "several weights, one layer (no row of ics)": [layer.name for layer in self.layers if layer.compound],
            "trained, but not used by forward": self.unused,
        }
        return [f"{what}: {', '.join(names)}" for what, names in found.items() if names]

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

    def weight_leaf(self, layer: Layer) -> Leaf | None:
        """The module that holds a layer's weights alone and whose output can be read; None where there is none."""
        leaf = self._leaves.get(layer.name) or self._leaves.get(f"{layer.name}.layer")
        if leaf is None or leaf.kind != "weight" or leaf.module is None or not leaf.seen or layer.compound:
            return None
        return leaf

    def leaf(self, tap: str) -> Leaf:
        """The leaf whose output is called ``tap``."""
        if tap in self._leaves:
            return self._leaves[tap]
        raise ProbeError(f"tap {tap!r}: not in this network; its taps are {', '.join(self._leaves)}")

    def moving(self, layer: Layer, moves: Moves) -> list[str]:
        """Parameters that precede ``layer``; of the weight leaves alone for "weights"."""
        return [name for name in layer.preceding if moves == "all" or name in self._of_weights]

    def within(self, first: int, end: int, moves: Moves) -> list[str]:
        """Parameters of the steps from ``first`` to before ``end``; of the weight leaves alone for "weights"."""
        found = (name for leaf in self.leaves if first <= leaf.step < end for name in leaf.parameters)
        return [name for name in dict.fromkeys(found) if moves == "all" or name in self._of_weights]

    def places(self, names: Iterable[str]) -> list[int]:
        """Places of the parameters ``names`` in :attr:`parameters`."""
        return [self._places[name] for name in names]

    @functools.cached_property
    def _layers(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @functools.cached_property
    def _of_weights(self) -> frozenset[str]:
        return frozenset(name for leaf in self.leaves if leaf.kind == "weight" for name in leaf.parameters)

    @functools.cached_property
    def _leaves(self) -> dict[str, Leaf]:
        return {leaf.tap: leaf for leaf in self.leaves if leaf.seen}

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


def function_kind(function: str) -> str:
    """What the function of this name is: an activation's name without underscores, "norm" or "other"."""
    normalises = any(f"{what}_norm" in function for what in ("batch", "layer", "group", "instance", "rms"))
    return "norm" if normalises else activation_kind(function)


def kind_of(module: nn.Module, name: str) -> str:
    """What a module is: "norm", "weight", the name of an activation function, or "other"."""
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
    if module.running_mean is None and module.running_var is None:
        return True
    asks = hasattr(module, "place")  # where its statistics come from; torch's own does not
    return statistics.of_batch(module.training) if asks else module.training


def batch_modes(network: nn.Module) -> dict[str, bool]:
    """For each of torch's batch normalisations whether it takes its statistics from the batch."""
    kind = nn.modules.batchnorm._BatchNorm
    return {name: normalises_by_batch(m) for name, m in network.named_modules() if isinstance(m, kind)}
