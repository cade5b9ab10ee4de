"""What is trained in each arm, as `optim.groups` says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.select import Arm, plain

_FEATURES = {"match": "weights", "except": "head*"}
_FROZEN = {**_FEATURES, "train": False}
_TWO = {**_FEATURES, "random_per_channel": 2}
_NO_AFFINE = {"match": ["gamma", "beta"], "train": False}
_NO_OUTPUT = {"match": "head*", "train": False}


def _arm(name: str, *groups: Mapping[str, Any]) -> Arm:
    return Arm.of(name, {"norm": "batch", "optim.groups": plain(list(groups))})


NORM_OUTPUT = _arm("gamma, beta and output", _FROZEN)
TWO_OUTPUT = _arm("two weights and output", _TWO, _NO_AFFINE)
OUTPUT = _arm("output alone", {"match": "*", "except": "head*", "train": False})
NORM = _arm("gamma and beta alone", {"match": "weights", "train": False}, {"match": "head*.bias", "train": False})
TWO = _arm("two weights alone", _TWO, _NO_AFFINE, _NO_OUTPUT)
ALL = _arm("everything")
ARMS = (ALL, NORM_OUTPUT, TWO_OUTPUT, OUTPUT, NORM, TWO)
