"""How the data flow through a network: recorded from the tensors of one forward pass.

A *node* is a step (a module that is called as one, a step of a program) or an operation outside of all steps that makes
new values. Its sources are the nodes whose values it read. Values are told apart by their storage, so that views,
in-place work, ``cat`` and functions of the user's are followed alike; where an operation hides from torch's dispatcher
(a custom function over numpy), everything that ran before counts as its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from probes.network import function_kind

INPUT = -1
"""The place of what enters the network."""

_VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "unflatten"}
_FACTORS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
"""Products of two matrices; the place of the first among their arguments."""
_PRODUCTS = {*_FACTORS, "embedding", "_embedding_bag", "mkldnn_rnn_layer", "_cudnn_rnn"}


@dataclass
class Node:
    """One step or operation.

    Attributes:
        place: among the nodes, in the order of execution.
        tap: the step's name; None for an operation outside of all steps.
        module: the qualified name of the module that it calls.
        kind: as of :class:`probes.network.Leaf`.
        step: its place in the program, where there is one.
        sources: places of the nodes that it read; :data:`INPUT` for the network's input.
        parameters: names of the trained parameters that it read, in order.
        shape, axis: of its first floating-point output, and the axis of its units; None where it has none.
        operations: floating-point operations of matrix products and convolutions.
        new: whether it made new values (a module that only gives a view of its input does not).
    """

    place: int
    tap: str | None
    module: str | None
    kind: str
    step: int = 0
    sources: set[int] = field(default_factory=set)
    parameters: dict[str, None] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    axis: int | None = None
    operations: int = 0
    new: bool = False


def first_tensor(value: Any) -> Tensor | None:
    """The first floating-point (or complex) tensor of what a module returned; None where there is none."""
    found = (value,) if isinstance(value, Tensor) else _tensors(value)
    return next((x for x in found if x.is_floating_point() or x.is_complex()), None)


class Recorder(TorchDispatchMode):
    """Records the nodes of what runs under it, in the order of execution.

    Args:
        network: whose parameters and buffers are told from other tensors.
        inputs: what enters it.
    """

    def __init__(self, network: nn.Module, inputs: Any) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._open: Node | None = None
        self._alive: list[Any] = []  # so that no other storage gets the same address
        self._known: set[int] = set()
        self._made: dict[int, frozenset[int]] = {}  # storage -> nodes that made what it holds
        self._from: dict[int, dict[str, None]] = {}  # storage -> parameters from which alone it was computed
        self._weights: set[int] = set()  # storages whose values come of parameters alone, within modules too
        self._axes: dict[tuple[Any, ...], int] = {}
        self._parameters: set[int] = set()
        self._buffers: set[int] = set()
        for name, parameter in network.named_parameters():
            key = self._key(parameter)
            self._parameters.add(key)
            if parameter.requires_grad:
                self._from.setdefault(key, {})[name] = None
        self._buffers.update(map(self._key, network.buffers()))
        for value in _tensors(inputs):
            self._made[self._key(value)] = frozenset([INPUT])

    # ---- steps

    def enter(self, tap: str, module: str | None, kind: str, given: Any, step: int = 0) -> None:
        """A step begins that is given ``given``; steps within it are part of it."""
        if self._open is not None:
            return
        self._open = self._new(tap, module, kind, step)
        self._given = frozenset().union(*(self._made.get(self._key(x), frozenset()) for x in _tensors(given)))

    def leave(self, tap: str, output: Any) -> None:
        """The step ``tap`` ends and returns ``output``."""
        node = self._open
        if node is None or node.tap != tap:
            return
        self._open = None
        for value in _tensors(output):
            key = self._key(value, known=False)
            if key not in self._known:  # made where the dispatcher does not look
                node.sources |= self._given
                self._write(node, key)
        first = first_tensor(output)
        if first is not None:
            node.shape, node.axis = tuple(first.shape), self._axes.get(_signature(self._key(first), first))

    def _new(self, tap: str | None, module: str | None, kind: str, step: int = 0) -> Node:
        self.nodes.append(Node(len(self.nodes), tap, module, kind, step))
        return self.nodes[-1]

    # ---- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [(self._key(x, known=False), x) for x in _tensors((args, kwargs))]
        result = func(*args, **kwargs)
        name = func._overloadpacket.__name__
        formula = flop_registry.get(func._overloadpacket)
        operations = 0 if formula is None else formula(*args, **kwargs, out_val=result)
        sources, parameters = self._read(given)
        if name.endswith("_like") or name.startswith("new_"):  # of the values nothing is read
            sources = set()
        made = [(self._key(x, known=False), x) for x in _tensors(result)]
        keys = {key for key, _ in given}
        written = keys if func._schema.is_mutable and not made else {key for key, _ in made}
        if not func._schema.is_mutable:
            written -= keys  # a view
        # what is made of parameters alone is used where data come in, unless a module makes it
        node = self._open if sources or (self._open is not None and self._open.module is not None) else None
        if self._open is None and sources and written:
            node = self._new(None, None, function_kind(name))
        if node is not None:
            node.sources |= sources - {node.place}
            node.parameters.update(parameters if written else {})
            node.operations += operations
        for key in written - self._parameters:
            if node is not None:
                self._write(node, key)
            else:
                self._made.pop(key, None)
                self._from[key] = dict(parameters)
        self._known.update(written)
        others = keys - self._parameters - self._weights
        if others < keys and all(key in self._known and not self._made.get(key) for key in others):  # constants
            self._weights |= written
        else:
            self._weights -= written
        self._carry(name, args, given, made)
        if self._open is None and node is not None and made:
            node.shape, node.axis = tuple(made[0][1].shape), self._axes.get(_signature(*made[0]))
        return result

    def _read(self, given: list[tuple[int, Tensor]]) -> tuple[set[int], dict[str, None]]:
        """The nodes and the parameters that are read."""
        sources: set[int] = set()
        parameters: dict[str, None] = {}
        for key, value in given:
            parameters.update(self._from.get(key, {}))
            if key not in self._known and value.requires_grad:
                sources.update(range(INPUT, len(self.nodes)))
            for place in self._made.get(key, ()):
                # a module's statistics that its earlier call has moved are not what this call normalises by
                own = self._open is not None and place != INPUT and self.nodes[place].module == self._open.module
                if not (own and key in self._buffers):
                    sources.add(place)
        return sources, parameters

    def _write(self, node: Node, key: int) -> None:
        node.new = True
        self._made[key] = frozenset([node.place])
        self._from.pop(key, None)
        self._known.add(key)

    def _key(self, value: Tensor, known: bool = True) -> int:
        try:
            held: Any = value.untyped_storage()
            key = int(held._cdata)
        except (NotImplementedError, RuntimeError):  # sparse tensors have none
            held, key = value, id(value)
        self._alive.append(held)
        if known:
            self._known.add(key)
        return key

    # ---- the axis of units

    def _carry(self, name: str, args: Any, given: list[tuple[int, Tensor]], made: list[tuple[int, Tensor]]) -> None:
        known = [(x, axis) for key, x in given if (axis := self._axes.get(_signature(key, x))) is not None]
        for key, value in made:
            alike = [pair for pair in known if pair[0].shape == value.shape] or known
            rows = self._rows(name, args)
            axis = rows if rows is not None else _axis(name, args, alike[0] if alike else None, value)
            if axis is not None:
                self._axes[_signature(key, value)] = axis

    def _rows(self, name: str, args: Any) -> int | None:
        """The axis of rows where parameters alone are a product's left factor, whose units these are; else None."""
        if name not in _FACTORS:
            return None
        factors = args[_FACTORS[name] :][:2]
        left, right = (self._of_parameters(self._key(x, known=False)) for x in factors)
        return factors[0].ndim - 2 if left and not right else None

    def _of_parameters(self, key: int) -> bool:
        return key in self._parameters or key in self._weights


