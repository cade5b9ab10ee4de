"""What is refused, and what the plan needs to know of a network's cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from probes.errors import ProbeError
from probes.evaluate import Ask, Evaluator, nothing
from probes.operations import Memory, Operations
from probes.plan import Costs
from probes.points import Before
from probes.protocol import Field, Need
from probes.reductions import DifferenceProducts, Reduction
from probes.shadow import RandomState, Shadow


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN being equal to itself."""
    if torch.equal(a, b):
        return True
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def check_deterministic(evaluator: Evaluator, inputs: Tensor, targets: Tensor) -> None:
    """Evaluates twice and refuses a network whose loss or gradient differs.

    Raises:
        ProbeError: it does; the first leaf whose output differs is named.
    """
    shadow = evaluator.shadow
    buffers = {name: value.clone() for name, value in shadow.buffers.items()}
    evaluator.begin(0, buffers, [module.training for module in shadow.modules], RandomState(shadow.device))
    state = RandomState(shadow.device)

    def once() -> tuple[Tensor, list[Tensor]]:
        with evaluator.pure(True):
            loss, _ = evaluator.loss(inputs, targets, nothing, frozenset())
            gradients = evaluator.differentiate(loss.total, list(shadow.trainable.values()))
        return loss.total.detach(), gradients

    def taps() -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        with evaluator.pure(False):
            evaluator.loss(inputs, targets, lambda tap, value: found.update({tap: value.clone()}), frozenset())
        return found

    try:
        (loss, gradients), (again, gradients_again) = once(), once()
        if not same(loss, again):
            first, second = taps(), taps()
            suspect = next((tap for tap in first if tap in second and not same(first[tap], second[tap])), None)
            named = f"; the first leaf whose output differs is {_spelled(evaluator, suspect)}" if suspect else ""
            raise ProbeError(
                f"the loss is not a function of parameters, buffers, batch and step: two evaluations differ{named}"
            )
        pairs = zip(shadow.trainable, gradients, gradients_again, strict=True)
        differing = [name for name, a, b in pairs if not same(a, b)]
        if differing:
            raise ProbeError(
                f"the gradient is not deterministic: two evaluations differ, {differing[-1]!r} among {len(differing)}; "
                "try torch.use_deterministic_algorithms(True)"
            )
    finally:
        shadow.reset(buffers)
        state.restore()


