"""The running statistics, mixed with those of the example itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from experiments.data import Data
from experiments.evaluations.base import STATISTICS, Occasion, Statistics
from experiments.evaluations.holders import of_moments
from experiments.norms.batch import BatchStatistics


@STATISTICS.register("weighed")
class Weighed(Statistics):
    """Inference example weighing (Summers & Dinneen 2020, arXiv:1906.03548, section 3.1).

    For each example i and unit, with the mean m_i and the mean square of its own values over height and width, and with
    the running mean m and variance v,

        mean = (1 - a) m + a m_i,   mean square = (1 - a) (v + m^2) + a E[x_i^2],   variance = mean square - mean^2,

    which is (1 - a) v + a v_i + a (1 - a) (m_i - m)^2, v_i the example's own (biased) variance. So training's
    normalisation, in which an example is 1/B of its batch, is approached. a is to be chosen on other samples than those
    it is judged on (``data: part``). The running variance is torch's, the unbiased one.
    """

    def __init__(self, *, weight: float) -> None:
        """
        Args:
            weight: a, of the example's own statistics, from 0 to 1.
        """
        if not 0 <= weight <= 1:
            raise ValueError(f"weight={weight:g}: must be from 0 to 1")
        self.weight = weight

    def check(self, data: Data, holders: tuple[str, ...]) -> None:
        if not holders:
            raise ValueError("weighed: no normalisation with running statistics is there")

    def prepared(self, network: nn.Module, occasion: Occasion) -> nn.Module:
        for name in occasion.holders:
            module = network.get_submodule(name)
            if not _usual(module):
                raise ValueError(f"weighed: {name}, a {type(module).__name__}, is no batch normalisation as published")
            module.register_forward_hook(self._normalised)
        return network

    def _normalised(self, module: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (x,), a = given, self.weight
        rows = (1, -1, *[1] * (x.ndim - 2))
        variance, mean = (part.view(rows) for part in (module.running_var, module.running_mean))
        places = list(range(2, x.ndim))
        own_mean = x.mean(places, keepdim=True) if places else x
        own_variance = x.var(places, correction=0, keepdim=True) if places else torch.zeros_like(x)
        mixed = (1 - a) * variance + a * own_variance + a * (1 - a) * (own_mean - mean).square()
        found = (x - ((1 - a) * mean + a * own_mean)) * torch.rsqrt(mixed + module.eps)
        if module.weight is None:
            return found
        return found * module.weight.view(rows) + module.bias.view(rows)


def _usual(module: nn.Module) -> bool:
    """Whether it takes (x - mean) / sqrt(variance + eps), also of ghost batches."""
    if isinstance(module, BatchStatistics):
        return of_moments(module) and module.center == 1 and module.scale
    return of_moments(module) and isinstance(module, nn.modules.batchnorm._BatchNorm)
