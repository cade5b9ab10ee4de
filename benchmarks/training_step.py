"""Our training loop against a minimal loop written by hand, and against torchvision's data set with DataLoader workers.

    python benchmarks/training_step.py [--rounds 7] [--threads 1]

The same networks on the same (random) data in one process; rounds of the contestants alternate, so that whatever else
the machine does hits them alike, and the median of the rounds' ratios is printed. Ours includes what a run
does at each step but write files: batch from (seed, step), the loss through the objective, divergence check.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import experiments
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import Batch, Data, load_data
from experiments.data.torchvision_import import import_torchvision
from experiments.memory import keep_freed_memory
from experiments.models import build_model
from experiments.runs.records import ProbeRecorder
from experiments.train import train


class Quiet:
    """A journal that writes nothing: the benchmark times training, not the disk."""

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """Drops the values."""

    def step_done(self, done: int, loss: float) -> None:
        """Does nothing."""

    def trained(self, done: int) -> None:
        """Does nothing."""


def ours(config: dict[str, Any], data: Data, steps: int) -> Callable[[], None]:
    """The suite's loop, without the evaluation on schedule (both sides leave it out)."""
    training = build_training(config, data, torch.device("cpu"), ProbeRecorder())
    training.evaluate_every = 10**9
    training.steps = steps

    def run() -> None:
        # Step 0 and the end are always evaluated; start at 1 and stop before the end.
        with contextlib.suppress(StopIteration):
            train(training, 1, StopBeforeTheEnd())

    return run


class StopBeforeTheEnd(Quiet):
    """Leaves the loop before the final evaluation."""

    def trained(self, done: int) -> None:
        """Ends the loop."""
        raise StopIteration


def by_hand(config: dict[str, Any], data: Data, steps: int) -> Callable[[], None]:
    """What one would write in a script: index, normalise, forward, backward, step."""
    network = build_model(config["model"], config["norm"], data.spec, 0)
    optimiser = torch.optim.SGD(network.parameters(), lr=config["optim"]["lr"])
    size = config["optim"]["batch_size"]
    first: Batch = data.batch(0)
    if size is None:
        inputs, targets = first.inputs, first.targets
        batches: Callable[[int], tuple[torch.Tensor, torch.Tensor]] = lambda step: (inputs, targets)  # noqa: E731
        loss_of: Callable[..., torch.Tensor] = lambda output, target: (output - target).square().sum()  # noqa: E731
    else:
        images = torch.randint(0, 256, (5000, *data.spec.input_shape), dtype=torch.uint8)
        labels = torch.randint(0, data.spec.outputs, (5000,))
        mean, std = torch.full((1, images.shape[1], 1, 1), 0.5), torch.full((1, images.shape[1], 1, 1), 0.25)
        order = torch.randperm(5000)

        def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            chosen = order[step % 39 * size : (step % 39 + 1) * size]
            return (images[chosen].float() / 255 - mean) / std, labels[chosen]

        loss_of = nn.functional.cross_entropy

    def run() -> None:
        for step in range(1, steps):
            x, y = batches(step)
            loss = loss_of(network(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if not loss.item() < 1e8:  # a script that looks at its loss
                raise ArithmeticError("diverged")

    return run


def with_data_loader(config: dict[str, Any], data: Data, steps: int, workers: int) -> Callable[[], None]:
    """torchvision's CIFAR10 (its __getitem__, on random images) through a DataLoader."""
    torchvision = import_torchvision()
    transforms = torchvision.transforms
    dataset = torchvision.datasets.CIFAR10.__new__(torchvision.datasets.CIFAR10)
    dataset.data = torch.randint(0, 256, (5000, 32, 32, 3), dtype=torch.uint8).numpy()
    dataset.targets = torch.randint(0, 10, (5000,)).tolist()
    dataset.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
    dataset.target_transform = None
    loader = torch.utils.data.DataLoader(
        dataset, config["optim"]["batch_size"], shuffle=True, drop_last=True, num_workers=workers
    )
    network = build_model(config["model"], config["norm"], data.spec, 0)
    optimiser = torch.optim.SGD(network.parameters(), lr=config["optim"]["lr"])

    def run() -> None:
        for step, (x, y) in enumerate(loader):
            if step >= steps - 1:
                return
            loss = nn.functional.cross_entropy(network(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()

    return run


def seconds(run: Callable[[], None]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def compare(title: str, first: Callable[[], None], others: dict[str, Callable[[], None]], rounds: int) -> None:
    """Prints the median over alternating rounds of time(first) / time(other)."""
    ratios: dict[str, list[float]] = {name: [] for name in others}
    for run in (first, *others.values()):
        run()  # warm-up
    for _ in range(rounds):
        mine = seconds(first)
        for name, run in others.items():
            ratios[name].append(mine / seconds(run))
    for name, values in ratios.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{title:28} ours / {name:32} {middle:.3f}  (min {low:.3f}, max {high:.3f}, {rounds} rounds)", flush=True)


def main() -> None:
    """Runs all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    print(f"torch {torch.__version__}, {arguments.threads} thread(s)")
    vgg = plain_config(experiments.compose(["data=cifar10", "model=vgg11", "optim.batch_size=128"]))
    data = load_data(vgg["data"], 0, 128, torch.device("cpu"), stand_in=True)
    contestants = {
        "loop by hand": by_hand(vgg, data, 6),
        "DataLoader, 0 workers": with_data_loader(vgg, data, 6, 0),
        "DataLoader, 2 workers": with_data_loader(vgg, data, 6, 2),
    }
    compare("VGG-11 BN, 128 x 3x32x32", ours(vgg, data, 6), contestants, arguments.rounds)
    for norm in ("batch", "none"):
        linear = ["data=gaussian", "model=deep_linear", "optim=gd", "optim.loss=sum", "optim.lr=1e-6"]
        config = plain_config(experiments.compose([*linear, f"norm={norm}"]))
        gaussian = load_data(config["data"], 0, None, torch.device("cpu"))
        compare(
            f"deep_linear {norm}, 1000 x 10",
            ours(config, gaussian, 200),
            {"loop by hand": by_hand(config, gaussian, 200)},
            arguments.rounds,
        )


if __name__ == "__main__":
    main()
