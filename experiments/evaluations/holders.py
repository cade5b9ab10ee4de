"""Modules that hold running statistics: which they are, and how they take those of a population."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from experiments.data import Batch
from experiments.evaluations.base import Occasion
from experiments.norms.batch import BatchNorm1d, BatchNorm2d, BatchStatistics
from probes.engine.carried import Carried
from probes.generators import RandomState
from probes.randomness import at_step
from probes.statistics import in_domain, in_domain_of, of_population


@torch.no_grad()
def holders(network: nn.Module, batch: Batch, seed: int) -> tuple[str, ...]:
    """Qualified names of the modules whose own numbers follow the batches, in the order of the network.

    Those with a buffer of floating-point numbers that a training pass moves, or that is called running.

    Args:
        network: left as it is.
        batch: of training.
        seed: the run's.
    """
    random = RandomState(batch.inputs.device)
    trial = Carried(network).copy.train()
    before = {name: _own(module) for name, module in trial.named_modules()}
    before = {name: {key: value.clone() for key, value in own.items()} for name, own in before.items()}
    try:
        # the batch stands for a population, where one is asked: it does not matter which numbers move
        with at_step(seed, 0), in_domain_of(batch), of_population(trial, batch.inputs):
            trial(batch.inputs)
    finally:
        random.restore()
    found = []
    for name, module in trial.named_modules():
        own = _own(module)
        moved = any(not torch.equal(value, before[name][key]) for key, value in own.items() if key in before[name])
        if moved or any(key.startswith("running_") for key in own):
            found.append(name)
    return tuple(found)


@torch.no_grad()
def set_to_population(network: nn.Module, occasion: Occasion, count: int) -> None:
    """Writes into the running statistics those of ``count`` training batches taken as one.

    One normalisation after the other, in the order in which they are reached: each sees what those before it, which
    have theirs already, let through. Of batch normalisations, also of ghost batches, the batches' means and variances
    are put together; of others the inputs of all batches are held at once.

    Args:
        network: a copy in evaluation mode; its buffers are changed.
        occasion: the evaluation.
        count: batches.

    Raises:
        ValueError: a module is reached twice in one pass, or does not say how it forgets.
    """
    left = {name: network.get_submodule(name) for name in occasion.holders}
    batch: Batch | None = None
    while left:
        found: dict[str, list[Tensor]] = {}
        domains: list[Tensor] = []
        moments = _Moments()
        for batch in occasion.data.population(count):
            reached = _first_reached(network, left, batch, occasion)
            if reached is None:
                continue
            name, x = reached
            known = of_moments(left[name])
            found.setdefault(name, []).extend([] if known else [x])
            domains += [] if known or batch.domain is None else [batch.domain]
            if known:
                moments.add(x)
        if not found:  # none of those that are left is used
            break
        if len(found) > 1:
            raise ValueError(f"population: not every batch goes through {' and '.join(sorted(found))} in one order")
        ((name, inputs),) = found.items()
        module = left.pop(name)
        if inputs:
            with in_domain(torch.cat(domains)) if domains else nullcontext():
                _forget_all_but(module, name, torch.cat(inputs), occasion)
        else:
            moments.write(module, name)
    if batch is not None:
        _first_reached(network, {}, batch, occasion)  # through all of them, once each


def of_moments(module: nn.Module) -> bool:
    """Whether its running statistics are known to be mean and unbiased variance per unit, axis 1."""
    torchs = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, BatchNorm1d, BatchNorm2d
    return type(module) in torchs or (type(module) is BatchStatistics and not module.running_by_domain)


class _Reached(BaseException):
    """Ends a forward pass where the next statistics are needed; nothing in a network catches it by mistake."""

    def __init__(self, name: str, x: Tensor) -> None:
        super().__init__(name)
        self.name, self.x = name, x


def _first_reached(
    network: nn.Module, left: dict[str, nn.Module], batch: Batch, occasion: Occasion
) -> tuple[str, Tensor] | None:
    """The first of the modules ``left`` that a batch reaches, and what it is given; None: none of them."""
    seen: set[str] = set()

    def enter(name: str, given: tuple[Any, ...]) -> None:
        if name in left and len(given) != 1:
            raise ValueError(f"population: {name} takes {len(given)} inputs; one is needed, by position")
        if name in left:
            raise _Reached(name, given[0])
        if name in seen:
            raise ValueError(f"population: {name} is used twice in one pass")
        seen.add(name)

    hooks = [
        network.get_submodule(name).register_forward_pre_hook(lambda module, given, n=name: enter(n, given))
        for name in occasion.holders
    ]
    try:
        with at_step(occasion.data.seed, occasion.step), in_domain_of(batch):
            network(batch.inputs)
    except _Reached as reached:
        return reached.name, reached.x
    finally:
        for hook in hooks:
            hook.remove()
    return None


class _Moments:
    """Mean and variance per unit of a union, from those of its parts (Chan et al. 1979), in float64."""

    def __init__(self) -> None:
        self.values = 0
        self.mean = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Another part: (samples, units, ...)."""
        dims = [dim for dim in range(x.ndim) if dim != 1]
        variance, mean = (part.cpu().double() for part in torch.var_mean(x, dims, correction=0))
        values = x.numel() // x.shape[1]
        apart, total = mean - self.mean, self.values + values
        self.squares = self.squares + variance * values + apart.square() * (self.values * values / total)
        self.mean = self.mean + apart * (values / total)
        self.values = total

    def write(self, module: nn.Module, name: str) -> None:
        """As the module's running statistics: the variance over one value less than there are."""
        if self.values < 2:
            raise ValueError(f"population: {name} is given one value per unit, which has no variance")
        for key, value in (("running_mean", self.mean), ("running_var", self.squares / (self.values - 1))):
            buffer = getattr(module, key)
            buffer.copy_(value.to(buffer.dtype))


