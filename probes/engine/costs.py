"""What the network's own arithmetic costs, measured before training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

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
class Costs:
    """Arithmetic and memory of the network on the example batch: floating-point operations, and bytes.

    Args:
        forward, backward: operations of one forward and one backward pass.
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
        double: (operations beyond a forward pass, peak bytes) of each second derivative that is asked.
    """

    forward: int
    backward: int
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
    double: Mapping[Reduction, tuple[int, int]]

    def share(self, batch: str) -> float:
        """Samples of a batch in units of the example batch's."""
        return self.samples[batch] / self.samples[TRAIN]

    @property
    def training(self) -> int:
        """One forward-backward pass."""
        return self.forward + self.backward


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
    double: dict[Reduction, tuple[int, int]] = {}
    with evaluator.rehearsal():
        with evaluator.pure(), Memory() as forward_memory:
            visit = lambda tap, value: taps.update({tap: value.numel() * value.element_size()})  # noqa: E731
            evaluator.loss(inputs, targets, visit, frozenset())
        with evaluator.pure(), Operations() as both, Memory() as memory:
            loss, _ = evaluator.loss(inputs, targets, nothing, frozenset())
            graph_bytes = memory.now
            with Operations() as backward:
                evaluator.differentiate(loss.total, list(shadow.trainable.values()))
            output = loss.output
            del loss
        forward = both.total - backward.total
        for reduction in {reduction for ask in asks for reduction in ask.twice}:
            alone = Ask(TRAIN, Before(), (Need(TRAIN, Before(), reduction),))
            with Operations() as counter, Memory() as needed:
                evaluator.twice(alone, inputs, targets, {})
            shared = forward if alone.asked.second_derivatives else 0  # one forward pass serves all of them
            double[reduction] = (counter.total - shared, needed.peak)

    def size(tensors: Iterable[Tensor]) -> int:
        return sum(t.numel() * t.element_size() for t in tensors)

    own = next(p for p in source.parameters() if p.requires_grad).element_size()
    # of a program, the taps on which a later step works in place, so that a copy is made
    clones = sum(taps.get(tap, 0) for tap in shadow.overwritten)
    steps = shadow.program.steps if shadow.program is not None else ()
    users = [s.name for s in steps if s.module is not None and not torchs_own(s.bind(source))]
    return Costs(
        forward=forward,
        backward=backward.total,
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
        double=double,
    )
