"""The points in parameter space at which a training step is looked at."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from probes.errors import ProbeError

Direction = Literal["gradient", "update", "random"]
Moves = Literal["all", "weights"]


@dataclass(frozen=True)
class Before:
    """theta_t, before the update."""

    label = "before"

    def __str__(self) -> str:
        return "before"


@dataclass(frozen=True)
class After:
    """theta_{t+1}, after the real update."""

    label = "after"

    def __str__(self) -> str:
        return "after"


@dataclass(frozen=True)
class Along:
    """theta_t - multiple * lr_t * d.

    Args:
        multiple: step length, in learning rates, >= 0.
        direction: d is g_t, the gradient of the training batch's loss at theta_t ("gradient"); the real update's
            (theta_t - theta_{t+1}) / lr_t ("update"); a Gaussian direction of g_t's length ("random").
        index: which random direction; they are fixed by (seed, step, index).
    """

    multiple: float
    direction: Direction = "gradient"
    index: int = 0
    label = "along"

    def __str__(self) -> str:
        which = f" {self.index}" if self.direction == "random" else ""
        return f"along the {self.direction}{which} x {self.multiple:g}"


@dataclass(frozen=True)
class Hybrid:
    """What precedes ``layer`` from theta_{t+1}, the rest from theta_t (Santurkar et al. 2018, Definition 2.1).

    Args:
        layer: the first layer that stays.
        moves: every parameter of the leaves before it moves ("all"), or only those of the weight leaves, bias
            included, gamma and beta staying ("weights").
    """

    layer: str
    moves: Moves = "all"
    label = "hybrid"

    def __str__(self) -> str:
        return f"hybrid at {self.layer}" + (" (weight leaves only)" if self.moves == "weights" else "")


Point = Before | After | Along | Hybrid


def check_grid(name: str, multiples: tuple[float, ...]) -> tuple[float, ...]:
    """The grid as floats.

    Raises:
        ProbeError: it is empty, unsorted, has equal or negative entries.
    """
    grid = tuple(float(multiple) for multiple in multiples)
    if not grid:
        raise ProbeError(f"{name}=[]: at least one step length is needed, in multiples of the learning rate")
    # written so that NaN fails too
    if not grid[0] >= 0 or not all(a < b for a, b in itertools.pairwise(grid)) or grid[-1] == float("inf"):
        raise ProbeError(f"{name}={list(grid)}: must be finite, ascending, not negative (the walk is along -direction)")
    return grid
