"""Norm mimicry: weights that have, or move as if they had, the norms that those of another run had."""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from experiments.array_file import DAMAGED, read_arrays
from experiments.errors import WrongInput
from experiments.optimisers.base import OPTIMISERS, check_momentum
from experiments.selections import SCALE_INVARIANT, Parameters, some
from probes.dynamics import CHANNEL_NORMS

Rescale = Literal["step", "weights"]


class Norms(NamedTuple):
    """The norms of one weight's channels in another run."""

    steps: list[int]
    """At which they were stored, ascending, from 0 on."""
    values: Tensor
    """(steps, channels), float64."""

    def at(self, step: int) -> Tensor:
        """(channels,): those that were stored last before ``step``, or at it."""
        return self.values[bisect.bisect_right(self.steps, step) - 1]


class NormMimicry(torch.optim.SGD):
    """See :func:`norm_mimicry`.

    Args:
        parameters: what is trained.
        lr, momentum, nesterov: of the descent.
        norms_file, match, rescale: see :func:`norm_mimicry`.
    """

    def __init__(
        self,
        parameters: Any,
        lr: float,
        momentum: float,
        nesterov: bool,
        norms_file: str,
        match: str | list[str],
        rescale: Rescale,
    ) -> None:
        foreach = False if nesterov else None  # as of sgd
        super().__init__(parameters, lr=lr, momentum=momentum, nesterov=nesterov, foreach=foreach)
        self.norms_file, self.match, self.rescale = norms_file, match, rescale
        for group in self.param_groups:  # part of the checkpoint
            group["done"] = 0
        self._targets: list[tuple[nn.Parameter, Norms]] = []

    def choose(self, parameters: Parameters) -> None:
        """See :class:`experiments.optimisers.base.ChoosesParameters`: finds each weight's norms in the file."""
        names = parameters.matching("optim.match", self.match)
        chosen = {n: p for n, p in parameters.network.named_parameters() if n in names and p.requires_grad}
        if not chosen:
            raise WrongInput(f"optim.match={self.match}: chooses only what is not trained")
        stored = stored_norms(self.norms_file)
        key = f"optim.norms_file={self.norms_file}"
        if missing := [name for name in chosen if name not in stored]:
            raise WrongInput(f"{key}: has no norms of {some(missing)}; it has those of {some(stored)}")
        for name, weight in chosen.items():
            norms, channels = stored[name], len(weight)
            if norms.values.shape[1] != channels:
                raise WrongInput(f"{key}: {name} has {norms.values.shape[1]} channels there, and {channels} here")
            self._targets.append((weight, Norms(norms.steps, norms.values.to(weight.device))))
        if self.rescale == "weights":
            self._bring_to(0)

    def check(self, criterion: str, steps: int) -> None:
        """See :class:`experiments.optimisers.base.ChecksRun`: the other run must have been as long.

        Its length is what config.json beside the file says; of a file alone, it may have been looked at for the last
        time as long before its end as it was in between.
        """
        length = _length_beside(Path(self.norms_file))
        for _, norms in self._targets:
            gaps = [later - before for before, later in itertools.pairwise(norms.steps)]
            known = norms.steps[-1] + max(gaps, default=1) if length is None else length
            if steps > known:
                raise WrongInput(
                    f"steps={steps}: optim.norms_file={self.norms_file} has norms up to step {norms.steps[-1]} only; "
                    f"train for at most {known} steps, or mimic a longer run"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of gradient descent, and what is rescaled."""
        step = self.param_groups[0]["done"]
        start = [weight.clone() for weight, _ in self._targets] if self.rescale == "step" else []
        loss = super().step(closure)
        for (weight, norms), before in zip(self._targets, start, strict=False):
            factor = (channel_norms(before) / norms.at(step)).square()
            weight.copy_(before + _rows(factor, weight) * (weight - before))
        if self.rescale == "weights":
            self._bring_to(step + 1)
        for group in self.param_groups:
            group["done"] = step + 1
        return loss

    @torch.no_grad()
    def _bring_to(self, step: int) -> None:
        for weight, norms in self._targets:
            own = channel_norms(weight)
            weight.mul_(_rows(torch.where(own == 0, own, norms.at(step) / own), weight))


def _length_beside(file: Path) -> int | None:
    """The steps of the run in whose folder a file lies; None where it lies in none, or in a damaged one."""
    try:
        return int(json.loads(file.with_name("config.json").read_text(encoding="utf-8"))["config"]["steps"])
    except (OSError, KeyError, TypeError, ValueError):
        return None


def channel_norms(weight: Tensor) -> Tensor:
    """(channels,): the norm of each row of a weight, in float64."""
    return weight.detach().double().flatten(1).norm(dim=1)


def _rows(factor: Tensor, weight: Tensor) -> Tensor:
    return factor.to(weight.dtype).view(-1, *[1] * (weight.ndim - 1))


def stored_norms(path: str) -> dict[str, Norms]:
    """The norms by channel that a run's probe ``dynamics`` left in the run's ``arrays.npz``, by the weights' names.

    Raises:
        WrongInput: it is no such file, or damaged; it has no such norms, none of step 0, or some that are no norms.
    """
    key, found = f"optim.norms_file={path}", {}
    try:
        arrays = read_arrays(Path(path), lambda name: f"/{CHANNEL_NORMS}." in name)
    except DAMAGED as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is none, or damaged"
        raise WrongInput(f"{key}: cannot be read ({reason}); must be the arrays.npz of a finished run") from error
    for name, by_step in sorted(arrays.items(), reverse=True):  # where several probes have them, the first counts
        weight, steps = name.partition(f"/{CHANNEL_NORMS}.")[2], sorted(by_step)
        values = torch.stack([torch.as_tensor(by_step[step], dtype=torch.float64) for step in steps])
        if steps[0] != 0:
            raise WrongInput(f"{key}: the norms of {weight} begin at step {steps[0]}; those of step 0 are needed too")
        if values.ndim != 2 or not bool((values.isfinite() & (values > 0)).all()):
            raise WrongInput(f"{key}: the norms of {weight} must all be finite and above 0")
        found[weight] = Norms(steps, values)
    if not found:
        raise WrongInput(
            f"{key}: has no norms of channels; train that run with probes=dynamics probes.use.dynamics.channels=true"
        )
    return found


@OPTIMISERS.register("norm_mimicry")
def norm_mimicry(
    network: nn.Module,
    lr: float,
    *,
    norms_file: str | None = None,
    match: str | list[str] = SCALE_INVARIANT,
    rescale: Rescale = "step",
    momentum: float = 0.0,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Gradient descent at the effective rate of another run (Hoffer et al. 2018, arXiv:1803.01814, section 3).

    Of the run that is mimicked, ||v_t|| is the norm of an output channel's weights as its probe ``dynamics`` stored it
    (``channels=true``) last before step t or at it. Here the same channel's weights w move by

        w_{t+1} = w_t + (||w_t||^2 / ||v_t||^2) d_t,

    d_t being the step of gradient descent, its momentum included: the effective rate lr / ||w||^2 is that of the other
    run. Or w itself is brought to the norm ||v_{t+1}|| after every step, and at the start to ||v_0||; it is left alone
    where it is 0.

    Args:
        network: whose parameters are trained.
        lr: learning rate.
        norms_file: ``arrays.npz`` of the other run, once it has ended; a run goes by its contents.
        match: a pattern or a list of patterns, as of ``optim.groups``, of the weights that mimic; all others are moved
            by plain gradient descent.
        rescale: the step, or the weights.
        momentum, nesterov: of the descent.
    """
    check_momentum(momentum, nesterov)
    if norms_file is None:
        raise ValueError("norms_file=null: must be given, the arrays.npz of a finished run")
    return NormMimicry(network.parameters(), lr, momentum, nesterov, norms_file, match, rescale)
