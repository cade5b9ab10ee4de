"""What a checkpoint does not hold: plain attributes of a user's modules that change while training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.discovery import is_users
from experiments.errors import WrongInput
from experiments.runtime import generator_states, restore_generator_states
from experiments.train import Training
from probes.engine.carried import Carried
from probes.randomness import at_step
from probes.statistics import in_domain_of

_MODULES_OWN = frozenset(vars(nn.Module()))


class Unsaved:
    """The plain attributes of the user's modules in a network, as they are before training.

    Args:
        network: the one that is going to be trained.
    """

    def __init__(self, network: nn.Module) -> None:
        users = any(is_users(type(module).__module__) for module in network.modules())
        self._start = _attributes(Carried(network).copy) if users else {}

    def check(self, training: Training, step: int, device: torch.device) -> None:
        """Refuses a network that would go on otherwise if it were built anew and given its parameters and buffers.

        One pass on the batch of ``step`` tells, from the attributes as they are and from those of the start: a cached
        activation is the same after both, a counter is not.

        Raises:
            WrongInput: it would; an attribute that is lost is named.
        """
        if _differing(self._start, _attributes(training.network)) is None:
            return
        as_it_is, anew = Carried(training.network).copy, Carried(training.network).copy
        for path, values in self._start.items():
            held = vars(anew.get_submodule(path))
            for name in held.keys() - _MODULES_OWN:
                del held[name]
            held.update(copy.deepcopy(values))
        batch, random = training.data.batch(step), generator_states(device)
        for network in (as_it_is, anew):
            with at_step(training.seed, step), in_domain_of(batch):
                training.objective(network, network, batch.inputs, batch.targets)
            restore_generator_states(random, device)
        lost = _differing(_attributes(anew), _attributes(as_it_is))
        if lost is not None:
            path, name = lost
            kind = type(training.network.get_submodule(path)).__name__
            raise WrongInput(
                f"{kind} at {path!r}: its attribute {name!r} changes while training, and a checkpoint holds "
                f"parameters and buffers only, so a run that goes on would forget it; "
                "keep it in a buffer (self.register_buffer)"
            )


def _attributes(network: nn.Module) -> dict[str, dict[str, Any]]:
    """Path -> plain attributes, of the user's modules."""
    return {
        path: {name: value for name, value in vars(module).items() if name not in _MODULES_OWN}
        for path, module in network.named_modules()
        if is_users(type(module).__module__)
    }


def _differing(a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """The first (path, name) at which two differ."""
    for path in a:
        for name in {**a[path], **b[path]}:
            if name not in a[path] or name not in b[path] or not _equal(a[path][name], b[path][name]):
                return path, name
    return None


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a.detach(), b.detach())
    if isinstance(a, nn.Module) and isinstance(b, nn.Module):
        return type(a) is type(b)  # what it holds is looked at in its own place
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    for state in ("get_state", "getstate", "__dict__"):  # of generators, of objects
        held = [getattr(x, state, None) for x in (a, b)]
        if held[0] is not None and not callable(a):
            return _equal(*(x() if callable(x) else x for x in held))
    try:
        return bool(a == b)
    except Exception:  # arrays, say, of which no single truth can be told
        return repr(a) == repr(b)
