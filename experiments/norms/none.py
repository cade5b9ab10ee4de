"""No normalisation: the network that the others are compared with."""

from __future__ import annotations

from torch import nn

from experiments.norms.base import NORMS, Rewritten


@NORMS.register("none")
def none(layer: nn.Module) -> Rewritten:
    """The layer as it is."""
    return Rewritten(layer)