def _forget_all_but(module: nn.Module, name: str, x: Tensor, occasion: Occasion) -> None:
    """Leaves in a module's running statistics those of ``x`` alone: what one batch gives where nothing is remembered.

    Raises:
        ValueError: something is remembered even so, or the module has no momentum.
    """
    usual = getattr(module, "momentum", None)
    told = f"population: {name}, a {type(module).__name__},"
    if not isinstance(usual, float | int):
        raise ValueError(f"{told} has no attribute momentum, the weight of the newest batch, that could be set to 1")

    def seen(start: Mapping[str, Tensor]) -> dict[str, Tensor]:
        for key, value in start.items():
            _own(module)[key].copy_(value)
        with at_step(occasion.data.seed, occasion.step):
            module(x)
        return {key: value.clone() for key, value in _own(module).items()}

    for option in ("ghost_size", "frozen_after"):  # the union is one batch, and moves what it moves; it is a copy
        if getattr(module, option, None) is not None:
            setattr(module, option, None)
    start = {key: value.clone() for key, value in _own(module).items()}
    module.momentum, module.training = 1.0, True  # type: ignore[assignment]
    once = seen(start)
    # number by number: of statistics that each domain has of its own, those of others stand still
    moved = {key: once[key] != start[key] for key in start}
    # where nothing has moved they are those of x already, or nothing ever moves
    all_of_them = not any(bool(own.any()) for own in moved.values())
    again = seen({key: start[key] + (moved[key] | all_of_them) for key in start})
    module.momentum, module.training = usual, False  # type: ignore[assignment]
    if not all(_equal(once[key], again[key]) for key in once):
        raise ValueError(f"{told} does not forget the past at momentum 1, the weight of the newest batch")


def _own(module: nn.Module) -> dict[str, Tensor]:
    """A module's own buffers of floating-point numbers."""
    buffers: Iterable[tuple[str, Tensor]] = module.named_buffers(recurse=False)
    return {name: buffer for name, buffer in buffers if buffer.is_floating_point()}


def _equal(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)
