"""A network tried before it is trained: what does not fit is said before a folder is made."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import nn

from experiments.data import Batch
from experiments.errors import WrongInput
from experiments.runtime import generator_states, restore_generator_states
from probes.engine.training_pass import relative_distance
from probes.objective import Objective
from probes.randomness import at_step
from probes.statistics import in_domain_of

log = logging.getLogger("experiments")


def rehearse(network: nn.Module, objective: Objective, batch: Batch, seed: int) -> None:
    """A batch's loss, on copies: what does not fit is said before a folder is made.

    With and without gradients, in training and in evaluation mode: what is evaluated without must be what was trained
    with.

    Raises:
        WrongInput: the normalisation cannot normalise such a batch, or asks whether gradients are on.
    """
    for training in (True, False):
        try:
            outputs = [
                _outputs(network, objective, batch, seed, training, gradients, False) for gradients in (True, False)
            ]
            if relative_distance(outputs[0][""], outputs[1][""]) <= _ROUNDING:
                continue
            again = _outputs(network, objective, batch, seed, training, True, False)
            if relative_distance(outputs[0][""], again[""]) > 0:  # no function of its inputs at all: not our matter
                return
            outputs = [
                _outputs(network, objective, batch, seed, training, gradients, True) for gradients in (True, False)
            ]
        except WrongInput:
            raise
        except Exception as error:  # it will go wrong again in the run itself, which keeps the traceback
            log.debug("the rehearsal failed: %s", error)
            return
        for name, output in outputs[0].items():
            if relative_distance(output, outputs[1].get(name)) > _ROUNDING:
                raise WrongInput(
                    f"{type(network.get_submodule(name)).__name__} at {name!r}: gives other values with gradients than "
                    "without, so what is evaluated would not be what was trained; ask self.training instead of "
                    "torch.is_grad_enabled()"
                )


_ROUNDING = 1e-3
"""Of two kernels for one function, by the norm of the output; a layer that asks for gradients is far beyond it."""


def _outputs(
    network: nn.Module,
    objective: Objective,
    batch: Batch,
    seed: int,
    training: bool,
    gradients: bool,
    inside: bool,
) -> dict[str, Any]:
    """The output of the network on a batch (``inside``: of all its modules, innermost first), by path."""
    device = next(network.parameters()).device
    trial, random = copy.deepcopy(network).train(training), generator_states(device)
    found: dict[str, Any] = {}
    for name, module in trial.named_modules():
        if inside or not name:
            module.register_forward_hook(lambda m, a, y, n=name: found.update({n: y}))
    try:
        with torch.set_grad_enabled(gradients), at_step(seed, 0), in_domain_of(batch):
            objective(trial, trial, batch.inputs, batch.targets)
    finally:
        restore_generator_states(random, device)
    return found
