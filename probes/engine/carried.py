"""What a network or a loss keeps beside parameters and buffers, carried over to a copy of it.

That is: plain attributes (a temperature, a counter, a cached activation), the training flags, which tensor stands under
which name (a buffer may be assigned anew), and the variables that functions close over. A copy made once would go stale
as they change, and evaluating would change them.
"""

from __future__ import annotations

import copy
import functools
import operator
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from probes.errors import ProbeError

_MODULES_OWN = frozenset(vars(nn.Module())) - {"training"}
_REGISTERED = ("_parameters", "_buffers", "_modules")
_CONSTANT: tuple[type, ...] = (int, float, complex, bool, str, bytes, type(None), type, range)
_CONSTANT += (torch.dtype, torch.device, torch.memory_format, types.BuiltinFunctionType, types.FunctionType)
_CONSTANT += (types.ModuleType,)  # of Python: imported where it is used, or kept as an attribute
_PLAIN = (*_CONSTANT, Tensor, list, dict, set, tuple)


class Values(NamedTuple):
    """What one holder of values holds, in terms of the copy."""

    constant: dict[str, Any]
    """Those that can be shared."""
    changing: dict[str, Any]
    """Those that each evaluation gets a copy of."""
    tensors: dict[str, Tensor]
    """Values of parameters and buffers, where they are carried too."""


State = list[Values]


class Carried:
    """A copy of ``source`` and what takes it to the same state.

    Args:
        source: a module, another object that can be called, or a function.
        known: a copy that exists already; what ``source`` has of its original stands for the same of the copy.
        tensors: carry the values of parameters and buffers too.

    Raises:
        ProbeError: it cannot be copied.
    """

    def __init__(self, source: Any, known: Carried | None = None, tensors: bool = False) -> None:
        self._known: dict[int, Any] = {} if known is None else dict(known._known)
        self._alive: list[Any] = [] if known is None else list(known._alive)  # so that no other gets their id
        self._tensors = tensors
        memo = dict(self._known)
        closures = self._copy_closures(source, memo)
        try:
            for _, original in objects(source):
                kept = [value for name, value in vars(original).items() if name not in _MODULES_OWN]
                _detach_into(memo, kept)
                memo |= {id(value): value for value in kept if isinstance(value, types.ModuleType)}
            self.copy = copy.deepcopy(source, memo)
        except Exception as error:  # torch names several causes, all the network's
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ProbeError(f"{_spelled(source)} cannot be copied: {reason}") from error
        self._closures = [(theirs, own) for theirs, own in closures]
        self._objects = [
            (path, original, memo[id(original)]) for path, original in objects(source) if id(original) in memo
        ]
        self.settle()

    def settle(self) -> None:
        """Takes the tensors that the copy now has for its own; to be called after they were cast."""
        self._registered: list[dict[str, dict[str, Any]]] = []
        pairs: list[tuple[Any, Any]] = [*self._closures]
        for _, original, own in self._objects:
            pairs.append((original, own))
            registered = {kind: dict(vars(own)[kind]) for kind in _REGISTERED} if isinstance(own, nn.Module) else {}
            self._registered.append(registered)
            for kind in registered:
                there = vars(original)[kind]
                pairs += [(there[name], value) for name, value in registered[kind].items() if value is not None]
        self._known.update({id(original): own for original, own in pairs})
        self._alive += [original for original, _ in pairs]
        self._stay = {id(own): own for own in self._known.values()}
        self._last: State | None = None
        self._marks: list[tuple[dict[str, Any], list[Any]]] = []
        for theirs, own in self._closures:
            values = self._values(theirs.__name__, _variables(theirs))
            for name, value in (values.constant | values.changing).items():
                _write(own, name, value)

    def _copy_closures(self, source: Any, memo: dict[int, Any]) -> list[tuple[types.FunctionType, types.FunctionType]]:
        """Functions with variables of their own, those of their variables included; not yet filled."""
        found: list[tuple[types.FunctionType, types.FunctionType]] = []
        waiting = [source]
        for _, original in objects(source):
            waiting += [value for name, value in vars(original).items() if name not in _MODULES_OWN]
        while waiting:
            value = waiting.pop()
            if isinstance(value, functools.partial):
                waiting.append(value.func)
            if isinstance(value, types.MethodType):
                continue
            if not isinstance(value, types.FunctionType) or not value.__closure__ or id(value) in memo:
                continue
            if (value.__module__ or "").partition(".")[0] == "torch":
                continue
            cells = tuple(types.CellType() for _ in value.__closure__)
            own = types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
            own.__kwdefaults__, own.__dict__ = value.__kwdefaults__, dict(vars(value))
            memo[id(value)] = own
            found.append((value, own))
            waiting += _variables(value).values()
        return found

    # ---- the state

    def take(self) -> State:
        """What the original holds now.

        Raises:
            ProbeError: something cannot be copied.
        """
        return [
            *(self._values(theirs.__name__, _variables(theirs)) for theirs, _ in self._closures),
            *(self._values(path, vars(theirs), theirs) for path, theirs, _ in self._objects),
        ]

    def own(self) -> State:
        """What the copy itself holds now."""
        return [
            *(self._values(own.__name__, _variables(own)) for _, own in self._closures),
            *(self._values(path, vars(own), own) for path, _, own in self._objects),
        ]

    def put(self, state: State) -> None:
        """Takes the copy there; what then runs on the copy cannot change ``state``."""
        functions = len(self._closures)
        for (_, own), values in zip(self._closures, state[:functions], strict=True):
            for name, value in (values.constant | self._copies(values.changing)).items():
                _write(own, name, value)
        everything = not self._alike(state) or not self._unchanged()
        if everything:
            self._last, self._marks = state, []
        for (_, _, own), registered, values in zip(self._objects, self._registered, state[functions:], strict=True):
            if everything or values.changing or values.tensors:
                self._put(own, registered, values, mark=everything)

    def _alike(self, state: State) -> bool:
        """Whether what is shared in ``state`` is, object by object, what was put last; the rest is copied anyway."""
        return state is self._last or (
            self._last is not None
            and all(
                now.constant.keys() == then.constant.keys()
                and now.changing.keys() == then.changing.keys()
                and all(map(operator.is_, now.constant.values(), map(then.constant.__getitem__, now.constant)))
                for now, then in zip(state[len(self._closures) :], self._last[len(self._closures) :], strict=True)
            )
        )

    def _unchanged(self) -> bool:
        """Whether all that is shared still stands where it was put; many times faster than putting it there."""
        try:
            return all(list(held.values()) == values for held, values in self._marks)
        except Exception:  # tensors, say, of which no single truth can be told: they are others
            return False

    def _put(self, own: Any, registered: Mapping[str, Mapping[str, Any]], values: Values, mark: bool) -> None:
        held = vars(own)
        for kind, there in registered.items():
            if list(map(id, held[kind].values())) != list(map(id, there.values())):
                held[kind].clear()
                held[kind].update(there)
            if there and mark:
                self._marks.append((held[kind], list(there.values())))
        for name in [n for n in held if n not in _MODULES_OWN]:
            if name not in values.constant and name not in values.changing:
                del held[name]
        held.update(values.constant)
        held.update(self._copies(values.changing))
        if mark and not values.changing:
            self._marks.append((held, list(held.values())))
        if values.tensors:
            mine = _registered_tensors(own)
            with torch.no_grad():
                for name, value in values.tensors.items():
                    mine[name].copy_(value)

    def _values(self, path: str, held: Mapping[str, Any], module: Any = None) -> Values:
        constant, changing = {}, {}
        own = _MODULES_OWN if isinstance(module, nn.Module) else ()
        for name, value in held.items():
            if name in own:
                continue
            if type(value) in _CONSTANT or id(value) in self._known or id(value) in self._stay:
                constant[name] = self._known.get(id(value), value)
            elif isinstance(value, tuple) and all(type(x) in _CONSTANT for x in value):
                constant[name] = value
            elif module is None and not isinstance(value, _PLAIN):
                constant[name] = value  # of a function's variables, other objects are shared
            else:
                try:
                    changing[name] = self._mapped(value)
                except Exception as error:
                    raise ProbeError(f"{path}.{name} cannot be copied: {type(error).__name__}: {error}") from error
        if not self._tensors or not isinstance(module, nn.Module):
            return Values(constant, changing, {})
        tensors = {name: value.detach().clone() for name, value in _registered_tensors(module).items()}
        return Values(constant, changing, tensors)

    def _mapped(self, value: Any) -> Any:
        """A copy of a value of the original, with the copy's modules and tensors in place of the original's."""
        memo = dict(self._known) | self._stay
        _detach_into(memo, [value])
        return copy.deepcopy(value, memo)

    def _copies(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: copy.deepcopy(value, dict(self._stay)) for name, value in values.items()}


