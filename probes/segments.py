"""Along straight lines between samples: how often units change their sign, so that a hyperplane was crossed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import SignChanges


@dataclass(frozen=True)
class Segments:
    """Per layer with an activation function, how often what enters it changes its sign between two samples.

    Segments join the first and the second sample of the fixed batch, the third and the fourth, and so on, in the space
    of the network's inputs. ``sign_changes``: of a neuron along a segment, averaged over neurons and segments;
    ``constant_sign_share``: of the neurons, those with one sign at all points of all segments (Balestriero & Baraniuk
    2022, arXiv:2209.14778: where partitions lie beside the data).

    All points are one batch in train mode. Normalisations that take a batch's statistics take those of these points;
    those of the training set, which no point moves, they take with ``norm.statistics=population``.

    Args:
        points: of a segment, both ends included, at equal distances. What changes twice between two is not seen.
        layers: names; None for all.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: fewer than two points, a batch of fewer than two samples, or of no floating-point inputs.
    """

    points: int = 65
    layers: tuple[str, ...] | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.points < 2:
            raise ProbeError(f"segments points={self.points}: must be at least 2")

    @property
    def batch(self) -> str:
        """The name of the batch of all points; segments of other points are another batch."""
        return f"segments of {self.points} points"

    def made_of(self, inputs: Any, targets: Any) -> Mapping[str, tuple[Tensor, Tensor]]:
        """See :class:`probes.protocol.MakesBatches`. Targets are those of the nearer end."""
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or len(inputs) < 2:
            told = (
                f"not {len(inputs)}" if isinstance(inputs, Tensor) and len(inputs) < 2 else "each one tensor of numbers"
            )
            raise ProbeError(f"segments: the fixed batch (probes.fixed_batch) must be two samples or more, {told}")
        first, second = inputs[: len(inputs) // 2 * 2].unflatten(0, (-1, 2)).unbind(1)
        share = torch.linspace(0, 1, self.points, dtype=inputs.dtype, device=inputs.device)
        way = share.view(1, -1, *(1 for _ in inputs.shape[1:]))
        points = torch.lerp(first[:, None], second[:, None], way).flatten(0, 1)
        ends = targets[: len(inputs) // 2 * 2].unflatten(0, (-1, 2))
        return {self.batch: (points, ends[:, (share > 0.5).long()].flatten(0, 1))}

    def _taps(self, network: View) -> dict[str, str]:
        """Layer -> what enters its activation function."""
        found = {}
        for layer in network.select(self.layers):
            tap = layer.after_normalisation or layer.before_normalisation
            if layer.activation is not None and tap is not None:
                found[layer.name] = tap
        return found

    def _need(self, tap: str) -> Need:
        return Need(self.batch, Before(), SignChanges(tap, self.points))

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`. A network without an activation function has no fields."""
        taps = self._taps(network)
        fields = {
            metric: Field(metric, unit, reference, "segments", "before", dims=("layer",), layer=tuple(taps))
            for metric, unit, reference in _RECORDS
        }
        needs = tuple(self._need(tap) for tap in taps.values())
        return Declaration(needs, fields if taps else {}, nothing="" if taps else "no layer has an activation function")

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        taps = self._taps(at.network)
        if not taps:
            return {}
        found = torch.stack([at[self._need(tap)] for tap in taps.values()], 1)
        return dict(zip((metric for metric, *_ in _RECORDS), found, strict=True))


_RECORDS = (
    ("sign_changes", "1", "of a neuron along a segment between two samples; Balestriero & Baraniuk 2022"),
    ("constant_sign_share", "fraction", "of neurons with one sign on all segments"),
)
