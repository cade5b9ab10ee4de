"""The training function once more: the batch's own statistics, and noise drawn afresh."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from experiments.data import Batch
from experiments.evaluations.base import STATISTICS, Occasion
from experiments.evaluations.statistics.batch import OfBatch
from probes.randomness import at_step, derived_seed


@STATISTICS.register("redrawn")
class Redrawn(OfBatch):
    """Training mode: statistics of a batch of mixed samples, and noise that no step of training draws.

    Each batch has a draw of its own, a function of seed, step and the batch's place. Noise that is remembered over
    steps is a fresh one of the same law, not what this run's has become. Without noise it is what ``batch`` gives.
    """

    def prepared(self, network: nn.Module, occasion: Occasion) -> nn.Module:
        for name in occasion.holders:
            module = network.get_submodule(name)
            other = getattr(module, "statistics", "batch") != "batch" or hasattr(module, "r_max")
            if other or getattr(module, "frozen_after", None) is not None:
                told = f"redrawn: {name}, a {type(module).__name__},"
                raise ValueError(f"{told} does not train by the batch's own statistics alone, which are taken here")
        return network.train()

    def test_batches(self, occasion: Occasion) -> Iterator[Batch]:
        for place, batch in enumerate(super().test_batches(occasion)):
            self._drawn = derived_seed(occasion.data.seed, occasion.step, "redrawn", place)
            yield batch

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        with super().taken(), at_step(self._drawn, 0):
            yield
