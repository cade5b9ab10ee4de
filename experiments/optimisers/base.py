"""What the optimisers share: the registry, and what one may ask of the suite beyond torch's ``step()``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch

from experiments.discovery import Registry
from experiments.optimisers.batch_again import BatchAgain
from experiments.selections import Parameters

OPTIMISERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry("optim", "experiments.optimisers")
"""Every optimiser is a class or function ``entry(network, lr, *, option: type = default, ...)``."""


@runtime_checkable
class ChoosesParameters(Protocol):
    """An optimiser that does something to some parameters only."""

    def choose(self, parameters: Parameters) -> None:
        """Called once, before training.

        Args:
            parameters: those of the network; what is frozen requires no gradient.

        Raises:
            WrongInput: there are none of those that it needs.
        """


@runtime_checkable
class ChecksRun(Protocol):
    """An optimiser that is not for every run."""

    def check(self, criterion: str, steps: int) -> None:
        """Called once, before training.

        Args:
            criterion: what is descended, by its name in :mod:`experiments.criteria`.
            steps: of the run.

        Raises:
            WrongInput: it is not for that.
        """


class Revisits(Protocol):
    """An optimiser that looks at the step's batch at other parameters than theta_t before it moves."""

    def step_with(self, again: BatchAgain) -> None:
        """Called in place of ``step()``; the gradient at theta_t is in ``.grad``, and must be there unchanged after."""


def revisits(optimiser: torch.optim.Optimizer) -> bool:
    """Whether it is of :class:`Revisits`; asked at every step, so by a look at the name alone."""
    return hasattr(optimiser, "step_with")


def between_0_and_1(name: str, value: float) -> None:
    """Refuses a value outside [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value}: must be at least 0 and below 1")


def check_momentum(momentum: float, nesterov: bool) -> None:
    """Refuses a momentum outside [0, 1), and Nesterov's way of taking one where there is none."""
    between_0_and_1("momentum", momentum)
    if nesterov and not momentum:
        raise ValueError("nesterov=true needs momentum above 0")


def at_least(name: str, value: float, least: float) -> None:
    """Refuses a value below ``least``, and infinity."""
    if not least <= value < float("inf"):
        raise ValueError(f"{name}={value}: must be at least {least:g}")
