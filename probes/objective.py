"""One definition of the loss: what training descends is what the probes evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from probes.network import kind_of


class Loss(NamedTuple):
    """The loss of one batch, its parts, and the network's output."""

    total: Tensor
    """data_loss + penalty, the function that training descends; scalar."""
    data_loss: Tensor
    """Loss of the predictions alone; scalar."""
    penalty: Tensor
    """(weight_decay / 2) * sum of ||W||^2 over :func:`weight_matrices`; scalar."""
    output: Tensor
    """The network's output, (samples, outputs)."""


@dataclass(frozen=True)
class Objective:
    """Data loss and L2 penalty.

    Args:
        data_loss: maps (output, targets) to a scalar tensor.
        weight_decay: lambda of the penalty (lambda / 2) * sum ||W||^2; 0 for none. It is a term of the loss, not a
            rule of the optimiser, so that probes see the function that training descends.
    """

    data_loss: Callable[[Tensor, Tensor], Tensor]
    weight_decay: float = 0.0

    def __call__(
        self, forward: Callable[[Tensor], Tensor], network: nn.Module, inputs: Tensor, targets: Tensor
    ) -> Loss:
        """The loss of ``network`` on (inputs, targets).

        Args:
            forward: maps inputs to outputs with the parameters of ``network``; the network itself, or a
                walk through its layers that keeps their outputs.
            network: where the penalised weights are.
            inputs: (samples, ...).
            targets: (samples,) class indices or (samples, outputs) values.
        """
        output = forward(inputs)
        data_loss = self.data_loss(output, targets)
        if not self.weight_decay:
            return Loss(data_loss, data_loss, torch.zeros_like(data_loss), output)
        penalty = self.weight_decay / 2 * torch.stack([w.square().sum() for w in weight_matrices(network)]).sum()
        return Loss(data_loss + penalty, data_loss, penalty, output)


def weight_matrices(network: nn.Module, prefix: str = "") -> Iterator[Tensor]:
    """The weights that the penalty counts: every parameter of two or more dimensions, but no bias, gamma or beta.

    A normalisation's parameters are gamma and beta whatever their shape (``nn.LayerNorm([C, H, W])``). Of a
    reparametrised layer (weight normalisation) it is the weight that the layer applies, not its factors.

    Args:
        network: where they are.
        prefix: its own name in the network that it is a part of.
    """
    for path, module in network.named_modules(prefix=prefix):
        if isinstance(module, parametrize.ParametrizationList) or kind_of(module, path) == "norm":
            continue
        if parametrize.is_parametrized(module):
            for name in module.parametrizations:
                weight = getattr(module, name)
                if weight.ndim >= 2:
                    yield weight
        for parameter in module.parameters(recurse=False):
            if parameter.ndim >= 2:
                yield parameter
