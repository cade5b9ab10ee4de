"""What is refused, and what the plan needs to know of a network's cost."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from probes.engine.ask import Ask
from probes.engine.collector import nothing
from probes.engine.evaluation import Evaluator, dense
from probes.engine.operations import has_storage
from probes.errors import ProbeError
from probes.objective import Objective
from probes.protocol import Declaration, Field, Need, Probe
from probes.reductions.reduction import Asked, Reduction


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN being equal to itself."""
    a, b = dense(a), dense(b)
    if torch.equal(a, b):
        return True
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def check_objective(objective: Any) -> None:
    """Refuses what is no objective.

    Raises:
        ProbeError: it is none (a bare loss function, say).
    """
    if not isinstance(objective, Objective):
        spelled = getattr(objective, "__name__", type(objective).__name__)
        raise ProbeError(f"objective {spelled}: must be an Objective: Objective({spelled})")


def check_probe(name: str, probe: Any) -> None:
    """Refuses what is no probe.

    Raises:
        ProbeError: it is none, or says that it measures at no steps.
    """
    multiple = getattr(probe, "every", 1)
    if not isinstance(multiple, int) or multiple < 1:
        raise ProbeError(f"probe {name}: every={multiple!r} must be a whole number of base intervals, at least 1")
    if isinstance(probe, type):
        raise ProbeError(f"probe {name}: is the class {probe.__name__}; give an instance: {probe.__name__}()")
    if not isinstance(probe, Probe):
        raise ProbeError(f"probe {name}: {type(probe).__name__} has no declare(network) and measure(at)")


def check_declaration(declared: Any) -> None:
    """Refuses what is no declaration.

    Raises:
        ProbeError: it says what stands where something else must.
    """
    if not isinstance(declared, Declaration):
        raise ProbeError(f"declare must return a Declaration, not {type(declared).__name__}")
    if not isinstance(declared.fields, Mapping):
        raise ProbeError(f"Declaration: fields must map keys to Field, not be {type(declared.fields).__name__}")
    for what, kind, entries in (
        ("fields", Field, declared.fields.values()),
        ("needs", Need, declared.needs),
        ("remember", Need, declared.remember),
    ):
        if not isinstance(entries, Iterable):
            raise ProbeError(f"Declaration: {what} must be a tuple of {kind.__name__}, not {type(entries).__name__}")
        for entry in entries:
            if not isinstance(entry, kind):
                raise ProbeError(f"Declaration: {what} must hold {kind.__name__}, not {type(entry).__name__}")
    for need in declared.needs:
        check_reduction(need.reduction)


def check_reduction(reduction: Any) -> None:
    """Refuses a reduction that no evaluation would answer.

    Raises:
        ProbeError: it is none, or stands in no list of those that are asked.
    """
    asked = Asked()
    if isinstance(reduction, Reduction):
        reduction.join(asked)
    if not any(getattr(asked, field.name) for field in dataclasses.fields(Asked)):
        kind = reduction.__name__ if isinstance(reduction, type) else type(reduction).__name__
        raise ProbeError(
            f"reduction {kind}: nothing answers it; derive it from the class in probes.reductions that reads what it "
            "needs (TapReduction, GradientReduction, ...), and give an instance"
        )


def check_deterministic(evaluator: Evaluator, inputs: Tensor, targets: Tensor) -> None:
    """Evaluates twice and refuses a network whose loss or gradient differs.

    Raises:
        ProbeError: it does; the first leaf whose output differs is named.
    """
    shadow = evaluator.shadow

    def once() -> tuple[Tensor, list[Tensor]]:
        with evaluator.pure():
            loss, _ = evaluator.loss(inputs, targets, nothing, frozenset())
            gradients = evaluator.differentiate(loss.total, list(shadow.trainable.values()))
        return loss.total.detach(), gradients

    def taps() -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        with evaluator.pure():
            evaluator.loss(inputs, targets, lambda tap, value: found.update({tap: value.detach().clone()}), frozenset())
        return found

    with evaluator.rehearsal():
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


