"""A copy of the network on which every evaluation runs, so that training cannot notice."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from probes.engine.carried import Carried
from probes.engine.chain import (
    Visit,
    differentiable,
    entered,
    in_place_of_norm,
    program,
    replaced,
)
from probes.engine.decisions import decisions, traced_through
from probes.engine.flow import Recorder, find_steps, first_tensor
from probes.engine.hooks import hooked, leave_out_hooks, none_for_all_modules
from probes.engine.layers import ENTERS, Flow
from probes.errors import ProbeError
from probes.generators import RandomState
from probes.network import View, kind_of


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
        within: what a network is run within where it trains.

    Raises:
        ProbeError: the network cannot be copied, or has nothing to train.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        dtype: torch.dtype | None = None,
        within: Callable[[nn.Module], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        if isinstance(network, torch.jit.ScriptModule):
            raise ProbeError(
                f"network {type(network).__name__}: a scripted module cannot be looked into; give the module that "
                "was scripted"
            )
        if any(isinstance(p, nn.UninitializedParameter) for p in network.parameters()):
            raise ProbeError(f"network {type(network).__name__}: has lazy parameters; run it once on a batch before")
        self.carried = Carried(uncompiled(network))
        self.network: nn.Module = self.carried.copy
        self.left_out = leave_out_hooks(self.network)
        self._structure = [(name, type(module)) for name, module in uncompiled(network).named_modules()]
        for parameter in self.network.parameters():
            parameter.grad = None
        if dtype is not None:
            cast_module(self.network, dtype)
            self.carried.settle()
        self.parameters = dict(self.network.named_parameters())
        self.trainable = {name: p for name, p in self.parameters.items() if p.requires_grad}
        if not self.trainable:
            raise ProbeError(f"{type(network).__name__} has no parameter that requires a gradient")
        self.buffers = dict(self.network.named_buffers())
        first = next(iter(self.trainable.values()))
        self.device, self.dtype = first.device, first.dtype.to_real()
        self._visit: Visit | None = None
        self._hold: Collection[str] = ()
        self._held: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        self._recorder: Recorder | None = None
        self._initial = {name: value.clone() for name, value in self.buffers.items()}
        self._state = self.carried.own()
        with contextlib.ExitStack() as around, torch.no_grad():
            around.enter_context(within(self.network))  # what it gives is no part of the flow that is recorded
            with torch.enable_grad(), restored(self), none_for_all_modules():
                self._find_order(self.cast(inputs))

    # ---- state

    def check_alike(self, source: nn.Module) -> None:
        """Refuses a network that is built otherwise than when it was copied.

        Raises:
            ProbeError: it has other modules; or what decides the order of its leaves has changed.
        """
        if [(name, type(module)) for name, module in source.named_modules()] != self._structure:
            raise ProbeError("the network has other modules than when Probes was built: build it anew")
        if self.program is None:
            return
        for path, module in traced_through(source, self._one_step):
            now, then = decisions(module), self._decided[path]
            if now != then:
                changed = next(k for k in {**(now or {}), **(then or {})} if (now or {}).get(k) != (then or {}).get(k))
                raise ProbeError(
                    f"{f'{path}.{changed}'.lstrip('.')!r} has changed since Probes was built, and may decide which "
                    "leaves are called: build it anew"
                )
            if hooked(module):
                raise ProbeError(f"{path or type(module).__name__!r} was hooked since Probes was built: build it anew")

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

    def cast(self, values: Any) -> Any:
        """Floating-point tensors among ``values``, however nested, in the type of the evaluations."""
        return tree_map(lambda x: cast_tensor(x, self.dtype) if isinstance(x, Tensor) else x, values)

    # ---- forward

    def forward(self, inputs: Tensor, visit: Visit, hold: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's output on ``inputs``.

        Args:
            inputs: (samples, ...).
            visit: called with (tap, value) as soon as a leaf has run, while the value is sure to be unchanged.
            hold: taps to return as they stand in the graph, so that gradients with respect to them can be asked.
        """
        if self.program is not None:
            return self.program.run(self.steps, inputs, visit, hold)
        self._visit, self._hold, self._held, self._calls = visit, hold, {}, {}
        try:
            return self.network(inputs), self._held
        finally:
            self._visit, self._hold = None, ()

    def _find_order(self, inputs: Tensor) -> None:
        state = RandomState(self.device)

        def again() -> None:
            state.restore()
            self.restore()

        modules = dict(self.network.named_modules())
        in_norms_place = {name: in_place_of_norm(module, name) for name, module in modules.items()}
        one_step = find_steps(self.network, inputs, in_norms_place)
        again()
        shared = len(list(self.network.parameters())) != len(
            list(self.network.named_parameters(remove_duplicate=False))
        )
        # running the steps one by one would pass by a hook of the user's on what is none
        by_steps = not shared and set(self.left_out) <= set(one_step)
        self.program = program(self.network, one_step) if by_steps else None
        self.steps: list[Callable[..., Any]] = []
        recorder = None
        if self.program is not None:
            self.steps = self.program.bind(self.network)
            try:
                self.program.find_overwritten(self.steps, inputs)
                again()
                recorder = Recorder(self.network, inputs)
                output = self._record_program(recorder, inputs)
                again()
                same = torch.equal(output, self.network(inputs.clone()))
            except (RuntimeError, TypeError, AttributeError):
                same = False
            again()
            if not same:
                self.program = recorder = None
        if recorder is None or self.program is None:
            recorder = Recorder(self.network, inputs)
            self._watch(one_step, modules, in_norms_place)
            before = self._record_calls(recorder, inputs)
            entries = [0]
        else:
            shown = [node.tap for node in recorder.nodes if node.tap is not None and node.shape is not None]
            before = self.program.find_entering(lambda name: kind_of(modules[name], name) == "norm", shown)
            entries = self.program.entries
        flow = Flow(self.network, recorder.nodes, before, entries)
        used = {name for node in recorder.nodes for name in node.parameters}
        self._one_step = one_step
        self._decided = {path: copy.deepcopy(decisions(m)) for path, m in traced_through(self.network, one_step)}
        self.view = View(
            leaves=flow.leaves(),
            layers=flow.layers(),
            parameters=tuple(self.trainable),
            shapes={name: tuple(parameter.shape) for name, parameter in self.parameters.items()},
            buffers={name: tuple(buffer.shape) for name, buffer in self.buffers.items()},
            itemsize=self.dtype.itemsize,
            ordered=self.program is not None,
            unused=tuple(name for name in self.trainable if name not in used),
        )

    @property
    def overwritten(self) -> list[str]:
        """Taps of a program that are copied because a later step works on them in place."""
        if self.program is None:
            return []
        places = [place for places in self.program.overwritten for place in places if place >= 0]
        return [self.program.steps[place].name for place in places]

    def restore(self) -> None:
        """Buffers and attributes as they were when the shadow was made (only during its construction)."""
        self.carried.put(self._state)
        self.reset(self._initial)

    def _record_program(self, recorder: Recorder, inputs: Tensor) -> Any:
        assert self.program is not None

        def recorded(place: int, call: Callable[..., Any]) -> Callable[..., Any]:
            step = self.program.steps[place]  # type: ignore[union-attr]
            if step.attribute is not None:
                return call
            kind = kind_of(self.network.get_submodule(step.module), step.module) if step.module else step.kind

            def run(*args: Any, **kwargs: Any) -> Any:
                recorder.enter(step.name, step.module, kind, (args, kwargs), place)
                output = call(*args, **kwargs)
                recorder.leave(step.name, output)
                return output

            return run

        steps = [recorded(place, call) for place, call in enumerate(self.steps)]
        with recorder:
            return self.program.run(steps, inputs, lambda tap, value: None)[0]

    def _watch(self, steps: Collection[str], modules: Mapping[str, nn.Module], in_norms_place: object) -> None:
        """Hooks on every module that is one step; of steps within each other on the outermost."""
        for name, module in modules.items():
            if name in steps and not any(parent in steps for parent in _parents(name)):
                module.register_forward_pre_hook(self._enter_hook(name), with_kwargs=True)
                if kind_of(module, name) == "norm":
                    module.register_forward_pre_hook(self._input_hook(name))
                module.register_forward_hook(self._hook(name))

    def _record_calls(self, recorder: Recorder, inputs: Tensor) -> dict[str, str]:
        """Records a call of the network; gives the tap that enters each normalisation."""
        before: dict[str, str] = {}
        last: list[tuple[str, Tensor, int]] = []

        def see(tap: str, value: Tensor) -> None:
            if tap.endswith(ENTERS):
                before[tap.removesuffix(ENTERS)] = tap
            last[:] = [(tap, value, value._version)]

        self._recorder = recorder
        try:
            with recorder:
                self.forward(inputs, see)
        finally:
            self._recorder = None
        return before

    def _enter_hook(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, args: object, kwargs: object) -> None:
            if self._recorder is not None:
                self._recorder.enter(self._tap(name), name, kind_of(module, name), (args, kwargs))

        return hook

    def _tap(self, name: str) -> str:
        """The tap of the call of ``name`` that begins now."""
        call = self._calls.get(name, 0) + 1
        return name if call == 1 else f"{name}@{call}"

    def _hook(self, name: str) -> Callable[[nn.Module, object, object], Any]:
        def hook(module: nn.Module, args: object, output: object) -> Any:
            if self._visit is None:
                return None
            tap = self._tap(name)
            self._calls[name] = self._calls.get(name, 0) + 1
            if self._recorder is not None:
                self._recorder.leave(tap, output)
            value = first_tensor(output)
            if value is None:
                return None
            self._visit(tap, value)
            if tap not in self._hold:
                return None
            self._held[tap] = differentiable(value)
            # what follows may work in place (`out += identity`), the held tap must not see it
            return replaced(output, value, self._held[tap].clone())

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
            return (entered(self._tap(name) + ENTERS, args[0], self._visit, self._hold, self._held), *args[1:])

        return hook


def cast_tensor(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A floating-point or complex tensor in the type (of the precision) of ``dtype``, others as they are."""
    if value.is_complex():
        return value.to(dtype.to_complex())
    return value.to(dtype) if value.is_floating_point() else value


def cast_module(network: nn.Module, dtype: torch.dtype) -> None:
    """Casts all parameters and buffers; unlike ``Module.to`` it leaves complex ones complex."""
    for parameter in network.parameters():
        parameter.data = cast_tensor(parameter.data, dtype)
    for buffers in (module._buffers for module in network.modules()):
        for name, value in buffers.items():
            buffers[name] = value if value is None else cast_tensor(value, dtype)


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
