"""The batch of a step once more, for optimisers that ask what its loss is elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from experiments.data import Batch
from probes.generators import RandomState
from probes.objective import Objective, scalar
from probes.randomness import at_step
from probes.statistics import in_domain_of


class BatchAgain:
    """Gradients on a step's batch at whatever the network's parameters are when they are asked for.

    It is the same function of the parameters as the step's own pass: with the same noise and dropout, and with the
    buffers as they stood before that pass. No buffer moves: running statistics are those of the step's own pass alone.

    Args:
        network: before its own pass on the batch.
        objective: what the step descends.
        batch: of the step.
        seed: the run's.
    """

    def __init__(self, network: nn.Module, objective: Objective, batch: Batch, seed: int) -> None:
        self.network, self.objective, self.batch, self.seed = network, objective, batch, seed
        self._buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        self._random = RandomState(batch.inputs.device)

    def data_gradients(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Of the data loss, without the penalty, one for each parameter; 0 where it is not used."""
        after = RandomState(self.batch.inputs.device)
        self._random.restore()
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        try:
            with torch.enable_grad(), at_step(self.seed, self.batch.step), in_domain_of(self.batch):
                with self.objective.within(self.network):
                    output = functional_call(self.network, buffers, (self.batch.inputs,))
                loss = scalar(self.objective.data_loss(output, self.batch.targets))
        finally:
            after.restore()
        return list(torch.autograd.grad(loss, list(parameters), allow_unused=True, materialize_grads=True))

    def penalty_gradients(self, parameters: Sequence[Tensor]) -> list[Tensor] | None:
        """Of the penalty, one for each parameter; None where there is no penalty."""
        if not self.objective.penalised:
            return None
        with torch.enable_grad():
            like = next(iter(parameters))
            penalty = self.objective.penalty([(self.network, "")], like.new_zeros(()))
        if not penalty.requires_grad:
            return None
        return list(torch.autograd.grad(penalty, list(parameters), allow_unused=True, materialize_grads=True))
