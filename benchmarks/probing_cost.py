"""What probing a step costs, in plain training steps, and what a public tool costs and leaves behind for the same work.

    python benchmarks/probing_cost.py [--rounds 5] [--threads 1]

Networks: VGG-11 with BN on 128 random 32x32 images, the 25-layer linear net with BN on its 1,000 samples, and, for the
probes that read every layer without a pass of their own, 50 layers of width 128 with BN. In each
round plain steps and probed steps alternate in one process; the cost of a probe is
(seconds of a probed step - seconds of a plain step) / seconds of a plain step, and the median over rounds is printed
beside the passes that the plan announces. A second row gives the share of the probed step that goes into making sure
that the function that trained is the one that is evaluated: comparing outputs, carrying state over, restoring random
generators. `pip install loss-landscapes` adds that tool to the comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import experiments
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import Data, load_data
from experiments.memory import keep_freed_memory
from experiments.runs.records import ProbeRecorder
from experiments.train import Training, train_step
from probes.engine.carried import Carried
from probes.engine.checks import Guard
from probes.engine.probes import Probes
from probes.engine.shadow import Shadow
from probes.engine.training_pass import TrainingPass
from probes.generators import RandomState

SETTINGS = {
    "VGG-11 BN": ["data=cifar10", "model=vgg11", "optim.batch_size=128", "probes.fixed_batch=128"],
    "25 linear layers, BN": ["data=gaussian", "model=deep_linear", "optim=gd", "optim.loss=sum", "optim.lr=1e-6"],
}
DEEP = "50 layers of 128, BN"
SETTINGS[DEEP] = ["data=digits", "model=mlp", "model.depth=50", "model.widths=[128]"]
PROBES = ["landscape", "ics", "gradients", "activations", "theory", "standard", "dynamics", "representations", "shift"]

CPU = torch.device("cpu")
GUARDS = {
    TrainingPass: ["_before", "_after", "compare"],
    Shadow: ["check_alike"],
    Carried: ["take", "put"],
    RandomState: ["__init__", "restore"],
    Guard: ["__init__", "check"],
}
"""What holds the function that trained against the one that is evaluated; none of these calls another."""


class Drop(ProbeRecorder):
    """Forgets what is measured: the benchmark times probing, not the disk."""

    def __call__(self, probe: str, step: int, values: Any) -> None:
        """Drops the values."""


def setting(overrides: list[str], probes: str, norm: str = "batch", device: torch.device = CPU) -> Training:
    """Training with ``probes`` at every step, on random data where the set would be downloaded."""
    config = plain_config(experiments.compose([*overrides, f"norm={norm}", f"probes={probes}", "probes.every=1"]))
    data: Data = load_data(config["data"], 0, config["optim"]["batch_size"], device, stand_in=True)
    return build_training(config, data, device, Drop())


def finish(device: torch.device) -> None:
    """Waits until a device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(training: Training, steps: int, plain: bool) -> float:
    """Wall time of one step, averaged over ``steps``."""
    device = training.data.batch(0).inputs.device
    finish(device)
    begun = time.perf_counter()
    for step in range(steps):
        batch = training.data.batch(step)
        if plain:
            train_step(training, training.network, batch)
        else:
            with training.probes.around(step, batch) as forward:
                train_step(training, forward, batch)
    finish(device)
    return (time.perf_counter() - begun) / steps


