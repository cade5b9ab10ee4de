"""Mean and variance of units, of each of two domains by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes import statistics
from probes.errors import ProbeError
from probes.network import View
from probes.reductions.reduction import TapReduction
from probes.reductions.units import width

DOMAINS = 2


@dataclass(frozen=True)
class DomainMoments(TapReduction):
    """(2, 2, units): mean and (biased) variance of each unit over the samples of domain 0, then over those of domain 1.

    Domains are those of the context (:func:`probes.statistics.in_domain`). NaN for one that the batch has none of.

    Raises:
        ProbeError: the samples belong to no domain, or to more than two.
    """

    def reduce(self, values: Tensor) -> Tensor:
        """See :class:`TapReduction`."""
        domain = statistics.domains(len(values), values.device)
        if domain is None:
            raise ProbeError("domains: the samples of this batch belong to no domain; take data with domains")
        if int(domain.max()) >= DOMAINS:
            raise ProbeError(f"domains: a sample is of domain {int(domain.max())}; there must be two, 0 and 1")
        found = []
        for place in range(DOMAINS):
            own = values[domain == place].double().transpose(0, 1).flatten(1)
            mean = own.mean(1)
            found.append(torch.stack([mean, (own - mean[:, None]).square().mean(1)]))
        return torch.stack(found)

    def shape(self, view: View, names: Sequence[str], samples: int) -> tuple[int, ...]:
        """See :class:`Reduction`."""
        return (DOMAINS, 2, width(view, self.tap))

    def working_bytes(self, view: View, tap_bytes: dict[str, int]) -> float:  # type: ignore[override]
        """See :class:`Reduction`. Half of the tap in float64, and its deviations."""
        return 4 * tap_bytes.get(self.tap, 0)
