"""The training loop. It knows nothing of which probes exist, nor of files."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from experiments.data import Batch, Data
from experiments.optimisers import set_learning_rate
from probes.objective import Loss, Objective
from probes.randomness import at_step


class Probing(Protocol):
    """What the loop asks of the probes: to be let around each step."""

    def share_of_training(self) -> float:
        """Forward-backward passes that probing adds, per pass of training."""

    def around(self, step: int, batch: Batch) -> AbstractContextManager[Callable[[Tensor], Tensor]]:
        """Yields the function to train with: the network itself where nothing is probed."""

    def fields(self) -> dict[str, Any]:
        """What is recorded, as in fields.json."""

    def describe(self) -> str:
        """The plan and its cost, for people."""

    def state_dict(self) -> dict[str, Any]:
        """What the next probed step needs of the past."""

    def load_state_dict(self, state: Any) -> None:
        """Goes on from :meth:`state_dict`."""


class Journal(Protocol):
    """What the loop tells of its progress."""

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """Numbers of the built-in evaluation at ``step``."""

    def step_done(self, done: int, loss: float) -> None:
        """``done`` steps are done; the last one's loss was ``loss``. May raise to stop the run."""

    def trained(self, done: int) -> None:
        """The last of all steps is done; the evaluation after it follows."""


@dataclass
class Training:
    """Everything that one run trains with."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    objective: Objective
    data: Data
    learning_rate: Callable[[int], float]
    seed: int
    steps: int
    loss_reduction: str
    evaluate_every: int
    test_every: int
    evaluation_batch_size: int
    diverged_above: float
    probes: Probing


def train(run: Training, start: int, journal: Journal) -> int | None:
    """Trains from step ``start`` to the end.

    Returns:
        None, or the step at which the run diverged: the loss of that step's batch, before its update, was not finite
        or above the bound.
    """
    for step in range(start, run.steps):
        batch = run.data.batch(step)
        due = step % run.evaluate_every == 0
        test = held_out_values(run, step) if step % (run.evaluate_every * run.test_every) == 0 else {}
        with run.probes.around(step, batch) as forward:
            loss = train_step(run, forward, batch)
        value = loss.total.item()
        diverged = not (math.isfinite(value) and value <= run.diverged_above)
        if due or diverged:
            journal.evaluated(step, batch_values(run, loss, batch) | test)
        if diverged:
            return step
        journal.step_done(step + 1, value)
    journal.trained(run.steps)
    journal.evaluated(run.steps, final_values(run))
    return None


def train_step(run: Training, forward: Callable[[Tensor], Tensor], batch: Batch) -> Loss:
    """One update of the parameters on ``batch``; returns the loss before it."""
    set_learning_rate(run.optimiser, run.learning_rate(batch.step))
    with at_step(run.seed, batch.step):
        loss = run.objective(forward, run.network, batch.inputs, batch.targets)
    run.optimiser.zero_grad()
    loss.total.backward()
    run.optimiser.step()
    return loss


def batch_values(run: Training, loss: Loss, batch: Batch) -> dict[str, float]:
    """Loss, its parts and accuracy on the training batch, in training mode, before the update; the learning rate."""
    values = {
        "loss": loss.total.item(),
        "data_loss": loss.data_loss.item(),
        "penalty": loss.penalty.item(),
        "learning_rate": run.learning_rate(batch.step),
    }
    if run.data.spec.task == "classification":
        values["accuracy"] = (loss.output.argmax(1) == batch.targets).float().mean().item()
    return values


@torch.no_grad()
def held_out_values(run: Training, step: int) -> dict[str, float]:
    """Loss per sample and accuracy on the test set, in evaluation mode; all modes are put back."""
    modes = [(module, module.training) for module in run.network.modules()]
    run.network.eval()
    total, correct, samples = 0.0, 0, 0
    for batch in run.data.test_batches(run.evaluation_batch_size):
        with at_step(run.seed, step):  # noise at evaluation, where it is asked for, is a function of the step too
            output = run.network(batch.inputs)
        loss = run.objective.data_loss(output, batch.targets).item()
        total += loss if run.loss_reduction == "sum" else loss * len(batch.inputs)
        samples += len(batch.inputs)
        if run.data.spec.task == "classification":
            correct += int((output.argmax(1) == batch.targets).sum())
    for module, mode in modes:
        module.training = mode
    values = {"test_data_loss": total / samples}
    if run.data.spec.task == "classification":
        values["test_accuracy"] = correct / samples
    return values


@torch.no_grad()
def final_values(run: Training) -> dict[str, float]:
    """The same numbers after the last update, on the batch that would have come next; on a copy, so nothing moves."""
    after = copy.copy(run)
    after.network = copy.deepcopy(run.network)
    batch = run.data.batch(run.steps)
    with at_step(run.seed, run.steps):
        loss = run.objective(after.network, after.network, batch.inputs, batch.targets)
    return batch_values(run, loss, batch) | held_out_values(run, run.steps)


def data_loss(task: str, reduction: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of predictions: cross-entropy (nats), or the squared error ||output - target||^2 summed over outputs.

    Args:
        task: classification or regression.
        reduction: mean or sum over the samples of a batch.
    """
    if task == "classification":
        cross_entropy: Any = nn.CrossEntropyLoss(reduction=reduction)
        return cross_entropy

    def squared_error(output: Tensor, target: Tensor) -> Tensor:
        errors = (output - target).square().sum()
        return errors / len(target) if reduction == "mean" else errors

    return squared_error
