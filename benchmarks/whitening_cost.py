"""What whitened layers cost: a training step with ``norm=whitening`` over one with ``norm=batch`` and with none.

    python benchmarks/whitening_cost.py [--rounds 7] [--threads 1]

By the widths of a fully connected network, the size of the groups that are whitened together, and the iterations of
Newton and Schulz. One process, alternating rounds, so that whatever else the machine does hits the contestants alike;
the median of the rounds' ratios is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import experiments
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.memory import keep_freed_memory
from experiments.runs.records import ProbeRecorder
from experiments.train import Training, train_step

STEPS = 30
WIDTHS = ("[96,96,96]", "[100,100,100]", "[512,512]")
WHITENED = {
    "groups of 16": [],
    "groups of 4": ["norm.group_size=4"],
    "groups of 64": ["norm.group_size=64"],
    "5 iterations": ["norm.iterations=5"],
}


def made(*overrides: str) -> Training:
    """Training on the digits."""
    config = plain_config(experiments.compose(["data=digits", "model=mlp", "optim.batch_size=64", *overrides]))
    data = load_data(config["data"], 0, config["optim"]["batch_size"], torch.device("cpu"))
    return build_training(config, data, torch.device("cpu"), ProbeRecorder())


def seconds(training: Training) -> float:
    """Wall time of one step, averaged over some."""
    begun = time.perf_counter()
    for step in range(STEPS):
        train_step(training, training.network, training.data.batch(step))
    return (time.perf_counter() - begun) / STEPS


def main() -> None:
    """Prints one line for each width and way of whitening."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), batches of 64")
    for widths in WIDTHS:
        plain = {norm: made(f"model.widths={widths}", f"norm={norm}") for norm in ("batch", "none")}
        whitened = {
            told: made(f"model.widths={widths}", "norm=whitening", *options) for told, options in WHITENED.items()
        }
        taken: dict[str, list[float]] = {told: [] for told in (*plain, *whitened)}
        for training in (*plain.values(), *whitened.values()):
            seconds(training)  # warm-up
        for _ in range(arguments.rounds):
            for told, training in (*plain.items(), *whitened.items()):
                taken[told].append(seconds(training))
        for told in whitened:
            ratios = [own / batch for own, batch in zip(taken[told], taken["batch"], strict=True)]
            over_none = statistics.median(own / none for own, none in zip(taken[told], taken["none"], strict=True))
            print(
                f"{widths:14} {told:13} / batch {statistics.median(ratios):5.2f}  (min {min(ratios):.2f}, max "
                f"{max(ratios):.2f})  / none {over_none:5.2f}  {1e3 * statistics.median(taken[told]):6.2f} ms a step",
                flush=True,
            )


if __name__ == "__main__":
    main()
