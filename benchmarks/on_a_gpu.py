"""Checks of a GPU, in at most ten minutes: what holds on the CPU holds there, and what probing and training cost there.

    python benchmarks/on_a_gpu.py [--device cuda] [--minutes 9] [--out on_a_gpu.json] [--quick]

1. Invariants, over probes and normalisations: training that is probed at every step ends with the same bits as training
   that is not; and loss and gradient norm at the first step agree with the CPU's in relative error.
2. Ratios: the cost of each probe, in plain training steps, as `probing_cost.py` has them.
3. VGG-16 with BN at full width, batches of 128 images of 32 x 32: plain steps for a quarter of the time that is left
   (and ten probed ones), steps a second, and the greatest memory that torch held, of plain and of probed steps.

All of it by deterministic algorithms and without TF32. Probes: those of `probing_cost.py`, and `spectrum`. Parts begin,
and the invariants of further normalisations, while there are minutes left.

Everything is written to one JSON file, with the device, torch, and the seconds that each part took; a part for which no
time was left is named there under "left out". Exit code 1 where an invariant does not hold. ``--device cpu --quick``
tries the script itself, on small networks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from probing_cost import PROBES, cost, finish, seconds, setting

from experiments.norms import NORMS
from experiments.runtime import runtime
from probes.errors import ProbeError

FIRST = ("none", "batch", "noisy_batch")
FURTHER = ["spectrum", "jacobian", "losses", "affine", "biases", "scaling", "margins", "segments"]
"""Beside those that are timed; `domains` asks for data that have some."""
FAR = "relative error of the loss and the gradient norm"
EXACT: Mapping[str, Any] = {"deterministic": True, "tf32": False}
SMALL = ["data=digits", "model=vgg_small", "optim.batch_size=32", "probes.fixed_batch=32"]
TINY = [*SMALL, "model.width=0.25"]
IMAGES = ["data=cifar10", "optim.batch_size=128", "probes.fixed_batch=128"]
AGREE = 1e-3
"""Relative error within which a GPU's first loss and gradient norm agree with the CPU's, in float32."""


def state_after(overrides: list[str], probes: str | None, norm: str, device: torch.device) -> dict[str, torch.Tensor]:
    """Weights and buffers after four steps, on the CPU; without probes for None."""
    training = setting(overrides, probes or "none", norm, device)
    seconds(training, 4, plain=probes is None)
    return {name: value.detach().cpu().clone() for name, value in training.network.state_dict().items()}


def first_step(overrides: list[str], norm: str, device: torch.device) -> tuple[float, float]:
    """Loss and gradient norm of the first batch."""
    training = setting(overrides, "none", norm, device)
    batch = training.data.batch(0)
    loss = training.objective(training.network, training.network, batch.inputs, batch.targets).total
    gradients = torch.autograd.grad(loss, [p for p in training.network.parameters() if p.requires_grad])
    return loss.item(), torch.sqrt(sum((g.double() ** 2).sum() for g in gradients)).item()  # type: ignore[arg-type]


def invariants(
    device: torch.device,
    overrides: list[str],
    norms: tuple[str, ...],
    probes: list[str],
    left: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """For each normalisation, while time is ``left``: what became of each probe, and how far the first step is from the
    CPU's.
    """
    found: dict[str, Any] = {}
    for norm in norms:
        if not left():
            found[norm] = {"same bits with": {}, FAR: [], "left out": True}
            continue
        plain = state_after(overrides, None, norm, device)
        held: dict[str, Any] = {}
        for probe in probes:
            try:
                probed = state_after(overrides, probe, norm, device)
            except ProbeError as error:  # a probe that this network has nothing for says so
                held[probe] = f"refused: {str(error).splitlines()[0]}"
                continue
            held[probe] = all(torch.equal(plain[name], probed[name]) for name in plain)
        here, there = (first_step(overrides, norm, where) for where in (device, torch.device("cpu")))
        errors = [abs(a - b) / abs(b) for a, b in zip(here, there, strict=True)]
        found[norm] = {"same bits with": held, FAR: errors}
    return found


def failures(found: Mapping[str, Any]) -> list[str]:
    """The invariants that do not hold, in words."""
    failed = []
    for norm, row in found.items():
        failed += [
            f"{norm}: {probe} disturbs training" for probe, held in row["same bits with"].items() if held is False
        ]
        errors = row[FAR]
        failed += [f"{norm}: {error:.1e} from the CPU" for error in errors if not error <= AGREE]
    return failed


def ratios(device: torch.device, overrides: list[str], probes: list[str], rounds: int) -> dict[str, Any]:
    """The median, least and greatest cost of each probe, in plain steps."""
    found = {}
    for probe in probes:
        training = setting(overrides, probe, device=device)
        costs = cost(lambda t=training: seconds(t, 5, True), lambda t=training: seconds(t, 2, False), rounds)  # type: ignore[misc]
        found[probe] = dict(zip(("median", "least", "greatest"), costs, strict=True))
    return found


def held(device: torch.device) -> float | None:
    """The greatest memory that torch held since the last call, in MiB; None on a CPU."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / 2**20
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def full_width(device: torch.device, overrides: list[str], budget: float) -> dict[str, Any]:
    """Plain and probed steps of one network, as many as fit into ``budget`` seconds, and their memory."""
    training = setting(overrides, "standard", device=device)
    seconds(training, 2, plain=True)
    held(device)
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < budget:
        seconds(training, 10, plain=True)
        done += 10
    each, plain_memory = (time.perf_counter() - begun) / max(done, 1), held(device)
    seconds(training, 1, plain=False)  # what is done once is not counted
    probed = seconds(training, 10, plain=False)
    return {
        "plain steps": done,
        "steps a second": 1 / each,
        "a probed step (standard), in plain steps": probed / each,
        "memory of a plain step, MiB": plain_memory,
        "memory of a probed step, MiB": held(device),
        "memory that the plan states, MiB": (training.probes.plan.held_bytes + training.probes.plan.peak_bytes) / 2**20,
    }


