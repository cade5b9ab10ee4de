"""Statistics of a population: exact over many training batches, of the weights as they are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from experiments.data import Data
from experiments.evaluations.base import STATISTICS, Occasion, Statistics
from experiments.evaluations.holders import set_to_population

AT_MOST = 50
"""Whole batches by default: of 128 samples, a variance over vectors then is within 2 %, and finer over images."""


@STATISTICS.register("population")
class Population(Statistics):
    """Mean and variance of the union of k training batches, the spread of the batches' means included.

    Each normalisation's inputs are those of the test function itself: in evaluation mode (noise off), after the
    normalisations before it have taken their own population statistics. It is what one training batch of all these
    samples would give (Ioffe & Szegedy 2015, Algorithm 2, takes inputs normalised by each batch's own instead, so that
    its numbers depend on the size of the batches). The convention is that of the running statistics: torch's variance
    is the unbiased one, over m - 1 of m values; of ghost batches too it is that of the whole union.

    It costs, for each normalisation, a forward pass over the k batches that ends there.
    """

    def __init__(self, *, batches: int | Literal["all"] | None = None) -> None:
        """
        Args:
            batches: k, training batches of different samples, drawn by the seed and augmented as in training; all: the
                whole training set; null: as many whole ones as there are, at most 50.
        """
        if isinstance(batches, int) and batches < 1:
            raise ValueError(f"batches={batches}: must be at least 1, all, or null")
        self.batches = batches

    def check(self, data: Data, holders: tuple[str, ...]) -> None:
        if isinstance(self.batches, int) and self.batches > data.batches_of_all:
            raise ValueError(
                f"batches={self.batches}: the training set has {data.batches_of_all} batches; allowed: fewer, or all"
            )

    def prepared(self, network: nn.Module, occasion: Occasion) -> nn.Module:
        wanted = {None: min(occasion.data.steps_per_epoch, AT_MOST), "all": occasion.data.batches_of_all}
        count = self.batches if isinstance(self.batches, int) else wanted[self.batches]
        set_to_population(network, occasion, _fewest(occasion.data) if occasion.trial else count)
        return network


def _fewest(data: Data) -> int:
    """Batches for a trial: one, or as many as it takes for two samples of each domain."""
    if not data.domains:
        return 1
    seen = torch.zeros(len(data.domains), dtype=torch.int64)
    for place, batch in enumerate(data.population(data.batches_of_all)):
        assert batch.domain is not None
        seen += batch.domain.cpu().bincount(minlength=len(seen))
        if seen.min() >= 2:
            return place + 1
    return data.batches_of_all
