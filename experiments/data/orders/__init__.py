"""Orders of batches: which training samples are in batch t, a function of (seed, t).

An order is a class or function ``order(samples: Samples, *, <options>)`` in a file of its own, registered here or found
in a user's file (``data.order_file``). What it makes is called with a step and gives indices of samples. Of the options
``data.grouped_by`` and ``data.groups_per_batch`` it has those that its signature names; another is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.discovery import Registry
from experiments.errors import WrongInput
from experiments.options import build, raised_by_user
from probes.randomness import seeded_generator

__all__ = ["ORDERS", "Chosen", "Epochs", "GroupedBy", "Order", "Parts", "Samples", "build_order"]

Order = Callable[[int], Tensor]
"""Step t, from 0 -> int64 (batch_size,) indices of training samples, on their device; of t and the seed alone."""

ORDERS: Registry[Callable[..., Order]] = Registry("data.order", "experiments.data.orders")

GroupedBy = Literal["class", "domain"]
"""What may make a group of training samples."""


@dataclass(frozen=True)
class Samples:
    """What an order may know of the training samples.

    Args:
        count: how many there are.
        batch_size: samples in a batch, at most ``count``.
        seed: the run's.
        device: where indices are needed.
        labels: of each way in which samples are grouped, the labels, int64 (count,) on the CPU, and the groups' names.
    """

    count: int
    batch_size: int
    seed: int
    device: torch.device
    labels: Mapping[str, tuple[Tensor, tuple[str, ...]]]

    def permutation(self, size: int, *parts: int | str) -> Tensor:
        """A random order of 0, ..., size - 1, on the device; a function of the seed and ``parts``.

        It is drawn on the CPU, so that it is the same on every device.
        """
        return torch.randperm(size, generator=seeded_generator("cpu", self.seed, *parts)).to(self.device)

    def groups(self, by: GroupedBy | None) -> dict[str, Tensor]:
        """Name -> ascending indices, on the device, of each group that has samples, in the order of the labels.

        Args:
            by: class or domain; None: the domains where the data have them, else the classes.

        Raises:
            WrongInput: the data have no such groups.
        """
        chosen = by or ("domain" if "domain" in self.labels else "class")
        if chosen not in self.labels:
            there = ", ".join(self.labels) or "none"
            raise WrongInput(f"data.grouped_by={chosen}: these data have no such groups; there are: {there}")
        labels, names = self.labels[chosen]
        found = {name: (labels == label).nonzero().squeeze(1) for label, name in enumerate(names)}
        return {name: members.to(self.device) for name, members in found.items() if len(members)}


class Epochs:
    """Batches that are the consecutive parts of one order of all samples per epoch.

    An epoch has count // batch_size whole batches; the samples that fill none are left out of it.
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self._kept: tuple[int, Tensor] = (-1, torch.empty(0))

    def order(self, epoch: int) -> Tensor:
        """The order of an epoch, (at least all its batches' samples,)."""
        raise NotImplementedError

    def __call__(self, step: int) -> Tensor:
        size = self.samples.batch_size
        epoch, place = divmod(step, self.samples.count // size)
        if self._kept[0] != epoch:
            self._kept = (epoch, self.order(epoch))
        return self._kept[1][place * size : (place + 1) * size]


class Parts:
    """Parts of single groups of samples: each visit of a group has the next part of an order of its own.

    A group's order is drawn anew when no whole part is left, so that no sample comes again before then.

    Args:
        samples: all of them.
        groups: name -> indices.
        size: samples of a part.
        order: what is said to be too large for a group.

    Raises:
        WrongInput: a group has fewer samples than a part.
    """

    def __init__(self, samples: Samples, groups: Mapping[str, Tensor], size: int, order: str) -> None:
        self._samples, self._members, self._size = samples, list(groups.values()), size
        self._kept: dict[int, tuple[int, Tensor]] = {}
        for name, members in groups.items():
            if len(members) < size:
                raise WrongInput(
                    f"data.order={order}: a batch takes {size} samples of one group, but {name!r} has {len(members)}; "
                    "let optim.batch_size be smaller"
                )

    def of(self, group: int, visit: int) -> Tensor:
        """The part of ``group`` (in the order of the groups) at its ``visit``, from 0: (size,) indices."""
        members = self._members[group]
        epoch, place = divmod(visit, len(members) // self._size)
        if self._kept.get(group, (-1,))[0] != epoch:
            drawn = self._samples.permutation(len(members), epoch, "data order of group", group)
            self._kept[group] = (epoch, members[drawn])
        return self._kept[group][1][place * self._size : (place + 1) * self._size]


@dataclass(frozen=True)
class Chosen:
    """Which order the configuration chooses."""

    name: str
    file: str | None
    options: Mapping[str, Any]
    """Of data.grouped_by and data.groups_per_batch those that are not null."""


def build_order(chosen: Chosen, samples: Samples) -> Order:
    """The order that the configuration chooses.

    Raises:
        WrongInput: an unknown order, an option that it does not take, samples that it cannot order so; later, where a
            user's order gives something else than a batch of indices.
    """
    own = () if chosen.file is None else ("data.order", "data.order_file")
    entry = ORDERS.get(chosen.name, chosen.file, *own)
    taken = inspect.signature(entry).parameters
    for key, value in chosen.options.items():
        if key not in taken:
            using = [name for name in ORDERS.names() if key in inspect.signature(ORDERS.get(name)).parameters]
            told = f"data.order={chosen.name} does not use it, {', '.join(using)} do"
            raise WrongInput(f"data.{key}={value}: is without effect: {told}")
    order: Order = build("data", entry, (samples,), chosen.options, named_at="data.order")
    return order if chosen.file is None else _checked(chosen, samples, order)


def _checked(chosen: Chosen, samples: Samples, order: Order) -> Order:
    """A user's order, every batch of which is looked at."""

    def checked(step: int) -> Tensor:
        try:
            found: object = order(step)
        except Exception as error:
            raise raised_by_user("data.order", chosen.name, error) from error
        needed = f"int64 ({samples.batch_size},)"
        if not isinstance(found, Tensor) or found.dtype != torch.int64 or found.shape != (samples.batch_size,):
            told = f"{str(found.dtype)[6:]} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise WrongInput(f"data.order={chosen.name}: must give {needed} indices at step {step}, not {told}")
        if not 0 <= int(found.min()) <= int(found.max()) < samples.count:
            last = samples.count - 1
            raise WrongInput(f"data.order={chosen.name}: gives an index outside 0..{last} at step {step}")
        return found.to(samples.device)

    first = checked(0).clone()
    checked(1)
    if not torch.equal(checked(0), first):
        raise WrongInput(
            f"data.order={chosen.name}: gives other samples for step 0 when it is asked again; it must be a function "
            "of the step (draw by samples.permutation)"
        )
    return checked
