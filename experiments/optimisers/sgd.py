"""Stochastic gradient descent."""

from __future__ import annotations

import torch
from torch import nn

from experiments.optimisers.base import OPTIMISERS, check_momentum


@OPTIMISERS.register("sgd")
def sgd(network: nn.Module, lr: float, *, momentum: float = 0.0, nesterov: bool = False) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with heavy-ball or Nesterov momentum; full-batch if the batch is the whole set."""
    check_momentum(momentum, nesterov)
    # With foreach, torch's Nesterov momentum overwrites .grad, which probes still have to read.
    foreach = False if nesterov else None
    return torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, nesterov=nesterov, foreach=foreach)
