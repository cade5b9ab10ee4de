"""Each domain's own population statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from experiments.data import Data
from experiments.evaluations.base import STATISTICS, Occasion, Statistics
from experiments.evaluations.holders import set_to_population
from experiments.evaluations.statistics.population import AT_MOST
from probes import statistics
from probes.engine.carried import Carried


@STATISTICS.register("domain")
class OfDomain(Statistics):
    """Mean and variance over training samples of a sample's own domain, however the network was trained.

    As :class:`experiments.evaluations.statistics.population.Population` takes them, for each domain by itself (adaptive
    batch normalisation: Li et al. 2016, arXiv:1603.04779).
    """

    def __init__(self, *, batches: int | Literal["all"] | None = None) -> None:
        """
        Args:
            batches: training batches of each domain; all: all its samples; null: as many whole ones as there are, at
                most 50, and one that is not whole where there is none.
        """
        if isinstance(batches, int) and batches < 1:
            raise ValueError(f"batches={batches}: must be at least 1, all, or null")
        self.batches = batches

    def check(self, data: Data, holders: tuple[str, ...]) -> None:
        if not data.domains:
            raise ValueError("domain: these data have no domains")
        if not holders:
            raise ValueError("domain: no normalisation with running statistics is there to take the domains' own")
        for place, name in enumerate(data.domains):
            most = data.trained_in(place).batches_of_all
            if isinstance(self.batches, int) and self.batches > most:
                raise ValueError(f"batches={self.batches}: domain {name!r} has {most} batches; allowed: fewer, or all")

    def prepared(self, network: nn.Module, occasion: Occasion) -> nn.Module:
        found = []
        for place in range(len(occasion.data.domains)):
            own = occasion.data.trained_in(place)
            count = max(1, min(own.steps_per_epoch, AT_MOST)) if self.batches is None else own.batches_of_all
            count = self.batches if isinstance(self.batches, int) else count
            found.append(Carried(network).copy.eval())
            set_to_population(found[-1], replace(occasion, data=own), 1 if occasion.trial else count)
        return _ByDomain(found)


class _ByDomain(nn.Module):
    """Gives each sample to the network of its domain."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        domain = statistics.domains(len(x), x.device)
        assert domain is not None
        rows, outputs = [], []
        for place in domain.unique().tolist():
            rows.append((domain == place).nonzero().squeeze(1))
            with statistics.in_domain(domain[rows[-1]]):
                outputs.append(self.networks[place](x[rows[-1]]))
        return torch.cat(outputs)[torch.cat(rows).argsort()]
