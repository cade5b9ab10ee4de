"""Where normalisations take their statistics from, and which samples belong together: set by context.

A normalisation takes the statistics of the batch in training mode and its running ones in evaluation mode. Inside
:func:`taken_from` it takes them from where that says, whatever its mode, and its running ones stay as they are. Inside
:func:`in_domain` each sample belongs to a domain (a data set, say), for normalisations that keep domains apart. Inside
:func:`of_population` those that train by a population's statistics have them, as functions of the parameters.

It is the modules that ask (:func:`of_batch`, :func:`held`, :func:`domains`, :func:`population`): those of this suite,
and torch's own batch normalisation where it was told to.
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
from torch import Tensor, nn

from probes.errors import ProbeError
from probes.generators import RandomState

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

_Moments = dict[str, tuple[Tensor, ...]]
_gathered: contextvars.ContextVar[_Moments | None] = contextvars.ContextVar("gathered", default=None)
_population: contextvars.ContextVar[_Moments | None] = contextvars.ContextVar("population", default=None)


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


def asks_for_population(network: nn.Module) -> bool:
    """Whether a module of ``network`` trains by a population's statistics: its attribute ``statistics`` says so."""
    return any(getattr(module, "statistics", None) == "population" for module in network.modules())


@contextlib.contextmanager
def of_population(network: nn.Module, inputs: Tensor | None) -> Iterator[None]:
    """Within it, modules of ``network`` that ask have statistics of ``inputs`` at the network's present parameters.

    They come from one pass of the inputs through the network in which each such module normalises by the moments of
    what it is given, so that a batch of all of the inputs would be the same function. The pass stays in the graph, so
    a gradient goes through all of them. Nothing moves in it, no hook of the network itself notices it, and the global
    generators are put back. There is none where nobody asks: in evaluation mode, or inside :func:`taken_from`.

    Args:
        network: as it trains.
        inputs: (samples, ...), in the type of the network or another; None: there is no population.

    Raises:
        ProbeError: a module is reached twice in the pass.
    """
    asked = inputs is not None and network.training and chosen() is None and asks_for_population(network)
    if inputs is None or not asked:
        yield
        return
    first = next(parameter for parameter in network.parameters() if parameter.is_floating_point())
    found: _Moments = {}
    random, token = RandomState(first.device), _gathered.set(found)
    try:
        network.forward(inputs.to(first.device, first.dtype if inputs.is_floating_point() else inputs.dtype))
    finally:
        _gathered.reset(token)
        random.restore()
    token = _population.set(found)
    try:
        yield
    finally:
        _population.reset(token)


def gathering() -> bool:
    """Whether the pass goes on here in which a population's statistics are found."""
    return _gathered.get() is not None


def gather(place: str, moments: tuple[Tensor, ...]) -> None:
    """Takes a module's moments of what it is given in that pass, for :func:`population` to give back."""
    found = _gathered.get()
    assert found is not None
    if place in found:
        raise ProbeError(f"statistics: {place or 'a module without a place'!r} is reached twice in one pass")
    found[place] = moments


def population(place: str) -> tuple[Tensor, ...]:
    """What a module has gathered of the population.

    Raises:
        ProbeError: outside :func:`of_population`, or the module was not reached.
    """
    found = _population.get()
    if found is None or place not in found:
        what = "no population is given" if found is None else "the population did not reach this module"
        raise ProbeError(
            f"statistics of a population for {place or 'a module without a place'!r}: {what}; train within "
            "statistics.of_population(network, inputs), as Objective(..., population=inputs) does"
        )
    return found[place]


def chosen() -> Source | None:
    """What :func:`taken_from` says here; None outside it."""
    return _source.get()


def of_batch(training: bool) -> bool:
    """Whether a module takes the batch's statistics here, in training mode or not."""
    source = _source.get()
    return training if source is None else source == "batch"


def moves(training: bool) -> bool:
    """Whether the running statistics follow the batch's here."""
    return training and _source.get() is None and not gathering()


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
