"""Independent draws, as theory often assumes."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.data.orders import ORDERS, Order, Samples
from probes.randomness import seeded_generator


@ORDERS.register("with_replacement")
def with_replacement(samples: Samples) -> Order:
    """Every sample of every batch is drawn from all, independently, from (seed, t); a batch may have one twice."""

    def order(step: int) -> Tensor:
        generator = seeded_generator("cpu", samples.seed, step, "data order with replacement")
        return torch.randint(samples.count, (samples.batch_size,), generator=generator).to(samples.device)

    return order
