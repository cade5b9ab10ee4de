"""None and batch, each at its own best learning rate, in bare torch: a script apart from the suite.

    python -m tests.independent.best_rates     # a minute on one core

The network of Ioffe & Szegedy 2015, section 4.1, on scikit-learn's digits: three layers of 100 sigmoids, weights of
deviation 0.1, batches of 60, plain descent. Two pilot seeds choose each arm's rate by the least test loss; six others
are judged at it: steps to 90 % of the mini-batch, and test accuracy at the end.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

STEPS, SIZE, WIDTH, DEVIATION = 1000, 60, 100, 0.1
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
PILOTS, JUDGED = range(2), range(2, 8)
TENTH = STEPS // 10


class Digits(NamedTuple):
    """Images (n, 64) and labels, for training and for testing."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


class Came(NamedTuple):
    """What a run came to; a diverged one to an infinite loss."""

    steps_to_learn: int
    loss: float
    accuracy: float


def digits() -> Digits:
    """Every fifth image of a class, from its first on, is a test image; one mean and one deviation for all pixels."""
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    place = torch.empty(len(labels), dtype=torch.int64)
    for digit in range(10):
        own = (labels == digit).nonzero().squeeze(1)
        place[own] = torch.arange(len(own))
    test = place % 5 == 0
    x = ((images - images[~test].mean()) / images[~test].std()).float()
    return Digits(x[~test], labels[~test], x[test], labels[test])


def network(normalised: bool) -> nn.Sequential:
    """Linear layers with sigmoids between them, what enters these normalised or not."""
    parts: list[nn.Module] = []
    for inputs in (64, WIDTH, WIDTH):
        parts += [nn.Linear(inputs, WIDTH), *([nn.BatchNorm1d(WIDTH)] if normalised else []), nn.Sigmoid()]
    net = nn.Sequential(*parts, nn.Linear(WIDTH, 10))
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, DEVIATION)
            nn.init.zeros_(module.bias)
    return net


def trained(data: Digits, normalised: bool, rate: float, seed: int) -> Came:
    """One run; test loss and accuracy by running averages, median of five evaluations in the last tenth."""
    torch.manual_seed(seed)
    net = network(normalised)
    optimiser = torch.optim.SGD(net.parameters(), lr=rate)
    order, learnt, evaluated = torch.empty(0, dtype=torch.int64), STEPS, []
    for step in range(STEPS):
        if len(order) < SIZE:  # a new epoch; the few samples that are left are not used
            order = torch.randperm(len(data.y))
        batch, order = order[:SIZE], order[SIZE:]
        outputs = net(data.x[batch])
        loss = functional.cross_entropy(outputs, data.y[batch])
        if not torch.isfinite(loss):
            return Came(STEPS, math.inf, 0.1)
        if learnt == STEPS and (outputs.argmax(1) == data.y[batch]).float().mean() >= 0.9:
            learnt = step
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= STEPS - TENTH and step % (TENTH // 5) == TENTH // 5 - 1:
            with torch.no_grad():
                outputs = net.eval()(data.test_x)
                right = (outputs.argmax(1) == data.test_y).float().mean().item()
                evaluated.append((functional.cross_entropy(outputs, data.test_y).item(), right))
            net.train()
    return Came(learnt, *(statistics.median(column) for column in zip(*evaluated, strict=True)))


def pilots(data: Digits, normalised: bool, rates: Sequence[float] = RATES) -> dict[float, list[Came]]:
    """By rate, what the pilot seeds come to."""
    return {rate: [trained(data, normalised, rate, seed) for seed in PILOTS] for rate in rates}


def best(found: Mapping[float, Sequence[Came]]) -> float:
    """The rate of the least geometric mean of the pilots' test losses."""
    return min(found, key=lambda rate: math.prod(came.loss for came in found[rate]))


def main() -> None:
    """Prints the pilots by rate, each arm's best rate, and the comparison seed by seed."""
    torch.set_num_threads(1)
    data, found = digits(), {}
    for normalised in (False, True):
        name, tried = "batch" if normalised else "none", pilots(data, normalised)
        for rate, came in tried.items():
            losses = [round(one.loss, 3) for one in came]
            print(f"{name}, rate {rate:g}: steps {[one.steps_to_learn for one in came]}, test losses {losses}")
        rate = best(tried)
        found[normalised] = [trained(data, normalised, rate, seed) for seed in JUDGED]
        print(f"{name}: best rate {rate:g}; steps {[came.steps_to_learn for came in found[normalised]]};", end=" ")
        print("test accuracy", [round(came.accuracy, 4) for came in found[normalised]])
    pairs = list(zip(found[False], found[True], strict=True))
    ratios = [none.steps_to_learn / batch.steps_to_learn for none, batch in pairs]
    points = [100 * (batch.accuracy - none.accuracy) for none, batch in pairs]
    print("steps, none / batch:", [round(r, 2) for r in ratios], "median", round(statistics.median(ratios), 2))
    print("points, batch - none:", [round(p, 2) for p in points], "median", round(statistics.median(points), 2))


if __name__ == "__main__":
    main()
