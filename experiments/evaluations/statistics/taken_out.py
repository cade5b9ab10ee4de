"""No statistics at all: the normalisations taken out."""

from __future__ import annotations

from torch import nn

from experiments.data import Data
from experiments.evaluations.base import STATISTICS, Occasion, Statistics


@STATISTICS.register("taken_out")
class TakenOut(Statistics):
    """The network with every normalisation that has running statistics left out, its gamma and beta too.

    For whether it does anything at test time, as some deny: by their own weights gamma would have become the deviation
    and beta the mean.
    """

    def check(self, data: Data, holders: tuple[str, ...]) -> None:
        if not holders:
            raise ValueError("taken_out: no normalisation with running statistics is there to be taken out")

    def prepared(self, network: nn.Module, occasion: Occasion) -> nn.Module:
        for name in occasion.holders:
            network.set_submodule(name, nn.Identity())
        return network
