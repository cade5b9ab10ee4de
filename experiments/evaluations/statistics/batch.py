"""The test batch's own statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from torch import nn

from experiments.data import Batch, Data
from experiments.evaluations.base import STATISTICS, Occasion, Statistics
from probes import statistics


@STATISTICS.register("batch")
class OfBatch(Statistics):
    """Those of the batch of test samples that a sample is in; all else is in evaluation mode (noise is off).

    Batches are mixed: drawn from the whole test set by the seed, the same at every step. They are as equal as can be,
    of ``batch_size`` samples and a share of those that would be left over.
    """

    def __init__(self, *, batch_size: int | None = None) -> None:
        """
        Args:
            batch_size: samples of a batch; null: as many as a training batch has, or the whole test set if that is
                smaller.
        """
        if batch_size is not None and batch_size < 2:
            raise ValueError(f"batch_size={batch_size}: must be at least 2, or null for that of training")
        self.batch_size = batch_size

    def check(self, data: Data, holders: tuple[str, ...]) -> None:
        if self.batch_size is not None and self.batch_size > data.test_size:
            raise ValueError(f"batch_size={self.batch_size}: the test set has {data.test_size} samples")

    def prepared(self, network: nn.Module, occasion: Occasion) -> nn.Module:
        for name in occasion.holders:  # for those that do not ask where their statistics come from
            network.get_submodule(name).training = True
        return network

    def test_batches(self, occasion: Occasion) -> Iterator[Batch]:
        return occasion.data.mixed_test_batches(self.batch_size or occasion.data.batch_size)

    def taken(self) -> AbstractContextManager[None]:
        return statistics.taken_from("batch")
