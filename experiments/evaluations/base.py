"""What evaluations of the test set share: the two registries, and what an entry of each must do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.data import Batch, Data
from experiments.data.batches import fewest_of_a_domain
from experiments.discovery import Registry
from probes.objective import Objective
from probes.randomness import seeded_generator


@dataclass(frozen=True)
class Occasion:
    """One evaluation: of what data, at which step, and what it may draw."""

    data: Data
    objective: Objective
    step: int
    """Steps of training done."""
    batch_size: int
    """Samples per forward pass over the test set, where nothing depends on it."""
    holders: tuple[str, ...]
    """Qualified names of the modules that hold running statistics."""
    label: str
    """The evaluation's name."""
    trial: bool = False
    """Tried before training: one batch of each kind stands for all."""

    def some(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; of a trial the first, the last, which may be smaller, and that of the rarest domain."""
        if not self.trial:
            return batches
        first = last = rarest = next(batches)
        for last in batches:
            if last.domain is not None and rarest.domain is not None:
                fewest = [fewest_of_a_domain(domain) for domain in (rarest.domain, last.domain)]
                rarest = last if fewest[1] < fewest[0] else rarest
        return iter({id(batch): batch for batch in (first, rarest, last)}.values())

    def generator(self, place: int) -> torch.Generator:
        """On the CPU, so that all devices draw the same: a function of seed, step, evaluation and ``place``."""
        return seeded_generator("cpu", self.data.seed, self.step, "evaluation", self.label, place)

    @property
    def unit(self) -> Tensor | float:
        """How long a change of inputs of size 1 is: from black to white in each channel; 1 for data without a range."""
        ends = self.data.valid_range
        return 1.0 if ends is None else ends[1] - ends[0]


class Statistics:
    """Where the test function's statistics come from. As it is: from the running ones."""

    def check(self, data: Data, holders: tuple[str, ...]) -> None:
        """Raises ValueError, in one line, where this source is none for these data or this network."""

    def prepared(self, network: nn.Module, occasion: Occasion) -> nn.Module:
        """The network that is evaluated, from a copy in evaluation mode that may be changed in place."""
        return network

    def test_batches(self, occasion: Occasion) -> Iterator[Batch]:
        """The test set, whole."""
        return occasion.data.test_batches(occasion.batch_size)

    def taken(self) -> AbstractContextManager[None]:
        """What the network is evaluated within."""
        return nullcontext()


class Inputs:
    """What is done to the inputs. As it is: nothing."""

    def check(self, data: Data) -> None:
        """Raises ValueError, in one line, where it cannot be done to these data."""

    def changed(self, batch: Batch, forward: Callable[[Tensor], Tensor], occasion: Occasion, place: int) -> Tensor:
        """Other inputs in place of the batch's, of the same shape.

        Args:
            batch: of the test set; never written into.
            forward: the network, by the statistics that it is evaluated with.
            occasion: the evaluation.
            place: of the batch in the test set, from 0.
        """
        return batch.inputs


class Tested:
    """Of which samples the test function is evaluated."""

    by_domain = False
    """Whether each domain is also told by itself."""
    batch = "test"
    """What the records call these samples: a run's mini-batches are "train"."""
    samples_of = "the test set"
    """The same in words."""

    def of(self, data: Data) -> Data:
        """The data with these samples for a test set; ValueError, in one line, where there are none such."""
        return data


STATISTICS: Registry[Callable[..., Statistics]] = Registry("source of statistics", "experiments.evaluations.statistics")
"""Every source is a class or function ``entry(*, option: type = default, ...)`` that gives :class:`Statistics`."""

INPUTS: Registry[Callable[..., Inputs]] = Registry("change of inputs", "experiments.evaluations.inputs")
"""Every change is a class or function ``entry(*, option: type = default, ...)`` that gives :class:`Inputs`."""

TESTED: Registry[Callable[..., Tested]] = Registry("choice of test samples", "experiments.evaluations.data")
"""Every choice is a class or function ``entry(*, option: type = default, ...)`` that gives :class:`Tested`."""
