"""Everything random is a function of (seed, step, place).

A layer that draws (Algorithm 1's noise, dropout) asks :func:`generator` for a generator of its own. Inside
:func:`at_step` that generator is a function of the run's seed, the training step and the layer's place in the network,
so evaluating the loss again on the same step draws the same numbers, in whatever order and however often.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
from collections.abc import Iterator

import torch

_current: contextvars.ContextVar[tuple[int, int] | None] = contextvars.ContextVar("seed_and_step", default=None)


def derived_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) from any parts, for example (seed, step, place): equal parts, equal seed, on any machine."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextlib.contextmanager
def at_step(seed: int, step: int) -> Iterator[None]:
    """Within it, random layers draw what belongs to training step ``step`` of a run with seed ``seed``."""
    token = _current.set((seed, step))
    try:
        yield
    finally:
        _current.reset(token)


def current() -> tuple[int, int] | None:
    """The run's seed and the step that :func:`at_step` says; None outside it."""
    return _current.get()


def generator(place: str, device: torch.device | str) -> torch.Generator | None:
    """The generator of the layer at ``place`` for the current step; None (torch's global one) outside ``at_step``.

    Args:
        place: the layer's qualified name in its network; two layers of one place draw the same numbers.
        device: where the random numbers are made.
    """
    current = _current.get()
    if current is None:
        return None
    return seeded_generator(device, *current, place)


def seeded_generator(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """A fresh generator on ``device`` whose seed is a function of ``parts`` alone."""
    result = torch.Generator(device=device)
    result.manual_seed(derived_seed(*parts))
    return result
