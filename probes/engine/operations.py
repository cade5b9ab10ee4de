"""Counts floating-point operations and bytes of what runs under it."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):
    """``with Operations() as counted: ...; counted.total``: operations of matrix products and convolutions.

    torch's own formulas (2 per multiply-add). ``FlopCounterMode`` itself tracks modules by hooks, with which
    ``torch.autograd.grad`` through a reparametrised weight fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def has_storage(x: Any) -> bool:
    """Whether it is a tensor with all its numbers in one piece of memory (a sparse one is not)."""
    return isinstance(x, Tensor) and x.layout == torch.strided


class Memory(TorchDispatchMode):
    """``with Memory() as memory: ...; memory.peak``: most bytes of tensors made under it that lived at one time.

    Work space that an operator takes and gives back within one call is not seen, nor are sparse tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def _free(self, storage: int, size: int) -> None:
        self._alive.discard(storage)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if has_storage(x)}
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if has_storage(made):
                storage = made.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in given and key not in self._alive:
                    self._alive.add(key)
                    self.now += size
                    weakref.finalize(storage, self._free, key, size)
        self.peak = max(self.peak, self.now)
        return result
