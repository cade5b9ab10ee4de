"""A network as a program of steps that can be entered between them, where it is one.

Our own networks and any ``nn.Sequential`` flatten; others are traced by ``torch.fx`` (torchvision's, say). The program
can be entered where everything that follows depends on one value: between the steps of a chain, before and after a
residual block, which is one *link*. A program is only used where it reproduces the network's own output bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from probes.engine.decisions import decisions, traced_through
from probes.engine.flow import first_tensor
from probes.engine.hooks import hooked
from probes.engine.layers import ENTERS
from probes.generators import RandomState
from probes.network import function_kind

Visit = Callable[[str, Tensor], None]


class Ref(int):
    """Stands for what the step at this place gave; -1 for the program's input."""


@dataclass(frozen=True)
class Step:
    """One step: calls a module or a function, or fetches an attribute of the network (a bare parameter).

    ``name`` is unique in the program (a module called twice is ``name@2`` the second time); ``kind`` is an activation's
    name, "norm" or "other" where a function is called.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    module: str | None = None
    function: Callable[..., Any] | None = None
    attribute: str | None = None
    kind: str = "other"

    @property
    def reads(self) -> list[int]:
        """The places that it reads."""
        return list(dict.fromkeys(_refs((self.args, self.kwargs))))

    def bind(self, network: nn.Module) -> Callable[..., Any]:
        """What to call: the module of ``network``, or the function."""
        if self.module is not None:
            return network.get_submodule(self.module)
        if self.attribute is not None:
            owner, _, name = self.attribute.rpartition(".")
            return lambda: getattr(network.get_submodule(owner), name)
        assert self.function is not None
        return self.function


class Program:
    """Steps, and how they are run.

    Args:
        steps: in order; the last one's value is the network's output.

    Attributes:
        entries: the places at which it can be entered with one value.
        is_chain: whether those are all.
        overwritten: for each step the places whose values it changes in place, found by the first run.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)
        self.overwritten: list[tuple[int, ...]] = [()] * len(steps)
        self.last_use = {place: place for place in range(-1, len(steps))}
        for place, step in enumerate(steps):
            self.last_use.update(dict.fromkeys(step.reads, place))
        reach, self.entries = -1, []
        for place in range(len(steps)):
            # everything before place - 1 is used up before place
            if place == 0 or reach < place:
                self.entries.append(place)
            reach = max(reach, self.last_use[place - 1])
        self.is_chain = len(self.entries) == len(steps)
        self._done = [[p for p, last in self.last_use.items() if last == place] for place in range(len(steps))]
        self._plain = [step.args == (place - 1,) and not step.kwargs for place, step in enumerate(steps)]
        self.enters: dict[int, str] = {}
        """Tap of what enters a normalisation, by the normalisation's place, where no step's output is that alone."""

    def bind(self, network: nn.Module) -> list[Callable[..., Any]]:
        """What each step calls."""
        modules = dict(network.named_modules(remove_duplicate=False))  # one walk: a look-up of each takes three
        return [step.bind(network) if step.module is None else modules[step.module] for step in self.steps]

    def run(
        self,
        bound: Sequence[Callable[..., Any]],
        value: Any,
        visit: Visit,
        hold: Collection[str] = (),
        first: int = 0,
        end: int | None = None,
    ) -> tuple[Any, dict[str, Tensor]]:
        """Runs the steps from ``first`` to before ``end``; the arithmetic is the network's own.

        Args:
            bound: from :meth:`bind`.
            value: what enters at ``first``.
            visit: called with (tap, value) as soon as a step has run.
            hold: taps to return as they stand in the graph.
            first, end: an entry, and an entry or the end of the program.
        """
        held: dict[str, Tensor] = {}
        known = {first - 1: value}
        for place in range(first, len(self.steps) if end is None else end):
            step = self.steps[place]
            for source in self.overwritten[place]:  # a tap must not be overwritten by what follows it
                known[source] = known[source].clone()
            if self._plain[place] and place not in self.enters:
                value = bound[place](known[place - 1])
            else:
                args, kwargs = _filled(step.args, known), _filled(step.kwargs, known)
                if place in self.enters:
                    args = (entered(self.enters[place], args[0], visit, hold, held), *args[1:])
                value = bound[place](*args, **kwargs)
            tap = first_tensor(value)
            if tap is not None and step.attribute is None:
                visit(step.name, tap)
                if step.name in hold:
                    held[step.name] = differentiable(tap)
                    value = replaced(value, tap, held[step.name])
            known[place] = value
            for source in self._done[place]:
                known.pop(source, None)
        return value, held

    def find_overwritten(self, bound: Sequence[Callable[..., Any]], value: Any) -> None:
        """Runs the whole and notes which steps change in place what they are given."""
        known = {-1: value}
        for place, step in enumerate(self.steps):
            copies = {source: known[source].clone() for source in step.reads if isinstance(known[source], Tensor)}
            versions = {source: copy._version for source, copy in copies.items()}
            given = {**known, **copies}
            known[place] = bound[place](*_filled(step.args, given), **_filled(step.kwargs, given))
            changed = tuple(source for source, copy in copies.items() if copy._version != versions[source])
            known.update({source: copies[source] for source in changed})
            self.overwritten[place] = changed

    def find_entering(self, is_norm: Callable[[str], bool], shown: Collection[str]) -> dict[str, str]:
        """The tap that enters each normalisation, by its own tap; ``shown`` are the taps that there are."""
        readers: dict[int, int] = {}
        for step in self.steps:
            for source in step.reads:
                readers[source] = readers.get(source, 0) + 1
        found = {}
        for place, step in enumerate(self.steps):
            if step.kind == "norm" or (step.module is not None and is_norm(step.module)):
                if not step.args or not isinstance(step.args[0], Ref):
                    continue  # called with its input by name
                source = int(step.args[0])
                if source >= 0 and readers[source] == 1 and self.steps[source].name in shown:
                    found[step.name] = self.steps[source].name
                else:
                    found[step.name] = self.enters[place] = step.name + ENTERS
        return found


