"""Runs of one training: what one has measured is not trained again, and they end with equal bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.errors import RunFailure
from experiments.runs.checkpoints import kept_steps
from experiments.runs.files import read_json
from experiments.runs.folder import read_status
from experiments.runs.format import CONFIG, PROVENANCE
from experiments.runs.identity import (
    Identity,
    changed_defaults,
    covers,
    differing_keys,
    read_description,
    run_name,
    siblings,
)


def place_of(config: Mapping[str, Any], identity: Identity, data_label: str) -> Path:
    """The run folder of what is asked for: its own, or that of an ended run as long that has measured it all already.

    Args:
        config: the resolved configuration as plain dictionaries.
        identity, data_label: of the run.
    """
    runs_dir = Path(config["runs_dir"]).expanduser().absolute()
    own = runs_dir / run_name(config, identity, data_label)
    if config["run_name"] is not None or (own / CONFIG).exists():
        return own
    for other, described, status in _ended(runs_dir, identity):
        if changed_defaults(described, identity, "measurement"):
            continue
        if described["config"]["steps"] != config["steps"]:  # to the analysis the length is a part of the training
            continue
        enough = status["state"] == "finished" and status["step"] >= config["steps"]
        diverged = status["state"] == "diverged" and not config["retry_diverged"]
        kept = {step for step in config["checkpoint"]["keep"] if step <= status["step"]} <= set(kept_steps(other))
        if (enough or diverged) and kept and covers(described["measurement"], identity.measurement):
            return other
    return own


def compare_ends(
    path: Path, config: Mapping[str, Any], identity: Identity, step: int, sha256: str
) -> list[dict[str, Any]]:
    """Holds the end of a run against those of the runs of the same training beside it.

    Args:
        path: the run folder.
        config, identity: of the run.
        step: steps done.
        sha256: of its network, see :func:`state_sha256`.

    Returns:
        for provenance.json, of each other run that ended at ``step``: its name, and whether it was equal; or why that
        could not be told.

    Raises:
        RunFailure: another run ended with other weights under the same conditions; the line names both.
    """
    told: list[dict[str, Any]] = []
    for other, _, status in _ended(path.parent, identity):
        end = status.get("end") or {}
        if other == path or end.get("step") != step:
            continue
        reason = _not_comparable(path, other, config)
        if reason:
            told.append({"run": other.name, "not_compared": reason})
        elif end["sha256"] == sha256:
            told.append({"run": other.name, "equal": True})
        elif reason := _other_code(path, other):
            told.append({"run": other.name, "not_compared": reason})
        else:
            raise RunFailure(
                f"{path}: the same training ended with other weights than {other} after {step} steps; probes or "
                "evaluation disturbed one of them, or a module of the user's draws what no seed governs: mend it and "
                "delete both, or train with numerics=fast, which promises no bits"
            )
    return told


def state_sha256(network: nn.Module) -> str:
    """SHA-256, hexadecimal, over names, types, shapes and bits of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:  # what a user's module says of itself beyond tensors
            digest.update(f"{name} {value!r}\n".encode())
    return digest.hexdigest()


def _ended(runs_dir: Path, identity: Identity) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Folder, description and status of the ended runs of one training; not of those that were probed again."""
    for folder in siblings(runs_dir, identity):
        try:
            described, status = read_description(folder), read_status(folder)
        except (RunFailure, FileNotFoundError):  # damaged, which its own command says, or removed a moment ago
            continue
        if described is None or status is None or status["state"] not in ("finished", "diverged"):
            continue
        if described.get("training") != identity.training or "probed_again" in described["measurement"]:
            continue
        if not changed_defaults(described, identity, "training"):
            yield folder, described, status


def _not_comparable(one: Path, other: Path, config: Mapping[str, Any]) -> str:
    """Why equal bits cannot be asked for; "" where they can."""
    if not config["numerics"]["deterministic"]:
        return f"numerics={config['numerics']['name']} is not deterministic"
    try:
        starts = [*_starts(one), *_starts(other)]
    except (RunFailure, OSError):
        return "its provenance.json cannot be read"
    for start in starts[1:]:
        differences = differing_keys(start, starts[0])
        if differences:
            return f"other conditions: {'; '.join(differences)}"
    return ""


def _other_code(one: Path, other: Path) -> str:
    """Why other bits may be owed to other code of the suite; "" where it was the same."""
    code = [
        (start.get("git_commit"), bool(start.get("git_dirty")))
        for path in (one, other)
        for start in read_json(path / PROVENANCE, ("starts",))["starts"]
    ]
    if any(dirty for _, dirty in code):
        return "other weights, by code with changes not committed"
    commits = sorted({str(commit)[:12] for commit, _ in code})
    return f"other weights, by commits {' and '.join(commits)}" if len(commits) > 1 else ""


def _starts(path: Path) -> list[dict[str, Any]]:
    """Of each start of a run, on what its bits depend."""
    starts = read_json(path / PROVENANCE, ("starts",))["starts"]
    return [
        {
            "device": str(start.get("device")).split(":")[0],
            **{key: start.get(key) for key in ("device_name", "threads", "versions")},
        }
        for start in starts
    ]
