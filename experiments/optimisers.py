"""Optimisers by name, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from experiments.errors import WrongInput
from experiments.registry import Registry, build
from experiments.schema import OPTIMISATION_KEYS
from probes.objective import weight_matrices

OPTIMISERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry("optim", "experiments.optimisers")


@OPTIMISERS.register("sgd")
def sgd(network: nn.Module, lr: float, *, momentum: float = 0.0, nesterov: bool = False) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with heavy-ball or Nesterov momentum; full-batch if the batch is the whole set."""
    _between_0_and_1("momentum", momentum)
    if nesterov and not momentum:
        raise ValueError("nesterov=true needs momentum above 0")
    # With foreach, torch's Nesterov momentum overwrites .grad, which probes still have to read.
    foreach = False if nesterov else None
    return torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, nesterov=nesterov, foreach=foreach)


@OPTIMISERS.register("adam")
def adam(
    network: nn.Module, lr: float, *, betas: tuple[float, ...] = (0.9, 0.999), eps: float = 1e-8
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015)."""
    return torch.optim.Adam(network.parameters(), lr=lr, betas=_pair(betas), eps=eps)


@OPTIMISERS.register("adamw")
def adamw(
    network: nn.Module,
    lr: float,
    *,
    betas: tuple[float, ...] = (0.9, 0.999),
    eps: float = 1e-8,
    decoupled_weight_decay: float = 0.01,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019): W <- W - lr * decoupled_weight_decay * W beside Adam's step.

    The decay touches the parameters that the L2 term counts and no others. It is no term of the loss, so probes
    evaluate the loss without it.
    """
    if decoupled_weight_decay < 0:
        raise ValueError(f"decoupled_weight_decay={decoupled_weight_decay}: must be at least 0")
    counted = {id(w) for w in weight_matrices(network)}
    decayed = [p for p in network.parameters() if id(p) in counted]
    others = [p for p in network.parameters() if id(p) not in counted]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=lr, betas=_pair(betas), eps=eps, weight_decay=decoupled_weight_decay)


def build_optimiser(network: nn.Module, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimiser that the optim group describes, for all parameters of ``network``.

    Raises:
        WrongInput: unknown name or option, wrong type, or a value out of range.
    """
    special = {k: v for k, v in options.items() if k not in (*OPTIMISATION_KEYS, "name", "file")}
    entry = OPTIMISERS.get(options["name"], options.get("file"))
    optimiser = build("optim", entry, (network, float(options["lr"])), special)
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise WrongInput(f"optim.name={options['name']}: must return a torch optimiser, not {type(optimiser).__name__}")
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
        return lambda step: lr * factor ** sum(m <= step for m in milestones)
    return lambda step: lr * (1 + math.cos(math.pi * min(step, steps) / steps)) / 2


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of all parameter groups."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def _between_0_and_1(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value}: must be at least 0 and below 1")


def _pair(betas: Sequence[float]) -> tuple[float, float]:
    if len(betas) != 2:
        raise ValueError(f"betas={list(betas)}: must be two numbers")
    for value in betas:
        _between_0_and_1("betas", value)
    return float(betas[0]), float(betas[1])
