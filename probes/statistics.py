"""Where normalisations take their statistics from, and which samples belong together: set by context.

A normalisation takes the statistics of the batch in training mode and its running ones in evaluation mode. Inside
:func:`taken_from` it takes them from where that says, whatever its mode, and its running ones stay as they are. Inside
:func:`in_domain` each sample belongs to a domain (a data set, say), for normalisations that keep domains apart.

It is the modules that ask (:func:`of_batch`, :func:`held`, :func:`domains`): those of this suite, and torch's own batch
normalisation where it was told to.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from probes.errors import ProbeError

Source = Literal["batch", "running"] | Mapping[str, Tensor]
"""The batch's, the running ones, or given ones by the qualified names of the buffers that hold the running ones
("fc1.norm.running_mean"), as they stand in a state dict."""


@dataclass(frozen=True)
class Given:
    """Given statistics, as :data:`Source` has them by name; compared by their contents, SHA-256."""

    values: Mapping[str, Tensor] = field(repr=False, compare=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for name, value in sorted(self.values.items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        object.__setattr__(self, "digest", digest.hexdigest())


_source: contextvars.ContextVar[Source | None] = contextvars.ContextVar("source", default=None)
_domain: contextvars.ContextVar[Tensor | None] = contextvars.ContextVar("domain", default=None)


@contextlib.contextmanager
def taken_from(source: Source) -> Iterator[None]:
    """Within it, statistics come from ``source``, whatever a module's mode, and the running ones do not move.

    Given ones may require a gradient (those of a whole training set, say); others are constants.

    Raises:
        ProbeError: an unknown source. Where given ones lack one that a module needs, that module raises it.
    """
    if not isinstance(source, Mapping) and source not in ("batch", "running"):
        raise ProbeError(f"statistics: source={source!r} must be batch, running, or given ones by name")
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


@contextlib.contextmanager
def in_domain(domain: Tensor | int) -> Iterator[None]:
    """Within it, samples belong to domains: (samples,) whole numbers from 0 on, or one number for all of them."""
    token = _domain.set(torch.as_tensor(domain))
    try:
        yield
    finally:
        _domain.reset(token)


def in_domain_of(batch: Any) -> AbstractContextManager[None]:
    """:func:`in_domain` of what a batch carries as its attribute ``domain``; where that is missing or None, nothing."""
    domain = getattr(batch, "domain", None)
    return contextlib.nullcontext() if domain is None else in_domain(domain)


def chosen() -> Source | None:
    """What :func:`taken_from` says here; None outside it."""
    return _source.get()


def of_batch(training: bool) -> bool:
    """Whether a module takes the batch's statistics here, in training mode or not."""
    source = _source.get()
    return training if source is None else source == "batch"


def moves(training: bool) -> bool:
    """Whether the running statistics follow the batch's here."""
    return training and _source.get() is None


def held(place: str, **own: Tensor) -> tuple[Tensor, ...]:
    """A module's statistics that are not the batch's: given ones, else its own running ones.

    Args:
        place: the module's qualified name in its network.
        own: its buffers, by name.

    Raises:
        ProbeError: some are given, but not this one, or not of its shape.
    """
    given = _source.get()
    if not isinstance(given, Mapping):
        return tuple(own.values())
    found = []
    for name, buffer in own.items():
        key = f"{place}.{name}" if place else name
        if key not in given:
            raise ProbeError(f"statistics: {key} is not among the given ones ({', '.join(sorted(given)) or 'none'})")
        value = given[key].to(buffer)
        if value.shape != buffer.shape:
            raise ProbeError(f"statistics: {key} is given of shape {tuple(value.shape)}, not {tuple(buffer.shape)}")
        found.append(value)
    return tuple(found)


def domains(samples: int, device: torch.device) -> Tensor | None:
    """Each sample's domain, (samples,) whole numbers; None outside :func:`in_domain`.

    Raises:
        ProbeError: there are domains of another number of samples.
    """
    domain = _domain.get()
    if domain is None:
        return None
    if domain.ndim == 0:
        domain = domain.expand(samples)
    if domain.shape != (samples,):
        raise ProbeError(f"statistics: domains of shape {tuple(domain.shape)} are set for {samples} samples")
    return domain.to(device)
