"""Least squares with a condition number of one's choice: the toy of which theorems speak."""

from __future__ import annotations

import math

import torch

from experiments.data import DATA, Arrays
from experiments.errors import WrongInput
from probes.randomness import seeded_generator


@DATA.register("least_squares")
def least_squares(
    seed: int,
    *,
    dimension: int = 20,
    outputs: int = 1,
    samples: int = 1000,
    test_samples: int = 1000,
    condition: float = 1000.0,
    mean: float = 0.0,
    correlation: float = 0.0,
    noise: float = 0.0,
) -> Arrays:
    """Inputs x ~ N(mean 1, diag(eigenvalues)), targets <w, x> + noise e with w, e ~ N(0, 1), drawn for each output.

    The eigenvalues fall from 1 to 1 / condition, evenly in the logarithm (Kohler et al. 2019, arXiv:1805.10694, study
    such problems). With a correlation c, each two coordinates have that one, and the eigenvalues are the variances of
    the coordinates. Everything is drawn from the run's seed, each from a generator of its own.

    Args:
        seed: the run's seed.
        dimension: of x.
        outputs: targets of a sample: so many problems with the same inputs.
        samples: training samples.
        test_samples: test samples.
        condition: of the covariance of x, or with a correlation of its diagonal; at least 1.
        mean: of each coordinate of x.
        correlation: of each two coordinates of x; at least 0 and less than 1.
        noise: deviation of the noise on the targets; at least 0.

    Raises:
        WrongInput: a value out of range.
    """
    for name, value in (
        ("dimension", dimension),
        ("outputs", outputs),
        ("samples", samples),
        ("test_samples", test_samples),
    ):
        if value < 1:
            raise WrongInput(f"data.{name}={value}: must be a whole number of at least 1")
    for name, number, least in (("condition", condition, 1), ("noise", noise, 0)):
        if not least <= number < float("inf"):
            raise WrongInput(f"data.{name}={number}: must be a number of at least {least}")

    if not 0 <= correlation < 1:
        raise WrongInput(f"data.correlation={correlation}: must be at least 0 and less than 1")

    def normal(rows: int, columns: int, place: str) -> torch.Tensor:
        return torch.randn(rows, columns, generator=seeded_generator("cpu", seed, "least squares", place))

    deviations = torch.logspace(0.0, -0.5, dimension, base=condition)
    w = normal(dimension, outputs, "w")

    def drawn(rows: int, place: str) -> tuple[torch.Tensor, torch.Tensor]:
        own = normal(rows, dimension, f"{place} inputs")
        if correlation:  # a part of it is common to all coordinates
            common = normal(rows, 1, f"{place} inputs in common")
            own = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
        x = mean + own * deviations
        return x, x @ w + noise * normal(rows, outputs, f"{place} noise")

    return Arrays(*drawn(samples, "training"), *drawn(test_samples, "test"), None)
