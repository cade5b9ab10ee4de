"""Learning rates of a step: the unit of step lengths, and those of parameters that have one of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn

from probes.errors import ProbeError


class Rates(NamedTuple):
    """Of one step."""

    unit: float
    """lr_t: where parameters have rates of their own, that of the optimiser's first group, or of the first one."""
    own: Mapping[str, float]
    """Of every trained parameter by name; empty where all have the one rate."""


LearningRate = float | Callable[[int], float | Mapping[str, float] | Rates] | None
"""A constant; or step -> one rate, the rate of each trained parameter by its name, or both with their unit."""


def rates_by_step(
    given: LearningRate, optimiser: torch.optim.Optimizer | None, network: nn.Module
) -> Callable[[int], Rates]:
    """step -> learning rates, as they are at the moment of the call.

    Args:
        given: what :class:`Probes` was given; None for what the optimiser has.
        optimiser: of the training.
        network: whose parameters are trained.

    Raises:
        ProbeError: neither is given, or, when it is asked, a trained parameter has no rate.
    """
    if given is None and optimiser is None:
        raise ProbeError("learning_rate: must be given, or an optimiser to read it from")

    def trained() -> list[str]:
        return [name for name, parameter in network.named_parameters() if parameter.requires_grad]

    def of_optimiser() -> Rates:
        assert optimiser is not None
        groups = optimiser.param_groups
        by_id = {id(p): float(group["lr"]) for group in groups for p in group["params"]}
        named = {name: by_id.get(id(parameter), 0.0) for name, parameter in network.named_parameters()}
        return _rates(float(groups[0]["lr"]), {name: named[name] for name in trained()})

    def at(step: int) -> Rates:
        if given is None:
            return of_optimiser()
        found = given(step) if callable(given) else given
        if isinstance(found, Rates):
            return found
        if not isinstance(found, Mapping):
            return Rates(float(found), {})
        names = trained()
        missing = [name for name in names if name not in found]
        if missing:
            raise ProbeError(f"learning_rate: gives none for the trained parameter {missing[0]!r} (step {step})")
        return _rates(float(found[names[0]]), {name: float(found[name]) for name in names})

    return at


def _rates(unit: float, own: Mapping[str, float]) -> Rates:
    return Rates(unit, {} if all(rate == unit for rate in own.values()) else own)
