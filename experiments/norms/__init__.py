"""Normalisations, and the one door to them: :func:`apply_norm`.

One file per family. A user's own normalisation comes in by the same door, from the user's file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.utils import skip_init

from experiments.errors import WrongInput, near_miss
from experiments.norms import base
from experiments.norms.base import NORMS, OutputNormalisation, Rewritten, device_and_dtype, units
from experiments.options import build

__all__ = [
    "ACTIVATIONS",
    "NORMS",
    "NormalisedLayer",
    "OutputNormalisation",
    "Rewritten",
    "apply_norm",
    "normalised",
    "units",
]

ACTIVATIONS: Mapping[str, Callable[[], nn.Module] | None] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "none": None,
}
"""The non-linearities by name; none of them works in place."""


PLACEMENTS: Mapping[str, tuple[str, ...]] = {
    "before": ("layer", "norm", "activation"),
    "after": ("layer", "activation", "norm"),
    "first": ("norm", "activation", "layer"),
}
"""In which order a layer, its normalisation and its activation stand."""


class NormalisedLayer(nn.Sequential):
    """A layer with its normalisation and activation: children ``layer``, ``norm``, ``activation`` where present."""


def apply_norm(
    layer: nn.Module | None,
    name: str | Callable[..., Any],
    *,
    activation: str | None = None,
    placement: str = "before",
    units: int | None = None,
    dims: int | None = None,
    file: str | Path | None = None,
    **options: Any,
) -> NormalisedLayer:
    """``layer`` with a normalisation, and perhaps an activation.

    Most normalisations act on the layer's output and become the child ``norm``; the parameters gamma and beta are then
    ``norm.weight`` and ``norm.bias``. Those that rewrite the layer itself (weight normalisation) leave no ``norm``, nor
    does ``none``.

    Args:
        layer: ``nn.Linear`` or ``nn.Conv2d``, with its weights. A normalisation that rewrites it changes it in place.
            None for a normalisation that stands alone (of inputs, or of a sum); one that rewrites layers does nothing
            there.
        name: a built-in normalisation (``NORMS.names()``), one defined in ``file``, or the class itself.
        activation: relu, sigmoid, tanh, or none (None).
        placement: "before" the activation (Ioffe & Szegedy 2015) or "after" it; "first": normalisation and activation
            act on the layer's input (pre-activation, He et al. 2016, arXiv:1603.05027).
        units, dims: without a layer, how many units there are, and 1 for vectors (samples, units) or 2 for images
            (samples, units, height, width).
        file: the Python file that defines the user's own normalisation ``name``.
        options: the normalisation's own options.

    Raises:
        WrongInput: a name, option, layer or value that does not fit.
    """
    entry = NORMS.get(name, file) if isinstance(name, str) else name
    spelled = name if isinstance(name, str) else getattr(name, "__name__", repr(name))
    how: dict[str, Any] = {"activation": activation, "placement": placement, "units": units, "dims": dims}
    return normalised(layer, entry, spelled, options, **how)


def normalised(
    layer: nn.Module | None,
    entry: Callable[..., Any],
    spelled: str,
    options: Mapping[str, Any],
    *,
    activation: str | None = None,
    placement: str = "before",
    units: int | None = None,
    dims: int | None = None,
) -> NormalisedLayer:
    """The same of a normalisation that was found, its options apart from what is asked of this door.

    Args:
        layer, activation, placement, units, dims: as :func:`apply_norm` takes them.
        entry: the normalisation's class or function.
        spelled: what it is called, for error lines.
        options: its own.

    Raises:
        WrongInput: an option, layer or value that does not fit.
    """
    if activation not in (None, *ACTIVATIONS):
        raise WrongInput(f"activation={activation}: unknown activation; {near_miss(str(activation), ACTIVATIONS)}")
    if placement not in PLACEMENTS:
        raise WrongInput(f"placement={placement}: must be before or after (the activation), or first")
    if (layer is None) != (units is not None and dims is not None):
        raise WrongInput("norm: needs a layer, or without one both units and dims")
    if layer is not None:
        base.units(layer)  # refuses a layer of another kind whatever the normalisation
    acted_on = _stand_in(units, dims) if layer is None else _fed_by(layer) if placement == "first" else layer
    built = build("norm", entry, (acted_on,), options)
    if isinstance(built, Rewritten) and layer is not None and acted_on is not layer:
        built = build("norm", entry, (layer,), options)

    children: dict[str, nn.Module] = {} if layer is None else {"layer": layer}
    if isinstance(built, Rewritten):
        children |= {} if layer is None else {"layer": built.layer}
    elif isinstance(built, nn.Module):
        children["norm"] = built
    else:
        raise WrongInput(
            f"norm.name={spelled}: gives {type(built).__name__}; must give a torch.nn.Module that acts on the layer's "
            f"output, or experiments.norms.Rewritten(layer)"
        )
    make = ACTIVATIONS[activation or "none"]
    if make is not None:
        children["activation"] = make()
    return NormalisedLayer(OrderedDict((key, children[key]) for key in PLACEMENTS[placement] if key in children))


def _stand_in(units: int | None, dims: int | None) -> nn.Module:
    """A layer that gives what a normalisation that stands alone acts on; only its sizes count."""
    if dims not in (1, 2) or units is None or units < 1:
        raise WrongInput(f"norm(units={units}, dims={dims}): units must be at least 1, dims 1 (vectors) or 2 (images)")
    return skip_init(nn.Linear, 1, units) if dims == 1 else skip_init(nn.Conv2d, 1, units, 1)


def _fed_by(layer: nn.Module) -> nn.Module:
    """A layer that gives what ``layer`` takes."""
    made = _stand_in(layer.in_features, 1) if isinstance(layer, nn.Linear) else _stand_in(layer.in_channels, 2)  # type: ignore[arg-type]
    return made.to(**device_and_dtype(layer))
