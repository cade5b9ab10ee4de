"""The training pass, watched: what it started from, and whether evaluating again computes what it computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from probes.errors import ProbeError

_PASS_ROUNDING = 64
"""In units of the type's rounding: how far two runs of one program may differ, by the norm of the output."""
_OTHER_PROGRAM = 8192
"""The same for another program, or another type: rounding then is carried through all layers."""
_AUTOCAST = 32
"""The same in units of autocast's own type."""


class TrainingPass:
    """Watches the network's own call on the step's batch, by two hooks on the network itself.

    Args:
        network: the one that is called in training.
        inputs: the batch's.
        begins: called just before that call.
    """

    def __init__(self, network: nn.Module, inputs: Any, begins: Callable[[], None]) -> None:
        self._inputs, self._begins = inputs, begins
        self._under_way = self.found = False
        self.output: Any = None
        self.others = 0
        """Calls with gradients on other inputs than the batch's."""
        self.autocast: torch.dtype | None = None
        self._handles = [
            network.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True),
            network.register_forward_hook(self._after),
        ]

    def close(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _before(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.found or not torch.is_grad_enabled():
            return
        given = args[0] if args else next(iter(kwargs.values()), None)
        if not same_values(given, self._inputs):
            self.others += 1
            return
        self._under_way = True
        self.autocast = autocast_type(self._inputs)
        self._begins()

    def _after(self, network: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._under_way:
            self.found, self._under_way = True, False
            self.output = tree_map(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, output)

    def compare(self, again: Any, same_program: bool, causes: str) -> None:
        """Refuses an evaluation at theta_t that gives another output than the training pass gave.

        Args:
            again: its output.
            same_program: whether it ran the same operations in the same precision.
            causes: what may be the cause, beside what is always possible.

        Raises:
            ProbeError: it does, or there was none on the batch's own inputs.
        """
        if not self.found:
            if self.others:
                raise ProbeError(
                    "the step ran the network, but never on the inputs of its batch (augmented or cut into parts "
                    "within the block?): give around() the very batch that the network is called with"
                )
            return
        distance = relative_distance(self.output, again)
        if distance > tolerance(self.output, again, same_program, self.autocast):
            raise ProbeError(
                f"what training computed is not what is computed again at theta_t: the outputs differ by "
                f"{distance:.1e} of their norm. Possible causes: {causes}"
            )


CAUSES = (
    "values kept outside parameters, buffers and plain attributes (in a global, a file, a generator of its own); "
    "weights or modes that the step changes before its forward pass; noise that is not drawn from (seed, step, place)"
)


def same_values(a: Any, b: Any) -> bool:
    """Whether two batches, however nested, hold the same numbers, whatever their types and devices."""
    if a is b:
        return True
    left, right = tree_leaves(a), tree_leaves(b)
    return len(left) == len(right) and all(map(_same_leaf, left, right))


def _same_leaf(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b.to(a.device, a.dtype))
    return type(a) is type(b) and bool(a == b)


def relative_distance(a: Any, b: Any) -> float:
    """||a - b|| / ||a|| over all tensors of two outputs; 0 where ``a`` is not finite, inf where they are no pair."""
    left, right = ([x for x in tree_leaves(y) if isinstance(x, Tensor)] for y in (a, b))
    if [x.shape for x in left] != [x.shape for x in right]:
        return float("inf")
    pairs = [(x, y.detach().to(x.dtype)) for x, y in zip(left, right, strict=True) if x.numel()]
    if all(torch.equal(x, y) for x, y in pairs):
        return 0.0
    wide = [(x.to(torch.complex128 if x.is_complex() else torch.float64), y) for x, y in pairs]
    size = torch.stack([x.abs().square().sum() for x, _ in wide]).sum().sqrt().item()
    if not torch.isfinite(torch.tensor(size)):  # diverged: recorded as it is
        return 0.0
    distance = torch.stack([(x - y).abs().square().sum() for x, y in wide]).sum().sqrt().item()
    return distance / size if size else float("inf") if distance else 0.0


def tolerance(a: Any, b: Any, same_program: bool, autocast: torch.dtype | None) -> float:
    """How far the outputs of the training pass and of its evaluation may be apart by rounding."""
    types = [x.dtype for y in (a, b) for x in tree_leaves(y) if isinstance(x, Tensor)]
    units = [torch.finfo(dtype).eps for dtype in types if dtype.is_floating_point or dtype.is_complex]
    rounding = max(units, default=0.0) * (_PASS_ROUNDING if same_program else _OTHER_PROGRAM)
    return rounding if autocast is None else max(rounding, _AUTOCAST * torch.finfo(autocast).eps)


def autocast_type(inputs: Any) -> torch.dtype | None:
    """The type that autocast is on for, where the batch is; None where it is off."""
    device = next((x.device.type for x in tree_leaves(inputs) if isinstance(x, Tensor)), "cpu")
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
