"""The regression that the deep linear network learns in Santurkar et al. (2018), figures 3(b), 5(b), 9 to 11 and 13."""

from __future__ import annotations

import torch

from experiments.data import DATA, Arrays
from experiments.errors import WrongInput
from probes.randomness import seeded_generator


@DATA.register("gaussian")
def gaussian(
    seed: int,
    *,
    dimension: int = 10,
    samples: int = 1000,
    test_samples: int = 1000,
    x_variance: float = 1.0,
    a_variance: float = 1.0,
) -> Arrays:
    """Inputs x ~ N(0, x_variance I) of ``dimension`` d, targets A x with A (d, d) i.i.d. N(0, a_variance).

    A, training and test inputs are drawn from the run's seed, so that an interval over seeds covers the data too; each
    from a generator of its own, so that more samples leave A and the other set as they are. Test targets use the same
    A. The published variances are not stated; the paper's summed loss starts near 3.5e4, with unit variances near 1e5
    (and half of that if the loss has a factor 1/2).

    Args:
        seed: the run's seed.
        dimension: d, of inputs and targets.
        samples: training samples.
        test_samples: test samples.
        x_variance: variance of each coordinate of x.
        a_variance: variance of each entry of A.
    """
    for name, value in (("dimension", dimension), ("samples", samples), ("test_samples", test_samples)):
        if value < 1:
            raise WrongInput(f"data.{name}={value}: must be a whole number of at least 1")
    for name, variance in (("x_variance", x_variance), ("a_variance", a_variance)):
        if not 0 < variance < float("inf"):
            raise WrongInput(f"data.{name}={variance}: must be a positive number")

    def normal(rows: int, variance: float, place: str) -> torch.Tensor:
        return torch.randn(rows, dimension, generator=seeded_generator("cpu", seed, place)) * variance**0.5

    a = normal(dimension, a_variance, "gaussian A")
    train = normal(samples, x_variance, "gaussian training inputs")
    test = normal(test_samples, x_variance, "gaussian test inputs")
    return Arrays(train, train @ a.T, test, test @ a.T, None)
