"""What reading many runs costs: CPU time and peak memory of each command, and ratios to reading the bare tables.

    python benchmarks/many_runs.py [RUNS] [--count 1000] [--rounds 3] [--into FOLDER]

RUNS are a few real ones (default runs/demo, which `make demo` leaves), multiplied to `--count` run folders with
other seeds and learning rates in their config, named after it as runs are; their numbers are the real ones' (arrays and
logs as hard links, Parquet as copies). Each command then runs in a process of its own, which the times and the memory
include; rounds alternate with the baseline, and medians are printed. Ratios are of CPU time (user and system, all
threads), which a busy machine changes little; wall time stands beside it. The baseline is what a person would write:
`pandas.concat(pandas.read_parquet(file) for file in ...)`, without the runs' configurations.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BASELINE = """
import sys, pathlib, pandas
files = sorted(pathlib.Path(sys.argv[1]).glob("*/records.parquet"))
print(len(pandas.concat(pandas.read_parquet(file) for file in files)), "rows")
"""
LOAD = """
import sys
from analysis import load_runs
print(len(load_runs(sys.argv[1])), "rows")
"""
READ = ("provenance.json", "fields.json", "status.json", "records.parquet")
LINKED = ("records.jsonl", "arrays.npz")


def multiply(originals: Path, into: Path, count: int) -> int:
    """`count` run folders made of the finished ones in `originals`; how many there were of these."""
    found = [path.parent for path in sorted(originals.glob("*/config.json"))]
    found = [run for run in found if (run / "records.parquet").is_file()]
    if not found:
        sys.exit(f"no finished runs in {originals.absolute()}: make demo, or name a folder of runs")
    kinds: dict[str, list[Path]] = {}
    for run in found:
        kinds.setdefault(run.name.partition("-seed")[0], []).append(run)
    for number in range(count):
        alike = list(kinds.values())[number % len(kinds)]
        turn = number // len(kinds)
        rate, seed = 1 + turn % 5, turn // 5
        make(alike[seed % len(alike)], into, seed, rate)
    return len(found)


def make(original: Path, into: Path, seed: int, rate: int) -> None:
    """A run as `original`, of another seed, at `rate` times its learning rate."""
    described: dict[str, Any] = json.loads((original / "config.json").read_bytes())
    lr = described["config"]["optim"]["lr"] * rate
    for part in (described["config"], described["training"]):
        part["seed"] = seed
        part["optim"]["lr"] = lr
    digest = hashlib.sha256(json.dumps(described["training"], sort_keys=True).encode()).hexdigest()[:8] + "-0000"
    described["run"] = re.sub(r"-lr.*$", f"-lr{lr:g}-seed{seed}-{digest}", described["run"])
    described["config"]["run_name"] = None
    folder = into / described["run"]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(described))
    for name in READ:
        shutil.copy(original / name, folder / name)
    for name in LINKED:
        if (original / name).exists():
            os.link(original / name, folder / name)


def measured(command: list[str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and MiB at the peak of one process."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, state, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(state)
    if process.returncode:
        sys.exit(f"failed with exit code {process.returncode}: {' '.join(command)}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss / 1024


def main() -> None:
    """Makes the runs, times every command, prints one line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs/demo"), metavar="RUNS")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", help="this command only; may be given again")
    parser.add_argument("--into", type=Path, help="where to make the runs; kept, and used again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.runs.parent if arguments.runs.is_dir() else None) as temporary:
        into = arguments.into or Path(temporary) / "runs"
        if not into.exists():
            into.mkdir(parents=True)
            originals = multiply(arguments.runs, into, arguments.count)
            print(f"{arguments.count} runs made of {originals}")
        python, analysis = sys.executable, [sys.executable, "-m", "analysis"]
        commands = {
            "pandas.read_parquet": [python, "-c", BASELINE, str(into)],
            "status": [*analysis, "status", str(into)],
            "load_runs": [python, "-c", LOAD, str(into)],
            "table, Parquet": [*analysis, "table", str(into), str(Path(temporary) / "all.parquet")],
            "report": [*analysis, "report", str(into), "--out", str(Path(temporary) / "report")],
        }
        if arguments.only:
            commands = {name: command for name, command in commands.items() if name in arguments.only}
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                found[name].append(measured(command))
    middle = {name: [statistics.median(one) for one in zip(*all_of, strict=True)] for name, all_of in found.items()}
    base = next(iter(middle.values()))[0]
    print(f"{'':20} CPU s (least to most)    ratio  wall s   MiB")
    for name, (cpu, wall, memory) in middle.items():
        spread = f"({min(one[0] for one in found[name]):.1f} to {max(one[0] for one in found[name]):.1f})"
        print(f"{name:20} {cpu:5.1f} {spread:16} {cpu / base:8.2f} {wall:7.1f} {memory:5.0f}")


if __name__ == "__main__":
    main()