_CONSTANTS = frozenset(
    (
        *(torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like, torch.rand_like, torch.randn_like),
        *(Tensor.new_zeros, Tensor.new_ones, Tensor.new_full, Tensor.new_empty, Tensor.new_tensor),
    )
)
"""What they make has the shape of what they are given, but none of its values."""


class _Reads(TorchDispatchMode):
    """Notices that tensors of the network that is trained are read: ``found`` is the name of the first one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        named = (*network.named_parameters(), *network.named_buffers())
        self._names = {t.untyped_storage()._cdata: name for name, t in named if has_storage(t) and t.numel()}
        self.found: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for x in tree_leaves((args, kwargs)):
            if has_storage(x):
                self.found = self.found or self._names.get(x.untyped_storage()._cdata)
        return func(*args, **(kwargs or {}))


def check_separate(evaluator: Evaluator, source: nn.Module, inputs: Any, targets: Any) -> None:
    """Refuses a network or a loss whose copy reads, or writes to, the network that is trained.

    Raises:
        ProbeError: it does; what it reads is named.
    """
    with evaluator.rehearsal(), evaluator.pure(), _Reads(source) as reads:
        evaluator.loss(inputs, targets, nothing, frozenset())
    if reads.found is not None:
        raise ProbeError(
            f"evaluated on a copy, the network or the loss still reads {reads.found!r} of the network that is trained: "
            "a function there names that network itself (as a global, say); let it reach the weights through its "
            "module, and write a penalty as weight_decay of Objective"
        )


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
            elif stopped or (func not in _CONSTANTS and any(x.requires_grad for x in given)):
                self._stopped[id(made)] = made
        return result


def check_differentiable(
    evaluator: Evaluator,
    reduction: Reduction,
    inputs: Tensor,
    targets: Tensor,
    within: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> None:
    """Refuses ``reduction``, which differentiates twice, on a network that stops gradients.

    Where statistics are taken as constants (batch renormalisation's r and d), the first derivative is what training
    uses, but its own derivative by autograd leaves out a part. ``within`` is what it is evaluated within.

    Raises:
        ProbeError: it does; the first leaf that does is named.
    """
    suspect: list[str] = []
    with evaluator.rehearsal(), evaluator.pure(), within(), _Stops() as stops:

        def look(tap: str, value: Tensor) -> None:
            if stops.found and not suspect:
                suspect.append(tap)

        evaluator.loss(inputs, targets, look, frozenset())
    if stops.found:
        named = f"{_spelled(evaluator, suspect[0])}" if suspect else "the loss"
        raise ProbeError(
            f"{type(reduction).__name__}: {named} stops gradients (values computed without one are used for one), so "
            "differentiating twice leaves out a part of the curvature; for the landscape use limit=difference"
        )


def check_twice(evaluator: Evaluator, ask: Ask, inputs: Any, targets: Any) -> None:
    """Refuses second derivatives that a kernel lacks.

    Raises:
        ProbeError: one does; the line says what to do.
    """
    try:
        with evaluator.rehearsal():
            evaluator.twice(ask, inputs, targets, {})
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        if "derivative" not in reason and "differentiat" not in reason:
            raise
        raise ProbeError(
            f"a kernel has no second derivative ({reason}); for a fused attention build Probes and train within "
            "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), for the landscape use limit=difference"
        ) from error


def _spelled(evaluator: Evaluator, tap: str) -> str:
    leaf = evaluator.shadow.view.leaf(tap)
    kind = type(evaluator.shadow.network.get_submodule(leaf.module)).__name__ if leaf.module is not None else "function"
    return f"{tap!r} ({kind})"


class Guard:
    """Notices whether a probe wrote to the network.

    Args:
        network: the one that is trained.
        thorough: compare values too, not only version counters (``.data`` escapes those).
    """

    def __init__(self, network: nn.Module, thorough: bool) -> None:
        self.modules = list(network.named_modules())
        self.marks = self._marks()
        self.values = {name: tensor.detach().clone() for name, tensor in self._tensors()} if thorough else {}

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
        """Refuses a network of which something is not what it was.

        Args:
            probe: the one that has measured.

        Raises:
            ProbeError: something is not.
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
