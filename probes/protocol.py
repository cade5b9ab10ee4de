"""What a probe is: it declares what it needs, and turns reductions into numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.points import Point
from probes.reductions import Reduction


@dataclass(frozen=True)
class Need:
    """One reduction at one point of one batch, by name ("train": the step's own; others are given to Probes)."""

    batch: str
    point: Point
    reduction: Reduction

    def __post_init__(self) -> None:
        # hundreds are looked up at a probed step, and the fields are nested; points without fields hash alike
        kinds = (type(self.point).__name__, type(self.reduction).__name__)
        object.__setattr__(self, "_hash", hash((self.batch, *kinds, self.point, self.reduction)))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Field:
    """What one key of a probe's answer is.

    Args:
        metric: name of the quantity; keys of one metric differ in batch, point or layer.
        unit: of the numbers ("loss": that of the objective, "1", "fraction", ...).
        reference: paper, equation or figure.
        batch, point: where it was measured; "none" where it belongs to none.
        dims: names of its axes. ("layer",), ("x",), ("layer", "x") and () are records; others are arrays.
        layer: names along "layer", or the one layer that an array belongs to.
        x: numbers along "x".
        shape: sizes of the axes; worked out from ``layer`` and ``x`` for records.
    """

    metric: str
    unit: str
    reference: str
    batch: str = "none"
    point: str = "none"
    dims: tuple[str, ...] = ()
    layer: tuple[str, ...] | None = None
    x: tuple[float, ...] | None = None
    shape: tuple[int, ...] | None = None

    def sizes(self) -> tuple[int, ...]:
        """The shape that the values must have."""
        if self.shape is not None:
            return self.shape
        known = {"layer": len(self.layer or ()), "x": len(self.x or ())}
        unknown = [name for name in self.dims if name not in known]
        if unknown:
            raise ProbeError(f"field {self.metric!r} has dims {unknown}: give its shape")
        return tuple(known[name] for name in self.dims)

    def as_json(self) -> dict[str, Any]:
        """The entry of fields.json."""
        return {
            "metric": self.metric,
            "dims": list(self.dims),
            "unit": self.unit,
            "batch": self.batch,
            "point": self.point,
            "layer": None if self.layer is None else list(self.layer),
            "x": None if self.x is None else list(self.x),
            "reference": self.reference,
        }


@dataclass(frozen=True)
class Declaration:
    """What a probe needs and what it will return.

    Args:
        needs: what must be evaluated.
        fields: one entry for each key of what ``measure`` returns.
        remember: those of ``needs`` whose values at the probe's previous and first probed step are also wanted.
        step_before: those of ``needs`` whose values at the training step just before the probed one are also wanted;
            that step is then evaluated too.
        nothing: why there is nothing to measure on this network, where ``fields`` are empty.
        modes: whether ``needs`` hold only while every batch normalisation keeps its training or evaluation mode.
    """

    needs: tuple[Need, ...]
    fields: Mapping[str, Field]
    remember: tuple[Need, ...] = ()
    modes: bool = False
    step_before: tuple[Need, ...] = ()
    nothing: str = ""


@dataclass(frozen=True)
class At:
    """One probed step, as a probe sees it. Every value is a float64 tensor on the CPU."""

    step: int
    learning_rate: float
    network: View
    values: Mapping[Need, Tensor] = field(repr=False)
    remembered: Mapping[str, Mapping[Need, Tensor]] = field(repr=False, default_factory=dict)
    own_rates: Mapping[str, float] = field(repr=False, default_factory=dict)
    """The learning rate of every trained parameter, where they differ; else empty, and ``learning_rate`` is of all."""

    def rate_of(self, parameters: Iterable[str]) -> float:
        """The learning rate that these trained parameters share; NaN where theirs differ."""
        if not self.own_rates:
            return self.learning_rate
        rates = {self.own_rates[name] for name in parameters}
        return rates.pop() if len(rates) == 1 else math.nan

    def __getitem__(self, need: Need) -> Tensor:
        try:
            return self.values[need]
        except KeyError:
            raise ProbeError(f"{need}: asked in measure, but not declared") from None

    def previous(self, need: Need) -> Tensor:
        """The value at the probe's previous *probed* step, however long ago; NaN at the first one."""
        return self._remembered("previous", need)

    def step_before(self, need: Need) -> Tensor:
        """The value at the training step just before this one (see ``step_before`` of Declaration); NaN at step 0."""
        return self._remembered("step_before", need)

    def first(self, need: Need) -> Tensor:
        """The value at the probe's first probed step; at that step itself, the present value."""
        return self._remembered("first", need)

    def _remembered(self, which: str, need: Need) -> Tensor:
        found = self.remembered.get(which, {}).get(need)
        if found is not None:
            return found
        return self[need] if which == "first" else torch.full_like(self[need], math.nan)


@runtime_checkable
class Probe(Protocol):
    """One class is one probe; its constructor's typed keyword arguments are its options.

    An attribute ``every`` (default 1) makes it measure at every that-many-th step of the base schedule.
    """

    def declare(self, network: View) -> Declaration:
        """What this probe needs of ``network``, and the fields of what it will return.

        Raises:
            ProbeError: an option does not fit the network.
        """

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """Pure: reductions in, one tensor for each declared field out; no state between steps."""


@runtime_checkable
class MakesBatches(Protocol):
    """What a probe may have besides: batches that are made of one, fixed once, of the training samples."""

    def made_of(self, inputs: Any, targets: Any) -> Mapping[str, tuple[Any, Any]]:
        """Name -> (inputs, targets), given to Probes under that name.

        Args:
            inputs, targets: of the fixed batch.

        Raises:
            ProbeError: it cannot be made of these.
        """


def layer_norms(values: Tensor, network: View, groups: Iterable[Sequence[str]]) -> Tensor:
    """(groups,): Euclidean norm over each group of parameters, from (parameters,) norms."""
    return layer_sums(values.square(), network, groups).sqrt()


def layer_sums(values: Tensor, network: View, groups: Iterable[Sequence[str]]) -> Tensor:
    """(groups,): sum over each group of parameters, from (parameters,) values."""
    groups = list(groups)
    places = [place for names in groups for place in network.places(names)]
    return group_sums(values[places], [len(names) for names in groups])


def group_sums(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """(..., groups): sums over consecutive groups of the last axis, of ``lengths`` members."""
    by_member = values.movedim(-1, 0).contiguous()
    return torch.segment_reduce(by_member, "sum", lengths=torch.tensor(lengths)).movedim(0, -1)
