"""What a job of a sweep costs beyond its training: our sweep against Hydra's basic and joblib launchers.

    python benchmarks/sweeping.py [--jobs 100] [--rounds 3] [--listed 1000]

The same tiny jobs (a perceptron, 5 steps, one seed each) in the same process layout: one at a time (ours with one
worker, Hydra's basic launcher), and two at a time (ours with two workers, Hydra's joblib launcher, which is skipped
with a line where hydra-joblib-launcher is not installed). Cost beyond training is wall time times jobs at a time, less
what the runs themselves say they trained, per job: composition, start of processes, building, bookkeeping.

Last, how long it takes to list a sweep of many jobs before anything runs, against Hydra composing the same jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = [
    "-m",
    "model=mlp",
    "model.widths=[16]",
    "data.subset=64",
    "data.test_subset=40",
    "optim.batch_size=16",
    "steps=5",
]


def one_sweep(jobs: int, *arguments: str) -> tuple[float, float]:
    """Wall seconds of a sweep, and the sum of the training seconds of its runs."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "experiments", *TINY, f"seed=range({jobs})", f"runs_dir={folder}/runs", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wall = time.perf_counter() - begun
        times = [json.loads(file.read_text().splitlines()[-1]) for file in Path(folder).glob("runs/*/times.jsonl")]
        assert len(times) == jobs, f"{len(times)} of {jobs} runs ended"
        return wall, sum(line["seconds"] for line in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--listed", type=int, default=1000, help="jobs of the sweep that is only listed")
    options = parser.parse_args()
    ways = {
        "ours, one worker": (1, ["launcher.workers=1"]),
        "Hydra basic": (1, ["hydra/sweeper=basic"]),
        "ours, two workers": (2, ["launcher.workers=2"]),
        "Hydra joblib, two workers": (2, ["hydra/sweeper=basic", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
    }
    if find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        print("hydra-joblib-launcher is not installed: left out (pip install hydra-joblib-launcher)")
        del ways["Hydra joblib, two workers"]
    measured: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(options.rounds):  # in turn, so that what else the machine does falls on all alike
        for way, (at_a_time, arguments) in ways.items():
            wall, training = one_sweep(options.jobs, *arguments)
            measured[way].append((wall, (wall * at_a_time - training) / options.jobs))
    print(f"{options.jobs} jobs, median of {options.rounds}")
    print(f"{'':<28}{'wall':>10}{'beyond training, per job':>28}")
    cost = {}
    for way, rounds in measured.items():
        wall, cost[way] = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{way:<28}{wall:>8.1f} s{1000 * cost[way]:>25.0f} ms")
    print(f"ours / Hydra basic, one at a time: {cost['ours, one worker'] / cost['Hydra basic']:.2f}")
    if "Hydra joblib, two workers" in cost:
        ratio = cost["ours, two workers"] / cost["Hydra joblib, two workers"]
        print(f"ours / Hydra joblib, two at a time: {ratio:.2f}")
    listing, composing = list_jobs(options.listed)
    print(f"listing {options.listed} jobs (dry=true): {listing:.1f} s; Hydra composing them alone: {composing:.1f} s")
    print(f"ours / Hydra composing: {listing / composing:.2f}")


def list_jobs(jobs: int) -> tuple[float, float]:
    """Seconds of our dry listing, whole, and of Hydra's composition of the same jobs alone, in this process."""
    sys.path.insert(0, str(ROOT))
    import experiments

    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        arguments = [*TINY, f"seed=range({jobs})", f"runs_dir={folder}/runs", "dry=true"]
        subprocess.run(
            [sys.executable, "-m", "experiments", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        listing = time.perf_counter() - begun
    sample = min(jobs, 50)
    begun = time.perf_counter()
    for seed in range(sample):
        experiments.compose([*TINY[1:], f"seed={seed}"])
    return listing, (time.perf_counter() - begun) * jobs / sample


if __name__ == "__main__":
    main()
