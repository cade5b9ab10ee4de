"""Random numbers that are remembered over steps, and still a function of (seed, step, place)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probes import randomness

TRUNCATION = 1e-3
"""How far correlations may be from those of the process that they stand for."""


def uniform(place: str, correlation_time: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Independent stationary processes, each U(0, 1) at every step, at the current step; float32.

    They are Phi(z_t) with z_t = rho z_{t-1} + sqrt(1 - rho^2) e_t, e_t ~ N(0, 1), rho = 1 - 1 / correlation_time. Any
    step is had without those before it as the moving average of the last K draws,

        z_t = sum_{k < K} rho^k e_{t-k} / sqrt(sum_{k < K} rho^(2k)),

    which is exactly N(0, 1). Its correlation at lag s is rho^s (1 - rho^(2 (K - s))) / (1 - rho^(2 K)), and 0 from K
    on: off rho^s by at most rho^K, and K = ceil(log 1e-3 / log rho) holds that below 1e-3. Draws come in blocks of K
    steps, each from a generator of (seed, place, block).

    Args:
        place: where the numbers are drawn.
        correlation_time: in steps, more than 1; infinite: the same numbers at every step.
        shape: of the result.
        device: where they are drawn.
    """
    current = randomness.current()
    assert current is not None
    seed, step = current
    rho = 1.0 - 1.0 / correlation_time
    if rho == 1.0:
        return torch.special.ndtr(_normal(seed, place, 0, 1, shape, device)[0])
    window = math.ceil(math.log(TRUNCATION) / math.log(rho))
    block, within = divmod(step, window)
    last, this = (_normal(seed, place, number, window, shape, device) for number in (block - 1, block))
    draws = torch.cat([last[within + 1 :], this[: within + 1]])
    powers = rho ** torch.arange(window - 1, -1, -1, dtype=torch.float64)
    weights = (powers / powers.square().sum().sqrt()).to(draws)
    return torch.special.ndtr((weights.view(-1, *[1] * len(shape)) * draws).sum(0))


def _normal(seed: int, place: str, block: int, steps: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    generator = randomness.seeded_generator(device, seed, "drift", place, block)
    return torch.randn(steps, *shape, device=device, generator=generator)
