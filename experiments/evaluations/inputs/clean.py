"""The inputs as they are."""

from __future__ import annotations

from experiments.evaluations.base import INPUTS, Inputs


@INPUTS.register("clean")
class Clean(Inputs):
    """Nothing is done to them."""