def objects(source: Any) -> Iterator[tuple[str, Any]]:
    """The objects within ``source`` whose attributes are carried, by path."""
    if isinstance(source, nn.Module):
        # a scripted module keeps nothing that Python could see
        yield from ((n, m) for n, m in source.named_modules() if not isinstance(m, torch.jit.ScriptModule))
    elif isinstance(source, types.MethodType):
        yield from objects(source.__self__)
    elif isinstance(source, functools.partial):
        yield from objects(source.func)
    elif not isinstance(source, types.FunctionType | types.BuiltinFunctionType | type) and hasattr(source, "__dict__"):
        yield type(source).__name__, source


def _detach_into(memo: dict[int, Any], values: Iterable[Any]) -> None:
    """Stands for tensors that a forward pass has left, which cannot be copied as they are: they belong to its graph."""
    for leaf in tree_leaves(list(values)):
        if isinstance(leaf, Tensor) and leaf.grad_fn is not None and id(leaf) not in memo:
            memo[id(leaf)] = leaf.detach().clone()


def _registered_tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in (*module._parameters.items(), *module._buffers.items()) if t is not None}


def _variables(function: types.FunctionType) -> dict[str, Any]:
    """The variables that a function closes over."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _write(function: types.FunctionType, name: str, value: Any) -> None:
    assert function.__closure__ is not None
    function.__closure__[function.__code__.co_freevars.index(name)].cell_contents = value


def _spelled(source: Any) -> str:
    return getattr(source, "__name__", type(source).__name__)
