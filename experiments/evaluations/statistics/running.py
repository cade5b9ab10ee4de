"""The running statistics, as in evaluation mode."""

from __future__ import annotations

from experiments.evaluations.base import STATISTICS, Statistics


@STATISTICS.register("running")
class Running(Statistics):
    """Moving averages over the batches of training, of weights that have moved since (Ioffe & Szegedy 2015)."""
