"""A copy of the network on which every evaluation runs, so that training cannot notice."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from probes.chain import chain, is_step
from probes.errors import ProbeError
from probes.network import Leaf, View, kind_of, layers_of
from probes.operations import Operations

Visit = Callable[[str, Tensor], None]


class RandomState:
    """State of torch's global generators on the CPU and on the network's device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.host = torch.get_rng_state()
        self.accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        """Puts the generators back to this state."""
        torch.set_rng_state(self.host)
        if self.accelerator is not None:
            torch.cuda.set_rng_state(self.accelerator, self.device)


def uncompiled(network: nn.Module) -> nn.Module:
    """The module that ``torch.compile`` wrapped, or the network itself."""
    inner = getattr(network, "_orig_mod", network)
    return inner if isinstance(inner, nn.Module) else network


class Shadow:
    """Copy of a network, with its steps and its view.

    Args:
        network: left as it is.
        inputs: an example batch, for shapes and operation counts.
        dtype: floating-point type of the evaluations; None for the network's own.

    Raises:
        ProbeError: the network cannot be copied, or has nothing to train.
    """

    def __init__(self, network: nn.Module, inputs: Tensor, dtype: torch.dtype | None = None) -> None:
        try:
            self.network = copy.deepcopy(uncompiled(network))
        except Exception as error:  # torch names several causes, all the network's
            raise ProbeError(f"{type(network).__name__} cannot be copied: {str(error).splitlines()[0]}") from error
        for parameter in self.network.parameters():
            parameter.grad = None
        if dtype is not None:
            self.network.to(dtype)
        self.parameters = dict(self.network.named_parameters())
        self.trainable = {name: p for name, p in self.parameters.items() if p.requires_grad}
        if not self.trainable:
            raise ProbeError(f"{type(network).__name__} has no parameter that requires a gradient")
        self.buffers = dict(self.network.named_buffers())
        self.modules = list(self.network.modules())
        first = next(iter(self.trainable.values()))
        self.device, self.dtype = first.device, first.dtype
        self._visit: Visit | None = None
        self._hold: Collection[str] = ()
        self._held: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        self.taps: list[str] = []
        self._initial = {name: value.clone() for name, value in self.buffers.items()}
        with torch.no_grad(), restored(self):
            self._find_order(self.cast(inputs))

    # ---- state

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Copies parameter values, by name."""
        if values:
            with torch.no_grad():
                torch._foreach_copy_([self.parameters[name] for name in values], list(values.values()))

    def reset(self, buffers: Mapping[str, Tensor]) -> None:
        """Copies buffer values, by name."""
        if buffers:
            with torch.no_grad():
                torch._foreach_copy_([self.buffers[name] for name in buffers], list(buffers.values()))

    def set_modes(self, modes: Sequence[bool]) -> None:
        """Sets every module's train/eval flag, in the order of ``network.modules()``."""
        for module, mode in zip(self.modules, modes, strict=True):
            module.training = mode

    def cast(self, values: Tensor) -> Tensor:
        """Floating-point ``values`` in the type of the evaluations."""
        return values.to(self.dtype) if values.is_floating_point() else values

    # ---- forward

    def forward(self, inputs: Tensor, visit: Visit, hold: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's output on ``inputs``.

        Args:
            inputs: (samples, ...).
            visit: called with (tap, value) as soon as a leaf has run, while the value is sure to be unchanged.
            hold: taps to return as they stand in the graph, so that gradients with respect to them can be asked.
        """
        if self.steps is not None:
            return walk(self.taps, self.steps, self.in_place, inputs, visit, hold)
        self._visit, self._hold, self._held, self._calls = visit, hold, {}, {}
        try:
            return self.network(inputs), self._held
        finally:
            self._visit, self._hold = None, ()

    def _find_order(self, inputs: Tensor) -> None:
        links = chain(self.network)
        shared = len(list(self.network.parameters())) != len(
            list(self.network.named_parameters(remove_duplicate=False))
        )
        self.links = None if shared else links
        state = RandomState(self.device)
        self.steps: list[Callable[[Tensor], Tensor]] | None = None
        self.in_place: list[bool] = []
        if self.links is not None:
            self.taps = [link.name for link in self.links]
            self.steps = [link.bind(self.network) for link in self.links]
            try:
                leaves, output = self._walk_once(inputs)
                state.restore()
                self.restore()
                same = torch.equal(output, self.network(inputs.clone()))
            except (RuntimeError, TypeError, AttributeError):
                same = False
            if not same:
                self.links = self.steps = None
                state.restore()
                self.restore()
        if self.steps is None:
            leaves = self._watch_once(inputs)
        self.view = View(
            leaves=tuple(leaves),
            layers=layers_of(self.network, tuple(leaves)),
            parameters=tuple(self.trainable),
            shapes={name: tuple(parameter.shape) for name, parameter in self.parameters.items()},
            ordered=self.steps is not None,
        )
        self.operations = sum(leaf.operations for leaf in leaves)

    def restore(self) -> None:
        """Buffers as they were when the shadow was made (only during its construction)."""
        self.reset(self._initial)

    def _walk_once(self, inputs: Tensor) -> tuple[list[Leaf], Tensor]:
        assert self.steps is not None
        assert self.links is not None
        leaves, x = [], inputs
        for link, step in zip(self.links, self.steps, strict=True):
            given = x.clone()
            version = given._version
            with Operations() as counter:
                x = step(given)
            self.in_place.append(given._version != version)
            leaves.append(self._leaf(link.name, link.module, link.kind, x.shape, counter.total))
        return leaves, x

    def _watch_once(self, inputs: Tensor) -> list[Leaf]:
        for name, module in self.network.named_modules():
            inside = any(p and is_step(self.network.get_submodule(p), p) for p in _parents(name))
            if name and is_step(module, name) and not inside:
                module.register_forward_hook(self._hook(name))
                if kind_of(module, name) == "norm":
                    module.register_forward_pre_hook(self._input_hook(name))
        found: list[tuple[str, tuple[int, ...]]] = []
        last: list[tuple[str, Tensor, int]] = []

        def see(tap: str, value: Tensor) -> None:
            # of a normalisation in two steps (batch, noise) the second one's input is the first one's output
            within = last and last[-1][1] is value and last[-1][2] == value._version and kind(last[-1][0]) == "norm"
            if not (tap.endswith(_INPUT) and within):
                found.append((tap, tuple(value.shape)))
            last[:] = [(tap, value, value._version)]

        def kind(tap: str) -> str:
            name = tap.split("@")[0]
            return "other" if tap.endswith(_INPUT) else kind_of(self.network.get_submodule(name), name)

        with Operations() as counter:
            self.forward(inputs, see)
        total = counter.total
        self.taps = [tap for tap, _ in found]
        leaves = []
        for place, (tap, shape) in enumerate(found):
            # without an order only the whole is ever run, so one leaf may carry the network's count
            name = None if tap.endswith(_INPUT) else tap.split("@")[0]
            leaves.append(self._leaf(tap, name, "", shape, total if place == 0 else 0))
        return leaves

    def _leaf(self, tap: str, name: str | None, kind: str, shape: Sequence[int], operations: int) -> Leaf:
        if name is None:
            return Leaf(tap, None, kind or "other", tuple(shape), operations)
        module = self.network.get_submodule(name)
        kind = kind_of(module, name)
        if kind == "weight" and tap != name:  # called again: its weights belong to the first call
            kind = "other"
        names = {id(parameter): qualified for qualified, parameter in self.trainable.items()}
        own = tuple(names[id(parameter)] for parameter in module.parameters() if id(parameter) in names)
        return Leaf(tap, name, kind, tuple(shape), operations, own)

    def _hook(self, name: str) -> Callable[[nn.Module, object, object], Tensor | None]:
        def hook(module: nn.Module, args: object, output: object) -> Tensor | None:
            if self._visit is None or not isinstance(output, Tensor):
                return None
            self._calls[name] = self._calls.get(name, 0) + 1
            tap = name if self._calls[name] == 1 else f"{name}@{self._calls[name]}"
            self._visit(tap, output)
            if tap not in self._hold:
                return None
            self._held[tap] = differentiable(output)
            # what follows may work in place (`out += identity`), the held tap must not see it
            return self._held[tap].clone()

        return hook

    def _input_hook(self, name: str) -> Callable[[nn.Module, tuple[object, ...]], tuple[object, ...] | None]:
        """Reads what enters a normalisation itself.

        The leaf that ran before it need not have made it, and what did may be used elsewhere too (a skip connection),
        which is no part of the gradient through the normalisation.
        """

        def hook(module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...] | None:
            if self._visit is None:
                return None
            if not args or not isinstance(args[0], Tensor):
                raise ProbeError(f"normalisation {name!r}: must be called with its input as the first argument")
            call = self._calls.get(name, 0) + 1
            tap = (name if call == 1 else f"{name}@{call}") + _INPUT
            self._visit(tap, args[0])
            if tap not in self._hold:
                return None
            self._held[tap] = differentiable(args[0].clone())
            return (self._held[tap], *args[1:])

        return hook


_INPUT = ":input"


def differentiable(value: Tensor) -> Tensor:
    """``value``, so that a gradient with respect to it can be asked (nothing that is trained may stand before it)."""
    return value if value.requires_grad or not torch.is_grad_enabled() else value.detach().requires_grad_()


@contextlib.contextmanager
def restored(shadow: Shadow) -> Iterator[None]:
    """Puts the shadow's buffers and the global generators back."""
    state = RandomState(shadow.device)
    try:
        yield
    finally:
        state.restore()
        shadow.restore()


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def walk(
    taps: Sequence[str],
    steps: Sequence[Callable[[Tensor], Tensor]],
    in_place: Sequence[bool],
    x: Tensor,
    visit: Visit,
    hold: Collection[str] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """Runs ``steps`` one after the other and shows every output to ``visit``; the arithmetic is the network's own."""
    held = {}
    for tap, step, overwrites in zip(taps, steps, in_place, strict=True):
        x = step(x.clone() if overwrites else x)  # a tap must not be overwritten by what follows it
        visit(tap, x)
        if tap in hold:
            x = held[tap] = differentiable(x)
    return x, held
