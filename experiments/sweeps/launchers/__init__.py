"""Launchers by name: who carries out the jobs of a sweep, and where.

A launcher is a class whose typed keyword arguments are its options in conf/launcher/<name>.yaml, registered here or in
a user's file. Results must not depend on it: a run's threads, device type and arithmetic stand in its configuration.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from experiments.discovery import Registry
from experiments.errors import WrongInput
from experiments.options import build, refuse_unknown_options
from experiments.sweeps.job import Job, Result

__all__ = ["LAUNCHERS", "Launcher", "build_launcher", "cores"]


class Launcher(Protocol):
    """Carries out jobs."""

    def launch(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Result]]:
        """Yields each job with its result as it ends, in any order.

        Closed early (the person stopped the sweep), it stops what it started where that would otherwise be lost.
        """
        ...

    def concurrent(self, jobs: Sequence[Job]) -> int:
        """How many of these jobs run at a time, for estimates."""
        ...


LAUNCHERS: Registry[Callable[..., Launcher]] = Registry("launcher", "experiments.sweeps.launchers")


def build_launcher(options: Mapping[str, Any], runs_dir: str | Path) -> Launcher:
    """The launcher that the configuration's ``launcher`` group describes.

    Args:
        options: the group as plain dictionaries: ``name``, ``file`` and the launcher's own.
        runs_dir: where the sweep's runs are; what a launcher must write goes under ``runs_dir/.sweep``.

    Raises:
        WrongInput: unknown launcher or option, or a package that it needs is missing.
    """
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise WrongInput(f"launcher={options}: must be a group of options with a name; {', '.join(LAUNCHERS.names())}")
    entry, own = _named(options)
    launcher: Launcher = build("launcher", entry, (Path(runs_dir).expanduser().absolute(),), own)
    return launcher


def check_launcher(options: Mapping[str, Any]) -> None:
    """Refuses an option that the launcher does not take; for a single run, which builds none.

    Raises:
        WrongInput: unknown launcher or option.
    """
    entry, own = _named(options)
    refuse_unknown_options("launcher", entry, 1, own, {})


def _named(options: Mapping[str, Any]) -> tuple[Callable[..., Launcher], dict[str, Any]]:
    own = {key: value for key, value in options.items() if key not in ("name", "file")}
    return LAUNCHERS.get(options["name"], options.get("file")), own


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
