"""The running statistics, folded into the layers before."""

from __future__ import annotations

import itertools

from torch import nn

from experiments.data import Data
from experiments.evaluations.base import STATISTICS, Occasion, Statistics
from experiments.norms.fold import fold


@STATISTICS.register("folded")
class Folded(Statistics):
    """Weights and biases with the normalisations folded into them, see :func:`experiments.norms.fold.fold`.

    The running statistics' function to rounding; it says how much rounding costs.
    """

    def check(self, data: Data, holders: tuple[str, ...]) -> None:
        if not holders:
            raise ValueError("folded: no normalisation with running statistics is there to be folded")

    def prepared(self, network: nn.Module, occasion: Occasion) -> nn.Module:
        tensors = itertools.chain(network.parameters(), network.buffers())
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):  # a result; its function is no map at all
            return network
        return fold(network)
