"""A linear layer for networks that are trained on many samples of few units at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SamplesSideBySide(nn.Linear):
    """torch's linear layer, its output laid out so that the samples of one unit are neighbours in memory.

    All that goes over the batch (statistics, the gradient of W) then runs along memory: with 1,000 samples of ten units
    a step of 25 such layers takes less than half the time. The numbers are the same up to rounding.
    """

    holds_all = True  # nothing beside weight and bias: see probes.engine.hooks.torchs_own

    def forward(self, input: Tensor) -> Tensor:
        """W x + b, (samples, outputs) with strides (1, samples), of an input (samples, inputs) of any strides."""
        if self.bias is None:
            return (self.weight @ input.t()).t()
        return torch.addmm(self.bias[:, None], self.weight, input.t()).t()


LINEAR: tuple[type[nn.Linear], ...] = (nn.Linear, SamplesSideBySide)
"""The layers that compute W x + b and nothing else, by their exact class."""
