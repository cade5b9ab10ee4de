"""The suite against scripts that share nothing with it: best rates, and a bias whose mean has no gradient."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
import torch

import experiments
from analysis.runs import Runs
from analysis.standard import ACCURACY, SPEED
from analysis.studies.ioffe2015.claims.gradient import EARLY, LATE
from analysis.studies.ioffe2015.own_measures import loss_left
from tests.independent import best_rates, detached_bias
from tests.independent.best_rates import Came

SEEDS = range(3)


def test_the_best_rate_is_that_of_the_least_test_loss_of_both_pilots() -> None:
    found = {0.1: [Came(9, 2.0, 0.5), Came(9, 2.0, 0.5)], 1.0: [Came(9, 0.5, 0.9), Came(9, 6.0, 0.9)]}
    assert best_rates.best(found) == 1.0
    assert best_rates.best({**found, 3.0: [Came(9, 0.1, 0.9), Came(9, math.inf, 0.1)]}) == 1.0


def test_the_gradient_of_a_bias_is_there_where_the_mean_is_a_constant_and_nowhere_else() -> None:
    """Against differences, of a bias that is added after the mean was taken."""
    data = detached_bias.digits()
    x, y = data.x[:40], data.y[:40]
    for constant in detached_bias.CONSTANTS:
        network = [
            detached_bias.Layer(*(part if part is None else part.double() for part in layer))
            for layer in detached_bias.layers(0)
        ]
        bias = network[2].bias.requires_grad_()
        loss = torch.nn.functional.cross_entropy(detached_bias.outputs(network, x.double(), constant), y)
        (gradient,) = torch.autograd.grad(loss, [bias])
        if constant != "mean":
            assert gradient.abs().max() < 1e-12
            continue
        for unit in (0, 7):  # where the mean stays as it was, a bias moves the normalised values by its own step
            ends = []
            for sign in (1, -1):
                shift = torch.zeros(detached_bias.WIDTH, dtype=torch.float64)
                shift[unit] = sign * 1e-6
                ends.append(_loss_with_mean_left(network, x.double(), y, shift))
            assert float(gradient[unit]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def _loss_with_mean_left(
    network: list[detached_bias.Layer], x: torch.Tensor, y: torch.Tensor, b: torch.Tensor
) -> float:
    """The loss where b is added to what the third layer gives after its mean was taken."""
    h = x
    for place, (weight, bias, gamma, beta) in enumerate(network):
        z = h @ weight.T + bias
        if gamma is None or beta is None:
            return torch.nn.functional.cross_entropy(z, y).item()
        deviation = (z.var(0, unbiased=False) + detached_bias.EPS).sqrt()
        h = torch.sigmoid(gamma * (z - z.mean(0) + (b if place == 2 else 0.0)) / deviation + beta)
    raise AssertionError("no last layer")


def run(folder: Path, experiment: str, *chosen: str) -> None:
    """Three seeds of one job."""
    for seed in SEEDS:
        lines = [f"experiment=ioffe2015/{experiment}", *chosen, f"seed={seed}", f"runs_dir={folder}"]
        experiments.run(experiments.compose(lines))


@pytest.mark.long
def test_the_bias_grows_in_the_suite_as_in_a_script_of_its_own(tmp_path: Path) -> None:
    run(tmp_path, "biases", "arm=mean_detached", "optim.lr=0.1")
    runs = Runs.load(tmp_path)
    data = detached_bias.digits()
    script = [detached_bias.descent(data, seed, "mean", 1000, best_rates.SIZE, biases_alone=False) for seed in SEEDS]
    growth = statistics.median(LATE.of(runs) / EARLY.of(runs))
    assert growth == pytest.approx(statistics.median(map(detached_bias.growth, script)), rel=0.25)
    left = statistics.median(float(one.losses[-20:].median() / one.losses[0]) for one in script)
    assert statistics.median(loss_left().of(runs)) < 0.1
    assert left < 0.1


@pytest.mark.long
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_network_learns_in_as_many_steps_in_the_suite_as_in_a_script_of_its_own(norm: str, tmp_path: Path) -> None:
    """Other images are in the test set, other weights and batches are drawn."""
    run(tmp_path, "rates", f"norm={norm}", "optim.lr=1", "model.gain=1")
    runs = Runs.load(tmp_path)
    script = [best_rates.trained(best_rates.digits(), norm == "batch", 1.0, seed) for seed in SEEDS]
    steps = statistics.median(came.steps_to_learn for came in script)
    assert statistics.median(SPEED.of(runs)) == pytest.approx(steps, rel=0.25)
    assert statistics.median(ACCURACY.of(runs)) == pytest.approx(
        statistics.median(came.accuracy for came in script), abs=0.02
    )