def entered(tap: str, value: Tensor, visit: Visit, hold: Collection[str], held: dict[str, Tensor]) -> Tensor:
    """What enters a normalisation: shown, and where it is held a copy that nothing else reads."""
    visit(tap, value)
    if tap not in hold:
        return value
    held[tap] = differentiable(value.clone())
    return held[tap]


def differentiable(value: Tensor) -> Tensor:
    """``value``, so that a gradient with respect to it can be asked (nothing that is trained may stand before it)."""
    return value if value.requires_grad or not torch.is_grad_enabled() else value.detach().requires_grad_()


def replaced(value: Any, old: Tensor, new: Tensor) -> Any:
    """``value``, a tensor or a structure of some, with ``new`` in the place of ``old``."""
    return new if value is old else tree_map(lambda x: new if x is old else x, value)


def _refs(value: Any) -> Iterator[int]:
    if isinstance(value, Ref):
        yield int(value)
    elif isinstance(value, slice):
        yield from _refs((value.start, value.stop, value.step))
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _refs(entry)
    elif isinstance(value, tuple | list):
        for entry in value:
            yield from _refs(entry)


def _filled(value: Any, known: Mapping[int, Any]) -> Any:
    """``value`` with what stands for the places in it."""
    if isinstance(value, Ref):
        return known[value]
    if isinstance(value, slice):
        return slice(*(_filled(x, known) for x in (value.start, value.stop, value.step)))
    if isinstance(value, Mapping):
        return {key: _filled(entry, known) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_filled(entry, known) for entry in value)
    return value


def program(network: nn.Module, steps: Collection[str]) -> Program | None:
    """The program that is ``network``; None where it is none (its forward depends on values, say).

    Args:
        network: it is read, not run.
        steps: names of the modules that are one step each.
    """
    try:
        names = list(_flatten(network, "", steps))
    except _NotSequential:
        return _traced(network, steps)
    taps = zip(unique_names(names), names, strict=True)
    return Program([Step(tap, (Ref(i - 1),), {}, module=name) for i, (tap, name) in enumerate(taps)])


