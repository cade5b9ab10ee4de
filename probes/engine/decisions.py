"""What the Python of a forward may decide by, which a trace would keep as it was."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import nn


def traced_through(network: nn.Module, steps: Collection[str]) -> Iterator[tuple[str, nn.Module]]:
    """The modules whose ``forward`` tracing runs, so that its Python decides once and for all what is called."""
    inside: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if name and (name.startswith(inside) or name in steps):
            inside = (*inside, f"{name}.")
        else:
            yield name, module


def decisions(module: nn.Module) -> dict[str, Any] | None:
    """Plain attributes by which the Python of its ``forward`` may decide; None where one cannot be compared later.

    Numbers with a fraction count among the latter: they are what schedules change, and a trace would keep them.
    """
    own = {name: value for name, value in vars(module).items() if name not in _MODULES_OWN}
    return own if all(map(_comparable, own.values())) else None


_MODULES_OWN = frozenset(vars(nn.Module()))


def _comparable(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_comparable, value))
    return value is None or isinstance(value, int | str) or (callable(value) and not getattr(value, "__closure__", ()))
