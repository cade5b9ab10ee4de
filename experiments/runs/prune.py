"""``python -m experiments.runs.prune RUNS`` lists runs that nobody will finish as they are; told so, it removes them.

Nothing else in the suite deletes a run. Finished and diverged runs of the present version are never touched, nor is one
that a process has.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from experiments.discovery import source_hash
from experiments.errors import RunFailure, WrongInput
from experiments.runs.files import read_json
from experiments.runs.folder import RunFolder, read_status
from experiments.runs.format import CONFIG, LOCK, flat, lost_config
from experiments.runs.identity import results_version
from experiments.runs.lease import is_held
from experiments.schema import HEARTBEAT_SECONDS

KINDS = {
    "failed": "ended by an error; the next call of its sweep tries it again",
    "orphaned": "interrupted, or its process is gone; the next call of its sweep goes on with it",
    "damaged": "a file of it is lost or cannot be read; restore it, or its sweep starts it anew once it is deleted",
    "outdated": "made by another results version, or with a source file that has changed since",
}

_TRASH = ".deleted-"


@dataclass(frozen=True)
class Prunable:
    """A run that may be removed."""

    path: Path
    kind: str
    why: str


def prunable(runs_dir: Path, lease_seconds: float = 60.0) -> Iterator[Prunable]:
    """Failed, orphaned, damaged and outdated runs directly under ``runs_dir``.

    Raises:
        WrongInput: no such folder.
    """
    if not runs_dir.is_dir():
        raise WrongInput(f"{runs_dir}: no such folder; give the folder that holds run folders")
    for path in sorted(runs_dir.iterdir()):
        if path.name.startswith(".") or not path.is_dir():
            continue
        if not (path / LOCK).exists() and not lost_config(path):
            continue  # not a run folder of ours
        if is_held(path, max(lease_seconds, _own_limit(path))) is not None:
            continue
        try:
            found = _why(path)
        except RunFailure as error:
            found = "damaged", str(error).removeprefix(f"{path}: ").removeprefix(f"{path}/")
        if found is not None:
            yield Prunable(path, *found)


def _own_limit(path: Path) -> float:
    """The run's own lease_seconds, if it says any."""
    try:
        return float(read_json(path / CONFIG, ("config",))["config"].get("lease_seconds", 0.0))
    except (OSError, RunFailure, TypeError, ValueError):
        return 0.0


def _why(path: Path) -> tuple[str, str] | None:
    """Kind and reason; None for a run that stays."""
    if lost_config(path):
        return "damaged", f"{CONFIG} is missing"
    status = read_status(path)
    if not (path / CONFIG).exists() or status is None:
        return "orphaned", "never began"
    config = read_json(path / CONFIG, ("results_version", "config"))
    if config["results_version"] != (version := results_version(config["config"])):
        return "outdated", f"results version {config['results_version']}, now {version}"
    named = flat(config["config"])
    hashed = {**config.get("identity", {}), **config.get("training", {}), **config.get("measurement", {})}
    for key, was in flat(hashed).items():
        place = key.removesuffix("_sha256")
        if place == key or named.get(place) is None:
            continue
        try:
            now = source_hash(named[place], place)
        except WrongInput:
            return "outdated", f"{place}={named[place]} is gone"
        if now != was:
            return "outdated", f"{place}={named[place]} has changed"
    if status["state"] == "failed":
        return "failed", f"at step {status['step']}: {status.get('message') or 'see traceback.txt'}"
    if status["state"] in ("running", "interrupted"):
        return "orphaned", f"stopped at step {status['step']} of {status['steps']}"
    return None


def remove(run: Prunable, lease_seconds: float = 60.0) -> None:
    """Deletes a run folder, unless a process has taken it up meanwhile.

    Raises:
        RunBusy: one has.
        WrongInput, OSError: it cannot be deleted.
    """
    with RunFolder(run.path, lease_seconds):
        trash = run.path.with_name(f"{_TRASH}{run.path.name}-{os.getpid()}")
        os.replace(run.path, trash)  # at once: nobody ever finds half a run
    shutil.rmtree(trash)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0 done, 1 something could not be deleted, 2 wrong input."""
    try:
        arguments = _parser().parse_args(argv)
        wanted = arguments.delete
        if not arguments.lease_seconds > 2 * HEARTBEAT_SECONDS:
            raise WrongInput(f"--lease-seconds {arguments.lease_seconds:g}: must be above {2 * HEARTBEAT_SECONDS:g}")
        found = list(prunable(arguments.runs, arguments.lease_seconds))
    except WrongInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    code, removed = 0, 0
    for run in found:
        size = sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file()) / 2**20
        doing = ""
        if wanted and run.kind in wanted:
            try:
                remove(run, arguments.lease_seconds)
                doing, removed = "  deleted", removed + 1
            except (RunFailure, WrongInput, OSError) as error:
                print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
                code = 1
        print(f"{run.kind:<9} {size:8.1f} MiB  {run.path.name}: {run.why}{doing}")
    if wanted:
        for trash in arguments.runs.glob(f"{_TRASH}*"):  # of a deletion that was killed
            shutil.rmtree(trash, ignore_errors=True)
        print(f"{removed} of {len(found)} runs deleted")
    elif found:
        kinds = sorted({run.kind for run in found})
        print(f"{len(found)} runs; --delete {' '.join(kinds)} deletes them")
        print(*(f"  {kind}: {KINDS[kind]}" for kind in kinds), sep="\n")
    else:
        print("nothing to prune")
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongInput(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m experiments.runs.prune", description=f"Lists {', '.join(KINDS)} runs.")
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the folder that holds run folders")
    parser.add_argument(
        "--delete", nargs="+", choices=tuple(KINDS), metavar="KIND", help=f"delete those: {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--lease-seconds", type=float, default=60.0, help="silence after which a process on another host is gone (60)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
