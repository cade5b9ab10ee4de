"""What the network's own arithmetic costs, measured before training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from probes.engine.ask import Ask
from probes.engine.batches import Batch
from probes.engine.collector import nothing
from probes.engine.evaluation import Evaluator
from probes.engine.hooks import torchs_own
from probes.engine.operations import Memory, Operations
from probes.points import TRAIN, Before
from probes.protocol import Need
from probes.reductions.reduction import Reduction


@dataclass(frozen=True)
class Arithmetic:
    """Floating-point operations.

    Args:
        forward, backward: of one forward and one backward pass.
        double: of each second derivative that is asked, beyond a forward pass.
    """

    forward: int
    backward: int
    double: Mapping[Reduction, int]

    @property
    def training(self) -> int:
        """One forward-backward pass."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Costs:
    """Arithmetic and memory of the network on the example batch: floating-point operations, and bytes.

    Args:
        of_batch: what the batch itself takes, in proportion to its samples.
        of_population: what each pass takes beside that, of whatever batch: the pass of a population whose statistics
            training takes. Zeros where it takes none.
        samples: of each batch, by name.
        parameters: bytes of the trained parameters in the type of the evaluations, as of one gradient.
        copy: bytes of all parameters and buffers in that type.
        live: bytes of all parameters and buffers of the network itself.
        forward_bytes: peak of a forward pass that keeps nothing.
        evaluation_bytes: peak of a forward and backward pass, its gradient included.
        training_bytes: the same in the type of training.
        graph_bytes: what such a pass holds when the forward pass has ended.
        clones: bytes of the taps that are copied because the next step works in place.
        taps: bytes of each tap.
        output: bytes of the network's output.
        compared: taps of leaves of the user's own, which run twice where the training pass is reused.
        prefixes: whether the leaves before a layer alone decide what enters it; a population's statistics do so too.
        double_bytes: peak of each second derivative that is asked.
    """

    of_batch: Arithmetic
    of_population: Arithmetic
    samples: Mapping[str, int]
    parameters: int
    copy: int
    live: int
    forward_bytes: int
    evaluation_bytes: int
    training_bytes: int
    graph_bytes: int
    clones: int
    taps: Mapping[str, int]
    output: int
    compared: frozenset[str]
    prefixes: bool
    double_bytes: Mapping[Reduction, int]

    def share(self, batch: str) -> float:
        """Samples of a batch in units of the example batch's."""
        return self.samples[batch] / self.samples[TRAIN]

    def share_of_bytes(self, batch: str) -> float:
        """What a pass of a batch holds in units of the example batch's, at most: a population is as large for both."""
        return max(self.share(batch), 1.0) if self.of_population.forward else self.share(batch)

    @property
    def forward(self) -> int:
        """Operations of one forward pass of the example batch, a population's included."""
        return self.of_batch.forward + self.of_population.forward

    @property
    def training(self) -> int:
        """Operations of one forward-backward pass of the example batch, a population's included."""
        return self.of_batch.training + self.of_population.training


def measure_costs(
    evaluator: Evaluator, asks: Sequence[Ask], example: Batch, samples: Mapping[str, int], source: nn.Module
) -> Costs:
    """Operations and bytes of the network's passes and of each second derivative, each run once.

    Args:
        evaluator: of the copy.
        asks: what is asked of it.
        example: the example batch, in the type of the evaluations.
        samples: of each batch, by name.
        source: the network that is trained.
    """
    shadow = evaluator.shadow
    inputs, targets = example
    taps: dict[str, int] = {}
    double_bytes: dict[Reduction, int] = {}
    with evaluator.rehearsal():
        with evaluator.pure(), Memory() as forward_memory:
            visit = lambda tap, value: taps.update({tap: value.numel() * value.element_size()})  # noqa: E731
            evaluator.loss(inputs, targets, visit, frozenset())
        with evaluator.pure(), Memory() as memory:
            loss, _ = evaluator.loss(inputs, targets, nothing, frozenset())
            graph_bytes = memory.now
            evaluator.differentiate(loss.total, list(shadow.trainable.values()))
            output = loss.output
            del loss
        twice = list(dict.fromkeys(reduction for ask in asks for reduction in ask.twice))
        once = _arithmetic(evaluator, twice, inputs, targets, double_bytes)
        population = Arithmetic(0, 0, dict.fromkeys(twice, 0))
        if evaluator.objective.population is not None:
            # of two batches in one the batch's own share is twice as much, and the population's the same
            many, theirs = (tree_map(lambda x: torch.cat([x, x]), part) for part in (inputs, targets))
            population = _remaining(once, _arithmetic(evaluator, twice, many, theirs, {}))

    def size(tensors: Iterable[Tensor]) -> int:
        return sum(t.numel() * t.element_size() for t in tensors)

    own = next(p for p in source.parameters() if p.requires_grad).element_size()
    # of a program, the taps on which a later step works in place, so that a copy is made
    clones = sum(taps.get(tap, 0) for tap in shadow.overwritten)
    steps = shadow.program.steps if shadow.program is not None else ()
    users = [s.name for s in steps if s.module is not None and not torchs_own(s.bind(source))]
    return Costs(
        of_batch=_less(once, population),
        of_population=population,
        samples=samples,
        parameters=size(shadow.trainable.values()),
        copy=size([*shadow.parameters.values(), *shadow.buffers.values()]),
        live=size([*source.parameters(), *source.buffers()]),
        forward_bytes=forward_memory.peak,
        evaluation_bytes=memory.peak,
        training_bytes=memory.peak * own // shadow.dtype.itemsize,
        graph_bytes=graph_bytes,
        clones=clones,
        taps=taps,
        output=size(x for x in tree_leaves(output) if isinstance(x, Tensor)),
        compared=frozenset(users),
        prefixes=shadow.view.ordered and evaluator.objective.population is None,
        double_bytes=double_bytes,
    )


def _arithmetic(
    evaluator: Evaluator, twice: Sequence[Reduction], inputs: Any, targets: Any, peaks: dict[Reduction, int]
) -> Arithmetic:
    """Operations of the passes of a batch, all that they bring with them included; ``peaks`` gets bytes."""
    with evaluator.pure(), Operations() as forward:
        loss, _ = evaluator.loss(inputs, targets, nothing, frozenset())
        with Operations() as backward:
            evaluator.differentiate(loss.total, list(evaluator.shadow.trainable.values()))
        del loss
    passed, double = forward.total - backward.total, dict[Reduction, int]()
    for reduction in twice:
        alone = Ask(TRAIN, Before(), (Need(TRAIN, Before(), reduction),))
        with Operations() as counter, Memory() as needed:
            evaluator.twice(alone, inputs, targets, {})
        shared = passed if alone.asked.second_derivatives else 0  # one forward pass serves all of them
        double[reduction], peaks[reduction] = counter.total - shared, needed.peak
    return Arithmetic(passed, backward.total, double)


def _remaining(one: Arithmetic, two: Arithmetic) -> Arithmetic:
    """What does not grow with the batch, from the operations of one batch and of two in one."""
    return _combined(one, two, lambda once, twice: max(0, 2 * once - twice))


def _less(whole: Arithmetic, part: Arithmetic) -> Arithmetic:
    return _combined(whole, part, lambda all_of_it, taken: all_of_it - taken)


def _combined(one: Arithmetic, other: Arithmetic, of: Callable[[int, int], int]) -> Arithmetic:
    double = {reduction: of(one.double[reduction], other.double[reduction]) for reduction in one.double}
    return Arithmetic(of(one.forward, other.forward), of(one.backward, other.backward), double)
