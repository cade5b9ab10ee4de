"""Where a run's numbers are also sent while it trains; off by default. The run folder stays the source.

A mirror is a class ``Mirror(folder, start, *, <options>)``, registered here or in a user's file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from experiments.discovery import Registry
from experiments.errors import WrongInput
from experiments.options import build

__all__ = ["MIRRORS", "Mirror", "build_mirror"]


class Mirror(Protocol):
    """Takes what is recorded."""

    def write(self, probe: str, step: int, numbers: Mapping[str, float]) -> None:
        """Takes what ``probe`` measured at ``step``: by name, with layer and position where it has them."""

    def close(self) -> None:
        """The run has ended, or was stopped."""


MIRRORS: Registry[Callable[..., Mirror]] = Registry("mirror", "experiments.mirrors")


def build_mirror(options: Mapping[str, Any] | None, folder: Path, start: int) -> Mirror | None:
    """The mirror that the configuration's ``mirror`` group describes, if any.

    Args:
        options: the group as plain dictionaries.
        folder: the run folder.
        start: the step from which the run goes on; what was sent of later ones will be sent again.

    Raises:
        WrongInput: unknown mirror or option, or a package that it needs is missing.
    """
    if not options or options.get("name") is None:
        return None
    own = {key: value for key, value in options.items() if key not in ("name", "file")}
    mirror: Mirror = build("mirror", MIRRORS.get(options["name"], options.get("file")), (folder, start), own)
    if not callable(getattr(mirror, "write", None)) or not callable(getattr(mirror, "close", None)):
        raise WrongInput(f"mirror.name={options['name']}: must have the methods write and close")
    return mirror
