"""The global random generators, so that an evaluation can draw what training drew and leave no trace."""

from __future__ import annotations

import random
import sys
from typing import Any

import torch


class RandomState:
    """State of the global generators: torch's on the CPU and on the network's device, Python's, and numpy's.

    numpy's is looked at where it has been imported; nothing here imports it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.host = torch.get_rng_state()
        self.accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self.python = random.getstate()
        legacy = _numpy_random()
        self.numpy = None if legacy is None else legacy.get_state(legacy=False)

    def restore(self) -> None:
        """Puts the generators back to this state."""
        torch.set_rng_state(self.host)
        if self.accelerator is not None:
            torch.cuda.set_rng_state(self.accelerator, self.device)
        if random.getstate() != self.python:  # five times faster to see than to set
            random.setstate(self.python)
        if self.numpy is not None:
            _numpy_random().set_state(self.numpy)

    def same(self, other: RandomState) -> bool:
        """Whether nothing was drawn between the two."""
        tensors = [(self.host, other.host)]
        if self.accelerator is not None and other.accelerator is not None:
            tensors.append((self.accelerator, other.accelerator))
        drawn = not all(torch.equal(a, b) for a, b in tensors) or self.python != other.python
        return not drawn and _plain(self.numpy) == _plain(other.numpy)


def _plain(state: Any) -> Any:
    """A state of numpy's with lists in place of its arrays."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if hasattr(state, "tolist") else state


def _numpy_random() -> Any:
    """numpy's module of random numbers, None where nothing has imported it."""
    return sys.modules.get("numpy.random")
