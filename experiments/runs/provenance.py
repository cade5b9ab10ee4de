"""Under which conditions a run is made: of each start the code, the command, the machine."""

from __future__ import annotations

import functools
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from experiments.errors import WrongInput
from experiments.runs.files import read_json, write_json
from experiments.runs.format import PROVENANCE
from experiments.runs.identity import differing_keys
from experiments.runtime import device_name, versions


def begin_provenance(folder: Path, **facts: Any) -> None:
    """Adds this start to the run folder's provenance.json."""
    path = folder / PROVENANCE
    starts = read_json(path, ("starts",))["starts"] if path.exists() else []
    commit, dirty = _git_state()
    starts.append(
        {
            "started": _now(),
            "ended": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "command": shlex.join([sys.executable, *sys.argv]),
            "git_commit": commit,
            "git_dirty": dirty,
            **facts,
        }
    )
    write_json(path, {"starts": starts})


def end_provenance(folder: Path, **facts: Any) -> None:
    """Writes the time at which the latest start ended, and what was found out at its end."""
    path = folder / PROVENANCE
    starts = read_json(path, ("starts",))["starts"]
    starts[-1] |= {"ended": _now(), **facts}
    write_json(path, {"starts": starts})


def conditions_of(config: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """What must be equal for equal bits, besides the configuration and the model of the processor."""
    return {"device": device.type, "threads": config["threads"], "versions": versions()}


def conditions_in_words(config: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The same for provenance.json, with the device's name."""
    return {
        **conditions_of(config, device),
        "device": str(device),
        "device_name": device_name(device),
        "numerics": config["numerics"]["name"],
    }


def check_conditions(path: Path, there: Mapping[str, Any], here: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Going on is bit-identical only under equal conditions; elsewhere the person decides."""
    differences = differing_keys(there, here)
    if differences and config["resume"] == "exact" and config["numerics"]["deterministic"]:
        raise WrongInput(
            f"{path}: was begun under other conditions: {'; '.join(differences)}; go on where they are equal, or with "
            "resume=anyway (no longer bit-identical), or from the start with another run_name"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache  # of the code that this process has loaded, whatever is committed while it runs
def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the suite's own checkout, and whether it has uncommitted changes; None outside a checkout."""
    here = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no", "--", "."))
    except (OSError, subprocess.SubprocessError):
        return None, None