class _Stops(TorchFunctionMode):
    """Notices values that were computed from differentiable ones without a gradient, and then used for one.

    ``found`` turns true when a tensor that requires a gradient is made from a tensor that was detached, or computed
    under ``no_grad``, from one that requires a gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found = False
        self._stopped: dict[int, Tensor] = {}  # the tensors are kept, so that no other gets their id

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        stopped = any(id(x) in self._stopped for x in given)
        for made in tree_leaves(result):
            if not isinstance(made, Tensor) or not made.is_floating_point():
                continue
            if made.requires_grad:
                self.found |= stopped
            elif stopped or any(x.requires_grad for x in given):
                self._stopped[id(made)] = made
        return result


def check_differentiable(evaluator: Evaluator, reduction: Reduction, inputs: Tensor, targets: Tensor) -> None:
    """Refuses ``reduction``, which differentiates twice, on a network that stops gradients.

    Where statistics are taken as constants (batch renormalisation's r and d), the first derivative is what training
    uses, but its own derivative by autograd leaves out a part.

    Raises:
        ProbeError: it does; the first leaf that does is named.
    """
    suspect: list[str] = []
    shadow = evaluator.shadow
    buffers = {name: value.clone() for name, value in shadow.buffers.items()}
    evaluator.begin(0, buffers, [module.training for module in shadow.modules], RandomState(shadow.device))
    state = RandomState(shadow.device)
    with evaluator.pure(True), _Stops() as stops:

        def look(tap: str, value: Tensor) -> None:
            if stops.found and not suspect:
                suspect.append(tap)

        evaluator.loss(inputs, targets, look, frozenset())
    shadow.reset(buffers)
    state.restore()
    if stops.found:
        named = f"{_spelled(evaluator, suspect[0])}" if suspect else "the loss"
        raise ProbeError(
            f"{type(reduction).__name__}: {named} stops gradients (values computed without one are used for one), so "
            "differentiating twice leaves out a part of the curvature; for the landscape use limit=difference"
        )


def _spelled(evaluator: Evaluator, tap: str) -> str:
    leaf = evaluator.shadow.view.leaf(tap)
    kind = type(evaluator.shadow.network.get_submodule(leaf.module)).__name__ if leaf.module is not None else "function"
    return f"{tap!r} ({kind})"


def measure_costs(
    evaluator: Evaluator, asks: Sequence[Ask], batch: tuple[Tensor, Tensor], fixed: int, source: nn.Module
) -> Costs:
    """Operations and bytes of the network's passes and of each second derivative, each run once on ``batch``.

    ``fixed`` is the number of samples of the fixed batch, ``source`` the network that is trained.
    """
    shadow = evaluator.shadow
    buffers = {name: value.clone() for name, value in shadow.buffers.items()}
    evaluator.begin(0, buffers, [module.training for module in shadow.modules], RandomState(shadow.device))
    state = RandomState(shadow.device)
    inputs, targets = batch
    taps: dict[str, int] = {}
    with evaluator.pure(False), Memory() as forward_memory:
        visit = lambda tap, value: taps.update({tap: value.numel() * value.element_size()})  # noqa: E731
        evaluator.loss(inputs, targets, visit, frozenset())
    with evaluator.pure(True), Operations() as both, Memory() as memory:
        loss, _ = evaluator.loss(inputs, targets, nothing, frozenset())
        with Operations() as backward:
            evaluator.differentiate(loss.total, list(shadow.trainable.values()))
        del loss
    forward = both.total - backward.total
    double: dict[Reduction, tuple[int, int]] = {}
    for reduction in {reduction for ask in asks for reduction in ask.of_level("double")}:
        with Operations() as counter, Memory() as needed:
            evaluator.double(Ask("train", Before(), (Need("train", Before(), reduction),)), inputs, targets, {})
        shared = 0 if isinstance(reduction, DifferenceProducts) else forward
        double[reduction] = (counter.total - shared, needed.peak)  # those by differentiating twice share one forward
    shadow.reset(buffers)
    state.restore()
    evaluator.counts.__init__()  # type: ignore[misc]

    def size(tensors: Iterable[Tensor]) -> int:
        return sum(t.numel() * t.element_size() for t in tensors)

    own = next(p for p in source.parameters() if p.requires_grad).element_size()
    clones = sum(taps[tap] for tap, overwritten in pairwise_overwritten(shadow) if overwritten)
    return Costs(
        forward=forward,
        backward=backward.total,
        samples=len(inputs),
        fixed=fixed,
        parameters=size(shadow.trainable.values()),
        copy=size([*shadow.parameters.values(), *shadow.buffers.values()]),
        live=size([*source.parameters(), *source.buffers()]),
        forward_bytes=forward_memory.peak,
        evaluation_bytes=memory.peak,
        training_bytes=memory.peak * own // shadow.dtype.itemsize,
        clones=clones,
        taps=taps,
        itemsize=shadow.dtype.itemsize,
        double=double,
    )


def pairwise_overwritten(shadow: Shadow) -> Iterable[tuple[str, bool]]:
    """Each tap of a chain and whether the next step works in place on it, so that a copy is made."""
    return zip(shadow.taps, shadow.in_place[1:], strict=False)


class Guard:
    """Notices whether a probe wrote to the network.

    Args:
        network: the one that is trained.
        thorough: compare values too, not only version counters (``.data`` escapes those).
    """

    def __init__(self, network: nn.Module, thorough: bool) -> None:
        self.modules = list(network.named_modules())
        self.marks = self._marks()
        self.values = {name: tensor.detach().clone() for name, tensor in self._tensors() if thorough}

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self.modules:
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    yield f"{path}.{name}".lstrip("."), tensor
                    if tensor.grad is not None:
                        yield f"{path}.{name}.grad".lstrip("."), tensor.grad

    def _marks(self) -> list[tuple[int, ...]]:
        """For each module its mode and children, for each tensor it and its gradient, with their versions."""
        marks: list[tuple[int, ...]] = []
        for _, module in self.modules:
            marks.append((module.training, *map(id, module._modules.values())))
            for tensors in (module._parameters, module._buffers):
                for tensor in tensors.values():
                    grad = None if tensor is None else tensor.grad
                    mark = (0, 0) if tensor is None else (id(tensor), tensor._version)
                    marks.append(mark if grad is None else (*mark, id(grad), grad._version))
        return marks

    def _names(self) -> Iterator[tuple[str, ...]]:
        """What the numbers of each mark are called."""
        for path, module in self.modules:
            yield (f"{path}.training", *[f"{path}.{name}" for name in module._modules])
            for name in (*module._parameters, *module._buffers):
                yield (f"{path}.{name}", f"{path}.{name}", f"{path}.{name}.grad", f"{path}.{name}.grad")

    def check(self, probe: str) -> None:
        """Raises:
        ProbeError: something of the network is not what it was.
        """
        now, changed = self._marks(), None
        if now != self.marks:
            for names, was, mark in itertools.zip_longest(self._names(), self.marks, now, fillvalue=()):
                if was != mark:
                    place = next(i for i, (a, b) in enumerate(itertools.zip_longest(was, mark)) if a != b)
                    changed = names[place] if place < len(names) else "a module"
                    break
        else:
            tensors = dict(self._tensors()) if self.values else {}
            changed = next((name for name, value in self.values.items() if not same(value, tensors[name])), None)
        if changed is not None:
            raise ProbeError(f"probe {probe} wrote to the network: {changed.lstrip('.')!r} changed while it measured")


def check_answer(probe: str, answer: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Tensor]:
    """The answer, detached, if it has exactly the declared keys and shapes.

    Raises:
        ProbeError: it has not.
    """
    for key in {**answer, **fields}:
        if key not in fields:
            raise ProbeError(f"probe {probe} returned {key!r}, which it did not declare")
        if key not in answer:
            raise ProbeError(f"probe {probe} declared {key!r}, but did not return it")
        value, shape = answer[key], fields[key].sizes()
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ProbeError(f"probe {probe} returned {key!r} of shape {got}, but declared {shape}")
    return {key: answer[key].detach() if answer[key].is_cpu else answer[key].detach().cpu() for key in fields}
