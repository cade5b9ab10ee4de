"""Normalisations, and the one door to them: :func:`apply_norm`.

One file per family. A user's own normalisation comes in by the same door, from the user's file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from experiments.errors import WrongInput, near_miss
from experiments.norms.base import NORMS, OutputNormalisation, Rewritten, units
from experiments.registry import build

__all__ = ["ACTIVATIONS", "NORMS", "NormalisedLayer", "OutputNormalisation", "Rewritten", "apply_norm", "units"]

ACTIVATIONS: Mapping[str, Callable[[], nn.Module] | None] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "none": None,
}
"""The non-linearities by name; none of them works in place."""


class NormalisedLayer(nn.Sequential):
    """A layer with its normalisation and activation: children ``layer``, ``norm``, ``activation`` where present."""


def apply_norm(
    layer: nn.Module,
    name: str | Callable[..., Any],
    *,
    activation: str | None = None,
    placement: str = "before",
    file: str | Path | None = None,
    **options: Any,
) -> NormalisedLayer:
    """``layer`` with a normalisation, and perhaps an activation.

    Most normalisations act on the layer's output and become the child ``norm``; the parameters gamma and beta are then
    ``norm.weight`` and ``norm.bias``. Those that rewrite the layer itself (weight normalisation) leave no ``norm``, nor
    does ``none``.

    Args:
        layer: ``nn.Linear`` or ``nn.Conv2d``, with its weights. A normalisation that rewrites it changes it in place.
        name: a built-in normalisation (``NORMS.names()``), one defined in ``file``, or the class itself.
        activation: relu, sigmoid, tanh, or none (None).
        placement: "before" the activation (Ioffe & Szegedy 2015) or "after" it.
        file: the Python file that defines the user's own normalisation ``name``.
        options: the normalisation's own options.

    Raises:
        WrongInput: a name, option, layer or value that does not fit.
    """
    if activation not in (None, *ACTIVATIONS):
        raise WrongInput(f"activation={activation}: unknown activation; {near_miss(str(activation), ACTIVATIONS)}")
    if placement not in ("before", "after"):
        raise WrongInput(f"placement={placement}: must be before or after (the activation)")
    units(layer)  # refuses a layer of another kind whatever the normalisation
    entry = NORMS.get(name, file) if isinstance(name, str) else name
    built = build("norm", entry, (layer,), options)

    children: dict[str, nn.Module] = {"layer": layer}
    if isinstance(built, Rewritten):
        children["layer"] = built.layer
    elif isinstance(built, nn.Module):
        _mark(built)
        children["norm"] = built
    else:
        spelled = name if isinstance(name, str) else getattr(name, "__name__", repr(name))
        raise WrongInput(
            f"norm.name={spelled}: gives {type(built).__name__}; must give a torch.nn.Module that acts on the layer's "
            f"output, or experiments.norms.Rewritten(layer)"
        )
    make = ACTIVATIONS[activation or "none"]
    if make is not None:
        children["activation"] = make()
    if placement == "after":
        children = {key: children[key] for key in ("layer", "activation", "norm") if key in children}
    return NormalisedLayer(OrderedDict(children))


def _mark(norm: nn.Module) -> None:
    """Sets ``is_normalisation`` on the leaves that do not say themselves whether they normalise."""
    steps = list(norm.children()) if type(norm).forward is nn.Sequential.forward else [norm]
    for step in steps:
        if not hasattr(step, "is_normalisation"):
            step.is_normalisation = True  # type: ignore[assignment]
