"""Counts floating-point operations of what runs under it."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
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
