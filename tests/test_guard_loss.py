"""A loss that keeps values between calls is evaluated on a copy: training counts its own calls only."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from probes import Landscape, Objective, Probes

CROSS_ENTROPY = nn.functional.cross_entropy
BATCH = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


class Warm(nn.Module):
    """Counts its calls, and averages the losses in a buffer."""

    def __init__(self):
        super().__init__()
        self.calls, self.functional = 0, nn.functional  # a module of Python, which has no copy
        self.register_buffer("average", torch.zeros(()))

    def forward(self, output, targets):
        self.calls += 1
        loss = self.functional.cross_entropy(output, targets)
        self.average = 0.5 * self.average + 0.5 * loss.detach()
        return loss * (1 + self.calls) + self.average


class Callable:
    def __init__(self):
        self.seen, self.functional = [], nn.functional

    def __call__(self, output, targets):
        self.seen.append(1.0)
        return self.functional.cross_entropy(output, targets) * sum(self.seen)

    def method(self, output, targets):
        return self(output, targets)


def closure():
    from torch.nn import functional

    calls, seen = 0, {"sum": 0.0}

    def loss(output, targets):
        nonlocal calls
        calls += 1
        seen["sum"] += 1.0
        return functional.cross_entropy(output, targets) * (calls + seen["sum"])

    return loss


KINDS = {
    "a module": Warm,
    "an object": Callable,
    "a method": lambda: Callable().method,
    "a closure": closure,
    "a part of one": lambda: functools.partial(Callable()),
}


def train(make, network, reuse):
    torch.manual_seed(0)
    network, loss = network(), make()
    optimiser, losses = torch.optim.SGD(network.parameters(), lr=0.05), []
    if reuse is not None:
        probes = Probes(network, Objective(loss), {"l": Landscape()}, BATCH, learning_rate=0.05, every=1,
                        reuse_training_pass=reuse)  # fmt: skip

    def step(forward):
        optimiser.zero_grad()
        losses.append(loss(forward(BATCH[0]), BATCH[1]))
        losses[-1].backward()
        optimiser.step()

    for t in range(3):
        if reuse is None:
            step(network)
        else:
            with probes.around(t, BATCH) as forward:
                step(forward)
    return [x.item() for x in losses], [
        v["loss_before"].item() for _, _, v in probes.records
    ] if reuse is not None else []


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.b(x + torch.relu(self.a(x)))


@pytest.mark.parametrize("network", [lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), Residual])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_loss_with_a_memory_is_not_disturbed_and_is_the_one_that_trained(kind, network):
    plain, _ = train(KINDS[kind], network, None)
    for reuse in (False, True):
        losses, probed = train(KINDS[kind], network, reuse)
        assert losses == plain
        assert probed == pytest.approx(plain, rel=1e-6)
