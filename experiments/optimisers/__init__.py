"""Optimisers by name, one file per family, and the learning rate as a function of the step.

A user's own optimiser comes in by the same door, from the user's file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from experiments.errors import WrongInput
from experiments.optimisers.base import OPTIMISERS, ChecksRun, ChoosesParameters, Revisits, revisits
from experiments.optimisers.batch_again import BatchAgain
from experiments.options import build
from experiments.schema import OPTIMISATION_KEYS
from experiments.selections import Parameters

__all__ = [
    "OPTIMISERS",
    "BatchAgain",
    "ChecksRun",
    "ChoosesParameters",
    "Revisits",
    "build_optimiser",
    "learning_rate_schedule",
    "revisits",
    "set_learning_rate",
    "update",
]


def build_optimiser(
    network: nn.Module, options: Mapping[str, Any], parameters: Parameters | None = None
) -> torch.optim.Optimizer:
    """The optimiser that the optim group describes, for all parameters of ``network``.

    Args:
        network: whose parameters are trained.
        options: the optim group.
        parameters: those of ``network``; they know what ``scale_invariant`` is.

    Raises:
        WrongInput: unknown name or option, wrong type, or a value out of range.
    """
    special = {k: v for k, v in options.items() if k not in (*OPTIMISATION_KEYS, "name", "file")}
    entry = OPTIMISERS.get(options["name"], options.get("file"))
    optimiser = build("optim", entry, (network, float(options["lr"])), special)
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise WrongInput(f"optim.name={options['name']}: must return a torch optimiser, not {type(optimiser).__name__}")
    if isinstance(optimiser, ChoosesParameters):
        optimiser.choose(parameters or Parameters(network))
    return optimiser


def learning_rate_schedule(
    schedule: str, lr: float, steps: int, milestones: Sequence[int], factor: float
) -> Callable[[int], float]:
    """The learning rate of step t, a pure function of t.

    constant: lr. step: lr * factor ** (number of milestones <= t). cosine: lr (1 + cos(pi t / steps)) / 2.
    """
    if schedule == "constant":
        return lambda step: lr
    if schedule == "step":
        return lambda step: lr * _power(factor, sum(m <= step for m in milestones))
    return lambda step: lr * (1 + math.cos(math.pi * min(step, steps) / max(steps, 1))) / 2


def _power(factor: float, times: int) -> float:
    try:
        return factor**times
    except OverflowError:
        return math.inf


def update(optimiser: torch.optim.Optimizer, again: BatchAgain | None = None) -> None:
    """One step of the optimiser; where its length is beyond the weights' type, so are the weights after it: NaN.

    torch refuses to multiply by a number that the type of the weights cannot hold. A rate that large is no failure of
    the run, which has diverged.

    Args:
        optimiser: to its parameters belongs the gradient at theta_t.
        again: the step's batch, for one that looks at it elsewhere too.
    """
    try:
        if again is None:
            optimiser.step()
        else:
            cast(Revisits, optimiser).step_with(again)
    except RuntimeError as error:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        largest = min(torch.finfo(p.dtype).max for p in parameters)
        near = any(float(group["lr"]) > largest * _NEAR for group in optimiser.param_groups)
        if not near or "without overflow" not in str(error):
            raise
        with torch.no_grad():
            for parameter in parameters:
                parameter.fill_(math.nan)


_NEAR = 1e-8
"""Adam's first steps are up to 1 / ((1 - beta_1) sqrt(1 - beta_2)) rates long."""


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float, factors: Sequence[float]) -> None:
    """Sets the learning rate of all parameter groups, each to ``lr`` times its own factor."""
    for group, factor in zip(optimiser.param_groups, factors, strict=True):
        group["lr"] = lr * factor