def cost(run_plain: Callable[[], float], run_probed: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Median, least and greatest of (probed - plain) / plain over alternating rounds."""
    run_plain(), run_probed()  # warm-up
    found = []
    for _ in range(rounds):
        plain = run_plain()
        found.append((run_probed() - plain) / plain)
    return statistics.median(found), min(found), max(found)


@contextlib.contextmanager
def timed_guards() -> Iterator[list[float]]:
    """Within it the list gathers the seconds of each call of :data:`GUARDS`."""
    spent: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent.append(time.perf_counter() - begun)

        return run

    own = {(owner, name): getattr(owner, name) for owner, names in GUARDS.items() for name in names}
    for (owner, name), function in own.items():
        setattr(owner, name, timed(function))
    try:
        yield spent
    finally:
        for (owner, name), function in own.items():
            setattr(owner, name, function)


def guard_share(training: Training, steps: int) -> float:
    """Of the seconds of ``steps`` probed steps, the share that :data:`GUARDS` take."""
    with timed_guards() as spent:
        each = seconds(training, steps, plain=False)
    return sum(spent) / (each * steps)


def with_loss_landscapes(name: str, training: Training, rounds: int, plain_steps: int) -> None:
    """The public tool on the same seven points: loss and gradient along a line, and what it changed."""
    if importlib.util.find_spec("loss_landscapes") is None:
        print(f"{name:22} loss-landscapes           not installed: pip install loss-landscapes")
        return
    import loss_landscapes

    batch = training.data.batch(0)

    def gradient_norm(wrapper: Any) -> float:
        model = wrapper.modules[0]
        model.requires_grad_(True)  # the tool has switched it off, and moves the parameters in place
        model.zero_grad()
        loss = training.objective(model, model, batch.inputs, batch.targets).total
        loss.backward()
        model.requires_grad_(False)
        return torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item()

    model = copy.deepcopy(training.network)
    end = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in end.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def seven() -> float:
        begun = time.perf_counter()
        loss_landscapes.linear_interpolation(model, end, gradient_norm, steps=7)
        return time.perf_counter() - begun

    def plain() -> float:
        return seconds(training, plain_steps, plain=True)

    seven(), plain()
    ratios = [seven() / plain() for _ in range(rounds)]
    after = model.state_dict()
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    buffers = {key for key, _ in model.named_buffers()}
    left = sum(p.grad is not None for p in model.parameters())
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"{name:22} {'loss-landscapes, 7 points':25} {median:6.2f}  (min {low:.2f}, max {high:.2f})")
    print(
        f"{'':22} left changed by it: {sum(k not in buffers for k in changed)} parameters and "
        f"{sum(k in buffers for k in changed)} buffers of {len(before)} tensors; {left} gradients"
    )


def chosen(name: str) -> list[str]:
    """The probes that are measured on a network."""
    return ["dynamics", "representations", "shift"] if name == DEEP else PROBES


def print_peak_memory(name: str) -> None:
    """Peak resident memory of fresh processes that train plainly and with a probe, beside what the plan states."""
    peaks = {}
    for probes in ("none", *chosen(name)):
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import probing_cost as b, torch;"
            "torch.set_num_threads(1); t = b.setting(b.SETTINGS[sys.argv[2]], sys.argv[3]);"
            "b.seconds(t, 3, plain=sys.argv[3] == 'none');"
            "plan = 0 if sys.argv[3] == 'none' else t.probes.plan.held_bytes + t.probes.plan.peak_bytes;"
            "peak = [x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')][0];"
            "print(int(peak) / 2**10, plan / 2**20)"  # ru_maxrss would count the parent's
        )
        arguments = [sys.executable, "-c", code, str(Path(__file__).parent), name, probes]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        peak, plan = map(float, done.stdout.split())
        peaks[probes] = peak
        if probes != "none":
            more = peak - peaks["none"]
            print(f"{name:22} {probes:25} peak memory {more:5.0f} MiB more than plain training; plan: {plan:.0f} MiB")


def main() -> None:
    """Runs all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--network", choices=list(SETTINGS), help="this one alone")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    print(f"torch {torch.__version__}, {arguments.threads} thread(s); cost of one probed step in plain training steps")
    for name, overrides in SETTINGS.items():
        if arguments.network not in (None, name):
            continue
        steps = 1 if "VGG" in name else 20
        for probes in chosen(name):
            training = setting(overrides, probes)
            assert isinstance(training.network, nn.Module)
            assert isinstance(training.probes, Probes)
            median, low, high = cost(
                lambda t=training, n=steps: seconds(t, 2 * n, plain=True),  # type: ignore[misc]
                lambda t=training, n=steps: seconds(t, n, plain=False),  # type: ignore[misc]
                arguments.rounds,
            )
            share = f"; every 100 steps: {median:.1f} % of training" if probes == "standard" else ""
            print(
                f"{name:22} {probes:25} {median:6.2f}  (min {low:.2f}, max {high:.2f}; plan: "
                f"{training.probes.plan.passes:.2f} passes){share}",
                flush=True,
            )
            share_of_guards = 100 * statistics.median(guard_share(training, steps) for _ in range(arguments.rounds))
            print(f"{'':22} {'of it: same function?':25} {share_of_guards:6.2f} % of the probed step", flush=True)
        with_loss_landscapes(name, training, arguments.rounds, 2 * steps)
        print_peak_memory(name)


if __name__ == "__main__":
    main()
