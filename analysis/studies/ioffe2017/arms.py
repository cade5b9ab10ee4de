"""How batches are normalised, and what they hold, in each arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.select import Arm

_MIXED = {"data.order": "reshuffled", "data.grouped_by": None, "data.groups_per_batch": None}
_FEW = {"data.order": "blocks", "data.grouped_by": "class", "data.groups_per_batch": 2}


def _arm(name: str, norm: Mapping[str, Any], order: Mapping[str, Any]) -> Arm:
    return Arm.of(name, {**norm, **order})


WHOLE = _arm("batch, whole batches", {"norm": "batch", "norm.per": "batch"}, _MIXED)
MICRO = {
    size: _arm(f"batch, parts of {size}", {"norm": "batch", "norm.per": "ghost", "norm.ghost_size": size}, _MIXED)
    for size in (2, 4)
}
MICRO_RENORM = {
    size: _arm(f"renormalised, parts of {size}", {"norm": "batch_renorm", "norm.ghost_size": size}, _MIXED)
    for size in (2, 4)
}
FEW = _arm("batch, two classes", {"norm": "batch", "norm.per": "batch"}, _FEW)
FEW_RENORM = _arm("renormalised, two classes", {"norm": "batch_renorm", "norm.ghost_size": None}, _FEW)
ARMS = (WHOLE, *MICRO.values(), *MICRO_RENORM.values(), FEW, FEW_RENORM)