def unique_names(names: Sequence[str]) -> list[str]:
    """``names`` with ``@2``, ``@3``, ... on the second and later occurrences."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}@{seen[name]}")
    return result


class _NotSequential(Exception):
    pass


def _flatten(module: nn.Module, name: str, steps: Collection[str]) -> Iterator[str]:
    plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    if not plain:
        if name not in steps:  # a composite block has leaves and an order of its own
            raise _NotSequential
        yield name
        return
    if hooked(module):  # calling the children one by one would skip it
        raise _NotSequential
    for child, part in module._modules.items():
        if part is not None:
            yield from _flatten(part, f"{name}.{child}" if name else child, steps)


def in_place_of_norm(module: nn.Module, name: str) -> bool:
    """Whether the module called ``name`` stands in the place of a normalisation (``.norm``), as one step."""
    return "norm" in name.split(".") and not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


class _Tracer(fx.Tracer):
    def __init__(self, steps: Collection[str]) -> None:
        super().__init__()
        self.steps = steps

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.steps


def _traced(network: nn.Module, steps: Collection[str]) -> Program | None:
    """The steps as ``torch.fx`` sees them, if they are the same in any mode and depend on no draw and no state."""
    through = list(traced_through(network, steps))
    if any(hooked(module) or decisions(module) is None for _, module in through):
        return None
    modes = [(module, module.training) for module in network.modules()]
    before = [dict(vars(module)) for _, module in through]
    random = RandomState(next(network.parameters()).device)
    graphs = []
    try:
        for mode in (True, False, None):  # the present modes last
            for module, own in modes:
                module.training = own if mode is None else mode
            graphs.append(_Tracer(steps).trace(network))
    except Exception:  # whatever in a user's forward resists tracing, the network is then measured without an order
        return None
    finally:
        drawn = not random.same(RandomState(random.device))
        random.restore()
        for module, own in modes:
            module.training = own
    if drawn or any(list(vars(m).values()) != list(b.values()) for (_, m), b in zip(through, before, strict=True)):
        return None
    return None if len(set(map(str, graphs))) > 1 else _program(list(graphs[-1].nodes))


def _program(nodes: list[fx.Node]) -> Program | None:
    if [n.op for n in nodes].count("placeholder") != 1 or nodes[0].op != "placeholder" or nodes[-1].op != "output":
        return None
    if len(nodes) < 3 or nodes[-1].args != (nodes[-2],):
        return None
    places = {node: Ref(i - 1) for i, node in enumerate(nodes)}
    names = unique_names([str(node.target) if node.op == "call_module" else node.name for node in nodes[1:-1]])
    found = [_step(name, node, places) for name, node in zip(names, nodes[1:-1], strict=True)]
    return Program([step for step in found if step is not None]) if None not in found else None


def _step(name: str, node: fx.Node, places: Mapping[fx.Node, Ref]) -> Step | None:
    """The step of one node, None where it was told the mode when it was traced and would keep it."""
    args, kwargs = fx.map_arg(node.args, places.__getitem__), fx.map_arg(node.kwargs, places.__getitem__)
    if node.op == "get_attr":
        return Step(name, (), {}, attribute=str(node.target))
    if node.op == "call_module":
        return Step(name, args, kwargs, module=str(node.target))
    if "training" in node.kwargs or node.target in (torch.dropout, nn.functional.dropout, nn.functional.batch_norm):
        return None
    function: Any = _Method(str(node.target)) if node.op == "call_method" else node.target
    spelled = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return Step(name, args, kwargs, function=function, kind=function_kind(spelled.rstrip("_")))


@dataclass(frozen=True)
class _Method:
    name: str

    def __call__(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(value, self.name)(*args, **kwargs)
