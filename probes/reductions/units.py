"""A tap unit by unit; a unit is a channel of (samples, channels, ...), a column of (samples, ..., features)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from probes.network import View

SMALL_TAP = 2**15
"""Numbers up to which taps are reduced together."""


def width(view: View, tap: str) -> int:
    """Number of units of a tap."""
    return view.leaf(tap).units


def units_second(values: Tensor, axis: int) -> Tensor:
    """``values`` with the axis of units in second place, as reductions read them; a view."""
    return values if values.ndim < 2 or axis % values.ndim == 1 else values.movedim(axis, 1)


def by_unit(values: Tensor) -> Tensor:
    """(units, observations) view or copy: every sample and place at which a unit was observed."""
    return values.detach().transpose(0, 1).flatten(1) if values.ndim > 1 else values.detach().reshape(1, -1)


def chosen(units: Tensor, places: Sequence[range]) -> Tensor:
    """(rows, samples): the rows of ``units`` at ``places``; no copy where these are one after the other."""
    if all(a.stop == b.start for a, b in itertools.pairwise(places)):
        return units[places[0].start : places[-1].stop]
    return torch.cat([units[place.start : place.stop] for place in places])
