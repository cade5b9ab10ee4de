"""How a run is built, trained, stored and resumed. Importing it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.composition import compose
    from experiments.runs.attempt import Outcome
    from experiments.runs.loading import load_network
    from experiments.runs.run import run

__all__ = ["Outcome", "compose", "load_network", "run"]

_HOMES = {
    "compose": "experiments.composition",
    "run": "experiments.runs.run",
    "Outcome": "experiments.runs.attempt",
    "load_network": "experiments.runs.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'experiments' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
