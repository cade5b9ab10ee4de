"""The batches that probes may name: the step's own, and those that are given once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from probes import statistics
from probes.errors import ProbeError
from probes.points import TRAIN

Batch = tuple[Any, Any]
"""Inputs, which the network is called with, and targets, which the loss is: tensors, or tuples and dicts of them."""


def inputs_and_targets(batch: Any) -> Batch:
    """A batch is (inputs, targets), or anything with these two attributes.

    Raises:
        ProbeError: it is neither.
    """
    if hasattr(batch, "inputs") and hasattr(batch, "targets"):
        inputs, targets = batch.inputs, batch.targets
    else:
        if isinstance(batch, Mapping):
            raise ProbeError(
                f"batch dict of {', '.join(map(str, batch))}: must be (inputs, targets); take them out of it"
            )
        try:
            inputs, targets = batch
        except (TypeError, ValueError):
            kind = type(batch).__name__
            raise ProbeError(f"batch {kind}: must be (inputs, targets) or have these attributes") from None
    if not any(isinstance(x, Tensor) and x.ndim for x in tree_leaves(inputs)):
        raise ProbeError(f"batch: its inputs hold no tensor of samples, they are {type(inputs).__name__}")
    return inputs, targets


def samples(inputs: Any) -> int:
    """Number of samples of a batch's inputs: the length of the first tensor among them."""
    return next(len(x) for x in tree_leaves(inputs) if isinstance(x, Tensor) and x.ndim)


class Batches:
    """Batches by name.

    Args:
        given: those that are the same at every step.
        example: one of the step's own, for its size.

    Raises:
        ProbeError: one is given under the name of the step's own.
    """

    def __init__(self, given: Mapping[str, Any], example: Batch) -> None:
        if TRAIN in given:
            raise ProbeError(f"batches: {TRAIN!r} is the step's own and cannot be given; name it otherwise")
        self._as_given = dict(given)
        self._given = {name: inputs_and_targets(batch) for name, batch in given.items()}
        self.samples = {name: samples(inputs) for name, (inputs, _) in self.at(example)}
        self.names = tuple(self.samples)
        """In the order in which they are evaluated: the step's own first, as others may rest on its gradient."""

    def at(self, own: Batch) -> Iterator[tuple[str, Batch]]:
        """All of them at a step whose own batch is ``own``."""
        yield TRAIN, own
        yield from self._given.items()

    def domain(self, name: str, own: Any) -> AbstractContextManager[None]:
        """The context in which samples of a batch belong to the domains that it carries as ``domain``, if it does.

        Args:
            name: of the batch.
            own: the step's own, as it was given.
        """
        return statistics.in_domain_of(own if name == TRAIN else self._as_given[name])

    def check(self, name: str) -> None:
        """Refuses a name that is not known.

        Raises:
            ProbeError: it is not; the known ones are listed.
        """
        if name not in self.names:
            raise ProbeError(f"batch {name!r}: not given; there are {', '.join(self.names)} (see batches= of Probes)")
