"""What internal covariate shift costs on a residual network: block by block, and as full passes.

    python benchmarks/residual_cost.py [--rounds 3] [--batch 16] [--threads 1]

torchvision's ResNet-18 on random images of 32x32. A residual block is one link of the chain: for each layer the blocks
before its own are run once, without a graph, and the rest is differentiated down to the layer. The same network behind
a forward that resists tracing has no links, and each layer takes a pass of its own. Plain and probed steps alternate in
one process; the cost is (seconds of a probed step - seconds of a plain one) / seconds of a plain one, the median over
rounds, beside the passes that the plan announces.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from experiments.data.torchvision_import import import_torchvision
from probes import InternalCovariateShift, Objective, Probes


class AsOne(nn.Module):
    """A network whose forward depends on values, so that it cannot be entered in between."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """The inner network's output."""
        return self.inner(x) if x.sum() < torch.inf else x


def cost(network: nn.Module, size: int, rounds: int) -> tuple[float, float, int]:
    """(median cost in plain steps, passes of the plan, layers)."""
    batch = torch.randn(size, 3, 32, 32), torch.randint(10, (size,))
    objective = Objective(nn.functional.cross_entropy)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    probes = Probes(network, objective, {"ics": InternalCovariateShift()}, batch, learning_rate=0.01, every=1)

    def step() -> None:
        optimiser.zero_grad()
        objective.data_loss(network(batch[0]), batch[1]).backward()
        optimiser.step()

    found = []
    for index in range(rounds + 1):
        begun = time.perf_counter()
        step()
        plain = time.perf_counter() - begun
        with probes.around(index, batch):
            step()
        found.append((time.perf_counter() - begun - 2 * plain) / plain)
    return statistics.median(found[1:]), probes.plan.passes, len(probes.view.layers)


def main() -> None:
    """Both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name, wrap in (("block by block", lambda inner: inner), ("full passes", AsOne)):
        torch.manual_seed(0)
        network = wrap(import_torchvision().models.resnet18(num_classes=10))
        median, passes, layers = cost(network, arguments.batch, arguments.rounds)
        print(f"ResNet-18, ics of {layers} layers, {name:15} {median:6.2f} plain steps (plan: {passes:.2f} passes)")


if __name__ == "__main__":
    main()
