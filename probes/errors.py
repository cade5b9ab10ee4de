"""What a person who asked must change, in one line."""

from __future__ import annotations


class ProbeError(ValueError):
    """Wrong input to the probes: a layer, grid, schedule, model or probe that cannot be measured as asked."""
