"""Gaussian noise on the inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.data import Batch
from experiments.evaluations.base import INPUTS, Inputs, Occasion


@INPUTS.register("noise")
class Noise(Inputs):
    """x + n with n ~ N(0, deviation^2), drawn anew for each number of an input, by seed and step.

    What leaves the range of valid values stays outside, so that the deviation is what it says.
    """

    def __init__(self, *, deviation: float = 0.1) -> None:
        """
        Args:
            deviation: of the noise; of images 1 is from black to white, whatever they are standardised by.
        """
        if not deviation > 0:
            raise ValueError(f"deviation={deviation}: must be more than 0")
        self.deviation = deviation

    def changed(self, batch: Batch, forward: Callable[[Tensor], Tensor], occasion: Occasion, place: int) -> Tensor:
        drawn = torch.randn(batch.inputs.shape, generator=occasion.generator(place)).to(batch.inputs)
        return batch.inputs + self.deviation * occasion.unit * drawn
