"""Recovery by each domain's own statistics, in bare torch: a script apart from the suite, of which it imports nothing.

    python tests/independent/two_domains.py

A network is trained on halves of batches, one of each domain, in two forward passes whose order is drawn at each step,
so that its moving averages belong to neither domain. Nothing is trained again: the statistics of each domain's training
samples take their place at test time, layer after layer. Printed for every seed: test accuracy of the network that was
trained on mixed batches; of this one by its moving averages; by each domain's own; how much of the gap is back.
"""

from __future__ import annotations

import copy
import statistics
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

STEPS, HALF, RATE, WIDTH = 151, 32, 0.1, 96


class Set(NamedTuple):
    """Images (n, 64), labels and domains."""

    x: Tensor
    y: Tensor
    domain: Tensor


def changed(images: Tensor) -> Tensor:
    """Inverted, half as far from mid-grey, its sixteen 2x2 blocks in another order; of (n, 8, 8) in 0..255."""
    faint = 127.5 + (127.5 - images) / 2
    order = torch.randperm(16, generator=torch.Generator().manual_seed(5)).tolist()
    found = torch.empty_like(faint)
    for place, source in enumerate(order):
        (to_row, to_column), (row, column) = divmod(place, 4), divmod(source, 4)
        found[:, 2 * to_row : 2 * to_row + 2, 2 * to_column : 2 * to_column + 2] = faint[
            :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2
        ]
    return found


def two_domains() -> tuple[Set, Set]:
    """Training and test set: of a class every fifth image is a test image, every other one is in the second domain."""
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    images = images.float().view(-1, 8, 8) * 255 / 16
    place = torch.empty(len(labels), dtype=torch.int64)
    for digit in range(10):
        own = (labels == digit).nonzero().squeeze(1)
        place[own] = torch.arange(len(own))
    test, domain = place % 5 == 2, place % 2
    both = torch.where(domain[:, None, None] == 1, changed(images), images)
    mean, deviation = both[~test].mean(), both[~test].std()
    flat = ((both - mean) / deviation).flatten(1)
    train, tested = (Set(flat[part], labels[part], domain[part]) for part in (~test, test))
    return train, tested


def network() -> nn.Sequential:
    """Two hidden layers, each normalised."""
    return nn.Sequential(
        *(nn.Linear(64, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()),
        *(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()),
        nn.Linear(WIDTH, 10),
    )


def trained(data: Set, seed: int, mixed: bool) -> nn.Sequential:
    """Plain stochastic gradient descent on mixed batches, or on two halves of one domain each."""
    torch.manual_seed(seed)
    net = network()
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE)
    groups = [(data.domain == k).nonzero().squeeze(1) for k in (0, 1)]
    for _ in range(STEPS):
        if mixed:
            parts = [torch.randperm(len(data.y))[: 2 * HALF]]
        else:
            order = torch.randperm(2).tolist()
            parts = [groups[k][torch.randperm(len(groups[k]))[:HALF]] for k in order]
        losses = [nn.functional.cross_entropy(net(data.x[part]), data.y[part]) for part in parts]
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        optimiser.step()
    return net


@torch.no_grad()
def right(net: nn.Sequential, data: Set) -> Tensor:
    """1 for each sample that is classified rightly by the moving averages that the network holds, else 0."""
    return (net.eval()(data.x).argmax(1) == data.y).float()


@torch.no_grad()
def by_own_statistics(net: nn.Sequential, train: Set, test: Set) -> float:
    """Accuracy where each test sample is normalised by mean and variance of its own domain's training samples."""
    found = []
    for k in (0, 1):
        own = copy.deepcopy(net).eval()
        z = train.x[train.domain == k]
        for module in own:
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean, module.running_var = z.mean(0), z.var(0)
            z = module(z)
        part = test.domain == k
        found.append(right(own, Set(test.x[part], test.y[part], test.domain[part])))
    return torch.cat(found).mean().item()


def recovery(seeds: range) -> list[tuple[float, float, float]]:
    """By seed, accuracy: of mixed batches; of halves by their moving averages; of halves by each domain's own."""
    train, test = two_domains()
    found = []
    for seed in seeds:
        joint, separate = (trained(train, seed, mixed) for mixed in (True, False))
        shared = right(separate, test).mean().item()
        found.append((right(joint, test).mean().item(), shared, by_own_statistics(separate, train, test)))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = recovery(range(6))
    for seed, (joint, shared, own) in enumerate(rows):
        told = (own - shared) / (joint - shared)
        print(f"seed {seed}: mixed {joint:.3f}, halves {shared:.3f}, by own statistics {own:.3f}: recovered {told:.2f}")
    print(f"median {statistics.median((own - shared) / (joint - shared) for joint, shared, own in rows):.2f}")