def main() -> int:
    """Runs the checks, part by part, and writes what they found after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--minutes", type=float, default=9.0, help="no part begins after this")
    parser.add_argument("--out", type=Path, default=Path("on_a_gpu.json"))
    parser.add_argument("--quick", action="store_true", help="small networks, two normalisations, three probes")
    arguments = parser.parse_args()
    device: torch.device = arguments.device
    if device.type == "cuda" and not torch.cuda.is_available():
        print(
            f"error: --device {device}: torch sees no such device here; --device cpu --quick tries the script",
            file=sys.stderr,
        )
        return 2
    quick, begun = arguments.quick, time.perf_counter()

    def left() -> float:
        return arguments.minutes * 60 - (time.perf_counter() - begun)

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "quick": quick, "numerics": dict(EXACT)}
    found |= {"seconds": {}, "left out": []}
    norms, probes = ("none", "batch"), ["gradients", "ics", "landscape"]
    if not quick:
        norms, probes = tuple(dict.fromkeys([*FIRST, *NORMS.names()])), [*PROBES, *FURTHER]
    vgg = [*IMAGES, f"model={'vgg11' if quick else 'vgg16'}", *(["model.width=0.0625"] if quick else [])]
    parts: dict[str, Callable[[], Any]] = {
        "invariants": lambda: invariants(device, TINY if quick else SMALL, norms, probes, lambda: left() > 0),
        "cost of each probe, small network": lambda: ratios(
            device, SMALL, probes[:2] if quick else [*PROBES, "spectrum"], 2 if quick else 5
        ),
        "cost of each probe, large network": lambda: ratios(
            device, vgg, ["gradients"] if quick else PROBES, 1 if quick else 3
        ),
        "large network": lambda: full_width(device, vgg, 2.0 if quick else left() / 4),
    }
    with runtime(device, 1, EXACT, 0):
        for part, run in parts.items():
            if left() <= 0:
                found["left out"].append(part)
                continue
            start = time.perf_counter()
            found[part] = run()
            finish(device)
            found["seconds"][part] = time.perf_counter() - start
            arguments.out.write_text(json.dumps(found, indent=2) + "\n")
            print(f"{part}: {found['seconds'][part]:.0f} s", flush=True)
    checked = found.get("invariants", {})
    found["left out"] += [f"invariants: {norm}" for norm, row in checked.items() if row.get("left out")]
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    failed = failures(checked) + ["nothing was checked"] * (not any(row["same bits with"] for row in checked.values()))
    for line in itertools.chain(failed, (f"left out, for want of time: {part}" for part in found["left out"])):
        print(line)
    print(arguments.out.resolve())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
