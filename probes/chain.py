"""A network as an ordered chain of leaf modules, where it is one.

Our own networks and any ``nn.Sequential`` flatten; others are traced by ``torch.fx``, and are a chain where every
step's only input is the step before it (torchvision's VGG and AlexNet). A chain is only used where it reproduces the
network's own output bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from probes.network import activation_kind


@dataclass(frozen=True)
class Link:
    """One step of a chain.

    ``module`` is the qualified name of the module it calls; ``function`` stands for it where the network calls a
    function, and ``kind`` then is an activation's name or "other". ``name`` is unique in the chain (a module called
    twice is ``name@2`` the second time).
    """

    name: str
    module: str | None = None
    function: Callable[[Tensor], Tensor] | None = None
    kind: str = ""

    def bind(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """What to call: the module of ``network``, or the function."""
        if self.module is not None:
            return network.get_submodule(self.module)
        assert self.function is not None
        return self.function


def chain(network: nn.Module) -> tuple[Link, ...] | None:
    """The steps whose composition is ``network``, None where it is not a chain (a residual network, say)."""
    try:
        names = list(_flatten(network, ""))
    except _NotSequential:
        return _traced(network)
    return tuple(Link(unique, module) for unique, module in zip(unique_names(names), names, strict=True))


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


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _flatten(module: nn.Module, name: str) -> Iterator[str]:
    plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    if not plain:
        if not name or not is_step(module, name):  # a composite block has leaves and an order of its own
            raise _NotSequential
        yield name
        return
    if _has_hooks(module):  # calling the children one by one would skip it
        raise _NotSequential
    for child, part in module._modules.items():
        if part is not None:
            yield from _flatten(part, f"{name}.{child}" if name else child)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one step: it has no children, or is one of torch's own that is no container."""
    own = type(module).__module__.startswith("torch.nn.") and not isinstance(
        module, nn.Sequential | nn.ModuleList | nn.ModuleDict
    )
    return own or not any(True for _ in module.children()) or hasattr(module, "parametrizations")


def is_step(module: nn.Module, name: str) -> bool:
    """Whether the module called ``name`` is one step: a leaf, or in the place of a normalisation (``.norm``)."""
    container = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
    return is_leaf(module) or ("norm" in name.split(".") and not container)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_step(m, module_qualified_name)


def _traced(network: nn.Module) -> tuple[Link, ...] | None:
    if any(_has_hooks(module) and not is_step(module, name) for name, module in network.named_modules()):
        return None
    try:
        graph = _Tracer().trace(network)
    except Exception:  # whatever in a user's forward resists tracing, the network is then measured without an order
        return None
    nodes = list(graph.nodes)
    if [n.op for n in nodes].count("placeholder") != 1 or nodes[0].op != "placeholder" or nodes[-1].op != "output":
        return None
    if nodes[-1].args != (nodes[-2],):
        return None
    segments = list(_segments(nodes[:-1]))
    links = [_link(*segment) for segment in segments]
    if any(link is None for link in links):
        return None
    steps = [link for link in links if link is not None]
    names = unique_names([step.name for step in steps])
    return tuple(Link(name, s.module, s.function, s.kind) for name, s in zip(names, steps, strict=True))


def _segments(nodes: list[fx.Node]) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """(input node, nodes up to the next one on which alone everything later depends), in order."""
    position = {node: i for i, node in enumerate(nodes)}
    last_use = [max([position[u] for u in node.users if u in position], default=i) for i, node in enumerate(nodes)]
    start, reach = 0, 0
    for i in range(1, len(nodes)):
        reach = max(reach, last_use[i - 1])
        if reach <= i:
            yield nodes[start], nodes[start + 1 : i + 1]
            start = i


def _link(source: fx.Node, nodes: list[fx.Node]) -> Link | None:
    """One step, or None where it is more than a module with one input or a plain function."""
    if len(nodes) == 1 and nodes[0].op == "call_module":
        if nodes[0].args != (source,) or nodes[0].kwargs:
            return None
        return Link(str(nodes[0].target), module=str(nodes[0].target))
    for node in nodes:
        # a function that was told the mode at tracing would keep it; one that reads parameters belongs to no module
        if node.op not in ("call_function", "call_method") or "training" in node.kwargs:
            return None
        if node.target in (torch.dropout, nn.functional.dropout, nn.functional.batch_norm):
            return None
    return Link(nodes[-1].name, function=_Function(source, nodes), kind=activation_kind(_spelled(nodes[-1].target)))


def _spelled(target: Any) -> str:
    return str(target if isinstance(target, str) else getattr(target, "__name__", target)).rstrip("_")


class _Function:
    """Runs the nodes of one segment on its input."""

    def __init__(self, source: fx.Node, nodes: list[fx.Node]) -> None:
        self.source, self.nodes = source, nodes

    def __call__(self, x: Tensor) -> Tensor:
        values: dict[fx.Node, Any] = {self.source: x}
        for node in self.nodes:
            args = fx.map_arg(node.args, values.__getitem__)
            kwargs = fx.map_arg(node.kwargs, values.__getitem__)
            if node.op == "call_method":
                values[node] = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return values[self.nodes[-1]]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Function:
        return self
