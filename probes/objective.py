"""One definition of the loss: what training descends is what the probes evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from probes.errors import ProbeError
from probes.network import kind_of
from probes.statistics import of_population


class Loss(NamedTuple):
    """The loss of one batch, its parts, and the network's output."""

    total: Tensor
    """data_loss + penalty, the function that training descends; scalar."""
    data_loss: Tensor
    """Loss of the predictions alone; scalar."""
    penalty: Tensor
    """(weight_decay / 2) * sum of ||W||^2 over :func:`weight_matrices`, or by decays of their own; scalar."""
    output: Tensor
    """The network's output, (samples, outputs)."""
    targets: Tensor
    """What it was held against: (samples,) class indices or (samples, outputs) values."""


class Decay(NamedTuple):
    """A parameter's own term of the penalty, (rate / 2) ||parameter - towards||^2."""

    rate: float
    """0 for no such term."""
    towards: float = 0.0


@dataclass(frozen=True)
class Objective:
    """Data loss and L2 penalty.

    Args:
        data_loss: maps (output, targets) to a scalar tensor.
        weight_decay: lambda of the penalty (lambda / 2) * sum ||W||^2; 0 for none. It is a term of the loss, not a
            rule of the optimiser, so that probes see the function that training descends.
        decays: parameters, of any kind, that have a decay of their own instead, by qualified name (by each of their
            names, where several modules share one).
        population: inputs of the whole training set, (samples, ...), where normalisations train by statistics of it
            (:func:`probes.statistics.of_population`).
    """

    data_loss: Callable[[Tensor, Tensor], Tensor]
    weight_decay: float = 0.0
    decays: Mapping[str, Decay] = field(default_factory=dict)
    population: Tensor | None = field(default=None, repr=False, compare=False)

    def __call__(
        self, forward: Callable[[Tensor], Tensor], network: nn.Module, inputs: Tensor, targets: Tensor
    ) -> Loss:
        """The loss of ``network`` on (inputs, targets).

        Args:
            forward: maps inputs to outputs with the parameters of ``network``; the network itself, or a
                walk through its layers that keeps their outputs.
            network: where the penalised weights are.
            inputs: (samples, ...).
            targets: (samples,) class indices or (samples, outputs) values.
        """
        with self.within(network):
            output = forward(inputs)
        data_loss = scalar(self.data_loss(output, targets))
        if not self.penalised:
            return Loss(data_loss, data_loss, torch.zeros_like(data_loss), output, targets)
        penalty = self.penalty([(network, "")], data_loss)
        return Loss(data_loss + penalty, data_loss, penalty, output, targets)

    def within(self, network: nn.Module) -> AbstractContextManager[None]:
        """What ``network`` is run within where it trains."""
        return nullcontext() if self.population is None else of_population(network, self.population)

    @property
    def penalised(self) -> bool:
        """Whether there is a penalty."""
        return bool(self.weight_decay or self.decays)

    def penalty(self, parts: Iterable[tuple[nn.Module, str]], like: Tensor) -> Tensor:
        """The terms of the penalty that belong to some modules, which share no parameter.

        Args:
            parts: the modules, each with its own name in the network.
            like: a tensor of the type and device of the answer, where there are no terms.
        """
        usual, own = [], []
        for network, name in parts:
            named = named_weight_matrices(network, name) if self.weight_decay else ()
            usual += [weight.square().sum() for key, weight in named if key not in self.decays]
            for key, parameter in network.named_parameters(prefix=name) if self.decays else ():
                decay = self.decays.get(key)
                if decay is not None and decay.rate:
                    own.append(decay.rate / 2 * (parameter - decay.towards).square().sum())
        terms = [self.weight_decay / 2 * torch.stack(usual).sum()] if usual else []
        return torch.stack([*terms, *own]).sum() if own else (terms or [torch.zeros_like(like)])[0]


def scalar(loss: Any) -> Tensor:
    """The loss itself, if it is one number.

    Raises:
        ProbeError: it is not; the line says what it is.
    """
    if isinstance(loss, Tensor) and loss.ndim == 0:
        return loss
    what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    raise ProbeError(f"the loss gives {what}: it must give one number, a scalar tensor (the mean over samples, say)")


def weight_matrices(network: nn.Module, prefix: str = "") -> Iterator[Tensor]:
    """The tensors of :func:`named_weight_matrices`."""
    for _, weight in named_weight_matrices(network, prefix):
        yield weight


def named_weight_matrices(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The weights that the penalty counts: every parameter of two or more dimensions, but no bias, gamma or beta.

    A normalisation's parameters are gamma and beta whatever their shape (``nn.LayerNorm([C, H, W])``). Of a
    reparametrised layer (weight normalisation) it is the weight that the layer applies, not its factors. A weight that
    several layers share counts once, by its first name.

    Args:
        network: where they are.
        prefix: its own name in the network that it is a part of.
    """
    seen: set[tuple[int, ...]] = set()
    for path, module in network.named_modules(prefix=prefix):
        within = f"{path}." if path else ""
        if isinstance(module, parametrize.ParametrizationList) or kind_of(module, path) == "norm":
            continue
        if parametrize.is_parametrized(module):
            for name, factors in module.parametrizations.items():
                who = tuple(map(id, factors.parameters()))
                weight = getattr(module, name)
                if weight.ndim >= 2 and who not in seen:
                    seen.add(who)
                    yield f"{within}{name}", weight
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim >= 2 and (id(parameter),) not in seen:
                seen.add((id(parameter),))
                yield f"{within}{name}", parameter
