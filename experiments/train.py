"""The training loop. It knows nothing of which probes exist, nor of files."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from experiments import criteria
from experiments.data import Batch, Data
from experiments.evaluations import Evaluations, plain_values
from experiments.optimisers import BatchAgain, revisits, set_learning_rate, update
from probes.engine.carried import Carried
from probes.generators import RandomState
from probes.objective import Loss, Objective
from probes.randomness import at_step
from probes.statistics import in_domain_of


class AroundSteps(Protocol):
    """What the loop asks of the probes: to be let around each step."""

    def share_of_training(self) -> tuple[float, float]:
        """Forward-backward passes that probing adds, per pass of training, at least and at most."""

    def probed_steps(self, start: int, end: int) -> dict[str, tuple[int, int]]:
        """At how many of the steps ``start``, ..., ``end`` - 1 each probe measures, at least and at most."""

    def around(
        self, step: int, batch: Batch, trains: bool = True
    ) -> AbstractContextManager[Callable[[Tensor], Tensor]]:
        """Yields the function to train with: the network itself where nothing is probed."""

    def tell(self, step: int, data_loss: Tensor) -> None:
        """Takes the data loss that ``step`` descended, before its update."""

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
    rate_factors: list[float]
    """Of each of the optimiser's groups its learning rate, in those of the step."""
    seed: int
    steps: int
    loss_reduction: str
    criterion: str | None
    evaluate_every: int
    test_every: int
    diverged_above: float
    probes: AroundSteps
    evaluations: Evaluations

    @property
    def loss_unit(self) -> str:
        """Of the data loss of one sample."""
        return criteria.unit(self.criterion or criteria.usual(self.data.spec.task))


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
        run.probes.tell(step, loss.data_loss)
        value = loss.total.item()
        diverged = not (math.isfinite(value) and value <= run.diverged_above)
        if due or diverged:
            journal.evaluated(step, batch_values(run, loss, batch) | test)
        if diverged:
            return step
        journal.step_done(step + 1, value)
    journal.trained(run.steps)
    if run.steps == 0:  # after the checkpoint, so that a longer run goes on as if this had not been looked at
        look_at_start(run)
    journal.evaluated(run.steps, final_values(run))
    return None


def train_step(run: Training, forward: Callable[[Tensor], Tensor], batch: Batch) -> Loss:
    """One update of the parameters on ``batch``; returns the loss before it."""
    set_learning_rate(run.optimiser, run.learning_rate(batch.step), run.rate_factors)
    again = BatchAgain(run.network, run.objective, batch, run.seed) if revisits(run.optimiser) else None
    with at_step(run.seed, batch.step), in_domain_of(batch):
        loss = run.objective(forward, run.network, batch.inputs, batch.targets)
    run.optimiser.zero_grad()
    loss.total.backward()
    update(run.optimiser, again)
    return loss


def look_at_start(run: Training) -> None:
    """Probes of a run without steps: on the first batch at initialisation, where the update is none; nothing moves."""
    network, batch = run.network, run.data.batch(0)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    random = RandomState(batch.inputs.device)
    with run.probes.around(0, batch, trains=False) as forward:
        with at_step(run.seed, 0), in_domain_of(batch):
            loss = run.objective(forward, network, batch.inputs, batch.targets)
        loss.total.backward()
    run.optimiser.zero_grad()
    random.restore()
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])


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
    """Loss per sample and accuracy on the test set, in evaluation mode, and what other evaluations are due.

    Of data with domains also on each domain's part of it, and on further test sets, under names that end in the
    domain's or the set's. Statistics are the running ones. Modes and global generators are put back.
    """
    values = plain_values(run.network, run.loss_reduction, replace(run.evaluations.occasion, step=step))
    return values | run.evaluations.values(run.network, step, values)


def final_values(run: Training) -> dict[str, float]:
    """The same numbers after the last update, on the batch that would have come next; on a copy, so nothing moves.

    In the gradient mode of training: a layer may ask for it.
    """
    after = copy.copy(run)
    after.network = Carried(run.network).copy  # also where a module holds on to what it computed last
    batch = run.data.batch(run.steps)
    with at_step(run.seed, run.steps), in_domain_of(batch):
        loss = run.objective(after.network, after.network, batch.inputs, batch.targets)
    return batch_values(run, loss, batch) | held_out_values(run, run.steps)