def _axis(name: str, args: Any, source: tuple[Tensor, int] | None, value: Tensor) -> int | None:
    """The axis of units of ``value``, -1 for the last; ``source`` is what it was made from, with its axis."""
    if "convolution" in name or "batch_norm" in name or "group_norm" in name:
        return 1
    if name in _PRODUCTS or "attention" in name or ("layer_norm" in name and len(args[1]) == 1):
        return -1
    if source is None:
        return None
    x, axis = source
    if not x.ndim:
        return None  # a scalar has no units
    place = axis % x.ndim
    if name in ("permute", "transpose", "t"):
        order = list(range(x.ndim))
        if name == "permute":
            order = [dim % x.ndim for dim in args[1]]
        else:
            a, b = (0, 1) if name == "t" else (args[1] % x.ndim, args[2] % x.ndim)
            order[a], order[b] = order[b], order[a]
        return _named(order.index(place), value)
    if name == "select":
        gone = args[1] % x.ndim
        return None if gone == place else _named(place - (gone < place), value)
    if name not in _VIEWS or x.shape == value.shape:
        return axis
    inner = [x.shape[place + 1 :].numel(), *(value.shape[i + 1 :].numel() for i in range(value.ndim))]
    same = [i for i in range(value.ndim) if (value.shape[i], inner[i + 1]) == (x.shape[place], inner[0])]
    return _named(same[0], value) if same else 1 if value.ndim == 2 else None


def _named(place: int, value: Tensor) -> int:
    return -1 if place == value.ndim - 1 else place


def _signature(key: int, value: Tensor) -> tuple[Any, ...]:
    if value.layout is not torch.strided:
        return (key,)
    return (key, value.storage_offset(), value.shape, value.stride())


def _tensors(values: Any) -> Iterator[Tensor]:
    return (x for x in tree_leaves(values) if isinstance(x, Tensor))


def find_steps(network: nn.Module, inputs: Any, is_norm: Mapping[str, bool]) -> frozenset[str]:
    """Names of the modules that are one step each, found by running ``network`` once.

    A module is a step if no other is called within it, whatever children it has (an attention that uses the weights of
    its projections only); one with a reparametrised weight; one in the place of a normalisation. A module that was not
    called at all is one if it has no children.

    Args:
        network: as it is called.
        inputs: of the example batch.
        is_norm: whether each module stands in the place of a normalisation, by name.
    """
    running: list[str] = []
    called: set[str] = set()
    around: set[str] = set()

    def enter(name: str) -> Any:
        def hook(*_: Any) -> None:
            around.update(running)
            called.add(name)
            running.append(name)

        return hook

    def leave(*_: Any) -> None:
        running.pop()

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name), prepend=True))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    steps = set()
    for name, module in network.named_modules():
        alone = name not in around if name in called else not any(True for _ in module.children())
        if name and (alone or is_norm[name] or hasattr(module, "parametrizations")):
            steps.add(name)
    return frozenset(steps)
