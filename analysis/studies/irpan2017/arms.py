"""Which samples share a batch and statistics in each arm."""

from __future__ import annotations

from typing import Any

from analysis.select import Arm

ORDER = "data.order"
MIXED, IN_TURN = "reshuffled", "alternating"


def _batch(name: str, order: str, per: str, running: str = "shared") -> Arm:
    return Arm.of(name, {"norm": "batch", "norm.per": per, "norm.running": running, ORDER: order})


JOINT = _batch("joint", MIXED, "batch")
SEPARATE = _batch("separate", "blocks", "domain")
OWN = _batch("own averages", "blocks", "domain", "domain")
TURNS = _batch("batch, in turn", IN_TURN, "batch")
RENORM = {"norm.momentum": 0.1, "norm.warmup": 20, "norm.r_ramp": 60, "norm.d_ramp": 60}


def in_turn(norm: str, **options: Any) -> Arm:
    """The runs of a normalisation on batches of one domain each."""
    return Arm.of(f"{norm}, in turn", {"norm": norm, ORDER: IN_TURN, **options})
