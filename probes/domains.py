"""Where running averages lie between the statistics of two domains, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.network import View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import BufferValues, DomainMoments


@dataclass(frozen=True)
class Domains:
    """Per layer whose normalisation keeps a running mean r and a running variance s that its domains share.

    Of the samples of one batch in what enters the normalisation, in train mode and before the update, by domain
    k = 0, 1 and unit: mean m_k and (biased) variance v_k; w = (v_0 + v_1) / 2 + (m_1 - m_0)^2 / 4 is the variance of
    both in equal shares. Sums are over units.

    ``running_mean_position`` = sum (r - m_0) (m_1 - m_0) / sum (m_1 - m_0)^2: 0 at the first domain's means, 1 at the
    second's; ``running_variance_position``, the same of s, v_0, v_1. ``running_variance_share`` = sum s / sum w: 1
    where s is the variance that both have together; ``between_domains_share`` = sum (m_1 - m_0)^2 / 4 / sum w: what of
    it lies between their means, which averages over batches of one domain each never see (Irpan 2017). NaN where the
    batch lacks a domain.

    Args:
        layers: names; None for all that have such averages.
        batch: "fixed", or another that is given to Probes; "train" is the step's own.
        every: measure at every that-many-th step of the base schedule.
    """

    layers: tuple[str, ...] | None = None
    batch: str = "fixed"
    every: int = 1

    def _averaged(self, network: View) -> dict[str, tuple[Need, Need, Need]]:
        """layer -> running mean and variance, the domains' moments."""
        found = {}
        for layer in network.select(self.layers):
            if layer.normalisation is None or layer.before_normalisation is None:
                continue
            leaf = network.leaf(layer.normalisation)
            names = [f"{leaf.module}.{which}" for which in ("running_mean", "running_var")]
            if all(len(network.buffers.get(name, ())) == 1 for name in names):
                # the point is the batch's own: what the network holds is the same on every batch
                mean, variance = (Need(self.batch, Before(), BufferValues(name)) for name in names)
                found[layer.name] = (
                    mean,
                    variance,
                    Need(self.batch, Before(), DomainMoments(layer.before_normalisation)),
                )
        return found

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`. A network without shared averages has no fields."""
        found = self._averaged(network)
        if not found:
            return Declaration(
                (), {}, nothing="no layer's normalisation has a running mean and variance for all domains"
            )
        fields = {
            key: Field(key, unit, reference, self.batch, "before", dims=("layer",), layer=tuple(found))
            for key, (unit, reference) in _RECORDS.items()
        }
        return Declaration(tuple(need for three in found.values() for need in three), fields)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        rows = [_of_layer(*(at[need] for need in needs)) for needs in self._averaged(at.network).values()]
        return dict(zip(_RECORDS, torch.stack(rows, 1), strict=True)) if rows else {}


def _of_layer(mean: Tensor, variance: Tensor, moments: Tensor) -> Tensor:
    (m0, v0), (m1, v1) = moments
    between = (m1 - m0).square() / 4
    whole = ((v0 + v1) / 2 + between).sum()
    return torch.stack(
        [_position(mean, m0, m1), _position(variance, v0, v1), variance.sum() / whole, between.sum() / whole]
    )


def _position(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Of x's projection on the line from start to end: 0 at the one, 1 at the other."""
    line = end - start
    return ((x - start) * line).sum() / line.square().sum()


_PAPER = "Irpan 2017, moving averages of batches of one domain each"
_RECORDS = {
    "running_mean_position": ("1", f"{_PAPER}: 0 at the first domain's means, 1 at the second's"),
    "running_variance_position": ("1", f"{_PAPER}: 0 at the first domain's variances, 1 at the second's"),
    "running_variance_share": ("1", "running variance over the variance of both domains together"),
    "between_domains_share": ("fraction", "of the variance of both domains together, between their means"),
}
