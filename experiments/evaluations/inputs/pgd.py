"""Adversarial inputs: projected gradient ascent on the loss (Madry et al. 2018, arXiv:1706.06083)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.data import Batch, Data
from experiments.evaluations.base import INPUTS, Inputs, Occasion


@INPUTS.register("pgd")
class ProjectedGradient(Inputs):
    """x <- P(x + step_size sign(d loss / d x)), ``steps`` times, from a random point of the ball.

    P keeps x in the ball ||x - x_0||_inf <= radius and, of images, between black and white. The loss is the data loss
    by the statistics that the network is evaluated with; a batch's own are part of what is differentiated.
    """

    def __init__(
        self, *, radius: float = 8 / 255, steps: int = 10, step_size: float | None = None, random_start: bool = True
    ) -> None:
        """
        Args:
            radius: of the ball; of images 1 is from black to white, whatever they are standardised by.
            steps: of ascent.
            step_size: of each, in the unit of the radius; null: 2.5 radius / steps.
            random_start: from a point drawn uniformly from the ball, by seed and step; else from the sample itself.
        """
        for name, value in (("radius", radius), ("steps", steps), ("step_size", step_size)):
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}: must be more than 0")
        self.radius, self.steps, self.random_start = radius, steps, random_start
        self.step_size = 2.5 * radius / steps if step_size is None else step_size

    def check(self, data: Data) -> None:
        if data.spec.task != "classification":
            raise ValueError(f"pgd: attacks what is classified; the task of these data is {data.spec.task}")

    def changed(self, batch: Batch, forward: Callable[[Tensor], Tensor], occasion: Occasion, place: int) -> Tensor:
        start, radius = batch.inputs, self.radius * occasion.unit
        low, high = start - radius, start + radius
        if (ends := occasion.data.valid_range) is not None:
            low, high = torch.maximum(low, ends[0]), torch.minimum(high, ends[1])
        x = start
        if self.random_start:
            drawn = torch.rand(start.shape, generator=occasion.generator(place)).to(start)
            x = torch.clamp(start + radius * (2.0 * drawn - 1.0), low, high)
        for _ in range(self.steps):
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                loss = occasion.objective.data_loss(forward(x), batch.targets)
                (gradient,) = torch.autograd.grad(loss, x)
            x = torch.clamp(x.detach() + self.step_size * occasion.unit * gradient.sign(), low, high)
        return x.detach()
