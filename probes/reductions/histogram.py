"""Counts of values in bins."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from probes.network import View
from probes.reductions.reduction import TapReduction
from probes.reductions.units import chosen


@dataclass(frozen=True)
class Histogram(TapReduction):
    """(bins + 2,): counts below ``low``, in ``bins`` equal bins of [low, high), from ``high`` up; over all units.

    NaN is counted nowhere.
    """

    low: float
    high: float
    bins: int

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        return self.count(values.reshape(1, -1), [1])[0]

    def alike(self) -> Hashable | None:
        """See :class:`TapReduction`."""
        return (self.low, self.high, self.bins)

    @classmethod
    def together(cls, members: Sequence[Self], units: Tensor, places: Sequence[range]) -> Sequence[Tensor]:
        """See :class:`TapReduction`."""
        return members[0].count(chosen(units, places), [len(place) for place in places]).unbind()

    def count(self, rows: Tensor, widths: Sequence[int]) -> Tensor:
        """(groups, bins + 2) of consecutive groups of ``widths`` rows."""
        bins, groups = self.bins + 3, len(widths)
        counts = torch.zeros(groups * bins, dtype=torch.int64, device=rows.device)
        piece = 2**16 if rows.device.type == "cpu" else 2**24
        if groups == 1:
            parts: Iterable[Tensor] = rows.reshape(-1).split(piece)
        else:
            parts = rows.split(max(1, piece // max(rows.shape[1], 1)))
            offset = _offsets(tuple(widths), bins, rows.device)
        row = 0
        for part in parts:
            place = (part - self.low).mul_(self.bins / (self.high - self.low)).add_(1).clamp_(0, self.bins + 1)
            place = place.nan_to_num_(self.bins + 2).to(torch.int32)
            if groups > 1:
                place += offset[row : row + len(part)]
                row += len(part)
            # bincount reads the maximum, for which it waits for a GPU
            counts += torch.bincount(place.reshape(-1), minlength=groups * bins)
        return counts.view(groups, bins)[:, :-1]

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (self.bins + 2,)


@functools.lru_cache(maxsize=256)
def _offsets(widths: tuple[int, ...], bins: int, device: torch.device) -> Tensor:
    groups = torch.arange(len(widths), dtype=torch.int32)
    return (bins * groups.repeat_interleave(torch.tensor(widths))).to(device)[:, None]
