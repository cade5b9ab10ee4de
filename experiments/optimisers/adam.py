"""Adam, and Adam with a decay of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from experiments.chosen_entries import trained_entries
from experiments.optimisers.base import OPTIMISERS, between_0_and_1
from probes.objective import weight_matrices


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
    counted = {id(w) for w in (*weight_matrices(network), *trained_entries(network))}
    decayed = [p for p in network.parameters() if id(p) in counted]
    others = [p for p in network.parameters() if id(p) not in counted]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=lr, betas=_pair(betas), eps=eps, weight_decay=decoupled_weight_decay)


def _pair(betas: Sequence[float]) -> tuple[float, float]:
    if len(betas) != 2:
        raise ValueError(f"betas={list(betas)}: must be two numbers")
    for value in betas:
        between_0_and_1("betas", value)
    return float(betas[0]), float(betas[1])
