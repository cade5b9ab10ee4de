"""Gaussian samples with the sign of a linear function for a target: what a linear model can separate."""

from __future__ import annotations

import torch

from experiments.data import DATA, Arrays
from experiments.errors import WrongInput
from probes.randomness import seeded_generator


@DATA.register("gaussian_signs")
def gaussian_signs(seed: int, *, dimension: int = 50, samples: int = 45, test_samples: int = 1000) -> Arrays:
    """Inputs x ~ N(0, I), targets sign <w, x> with w ~ N(0, I), each 1 or -1, for `optim.criterion=logistic`.

    With no more samples than dimensions any signs are linearly separable, and all margins can be made alike (Cao et al.
    2023, arXiv:2306.11680, whose theory has such data). All is drawn from the run's seed, each from a generator of its
    own.

    Args:
        seed: the run's seed.
        dimension: of x.
        samples: training samples.
        test_samples: test samples.

    Raises:
        WrongInput: a value out of range.
    """
    for name, value in (("dimension", dimension), ("samples", samples), ("test_samples", test_samples)):
        if value < 1:
            raise WrongInput(f"data.{name}={value}: must be a whole number of at least 1")

    def normal(rows: int, columns: int, place: str) -> torch.Tensor:
        return torch.randn(rows, columns, generator=seeded_generator("cpu", seed, "gaussian signs", place))

    w = normal(dimension, 1, "w")
    train, test = normal(samples, dimension, "training inputs"), normal(test_samples, dimension, "test inputs")
    # in float64, where no product is 0 by rounding
    return Arrays(train, _signs(train, w), test, _signs(test, w), None)


def _signs(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.where(x.double() @ w.double() >= 0, 1.0, -1.0).float()
