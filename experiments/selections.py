"""Parameters chosen by what they are called, or by what they are."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from experiments.data import Batch
from experiments.errors import WrongInput
from experiments.scale_invariance import scale_invariant
from probes.network import kind_of

SCALE_INVARIANT = "scale_invariant"

_MOST_NAMED = 12


class Named(NamedTuple):
    """What is known of a parameter."""

    kind: str
    """weights, biases, gamma, beta or alpha."""
    id: int
    """Of the parameter; it may have several names."""


class Parameters:
    """A network's parameters, as patterns choose among them.

    Args:
        network: whose parameters they are.
        batch: gives a batch, or its inputs, which is asked only where ``scale_invariant`` is; None: it cannot be asked.
        seed: the run's.

    Attributes:
        named: what is known of each parameter, under every name that it has.
    """

    def __init__(self, network: nn.Module, batch: Callable[[], Batch | Tensor] | None = None, seed: int = 0) -> None:
        self.network, self.batch, self.seed = network, batch, seed
        self.named: Mapping[str, Named] = _named_parameters(network)
        self._found: frozenset[str] | None = None

    def matching(self, key: str, patterns: Any) -> frozenset[str]:
        """The names of the parameters that are meant; of one that several modules share all of its names.

        A pattern is a qualified name with ``*`` and ``?`` (``conv*.norm.weight``), or says what parameters are:
        ``weights``, ``biases``, ``gamma``, ``beta``, ``alpha`` (the one number that SkipInit and DyT learn, which is
        called so), or ``scale_invariant``, the weights whose size changes nothing
        (:func:`experiments.scale_invariance.scale_invariant`).

        Args:
            key: where the patterns stand in the configuration, for error lines.
            patterns: one or a list of them.

        Raises:
            WrongInput: something else, or a pattern that matches nothing.
        """
        found: set[str] = set()
        for pattern in patterns if isinstance(patterns, list | tuple) else [patterns]:
            if not isinstance(pattern, str):
                raise WrongInput(f"{key}={patterns}: must be a pattern of names or a list of them")
            if pattern == SCALE_INVARIANT:
                own = set(self._scale_invariant(key))
            else:
                own = {n for n, known in self.named.items() if known.kind == pattern or fnmatch.fnmatchcase(n, pattern)}
            if not own:
                raise WrongInput(
                    f"{key}={pattern}: matches no parameter; there are {some(self.named, len(self.named))}"
                )
            shared = {self.named[name].id for name in own}
            found |= {name for name, known in self.named.items() if known.id in shared}
        return frozenset(found)

    def _scale_invariant(self, key: str) -> frozenset[str]:
        if self.batch is None:
            raise WrongInput(f"{key}={SCALE_INVARIANT}: cannot be told without a batch")
        if self._found is None:
            weights = [name for name, _ in self.network.named_parameters() if self.named[name].kind == "weights"]
            given = self.batch()
            inputs, domain = (given, None) if isinstance(given, Tensor) else (given.inputs, given.domain)
            self._found = scale_invariant(self.network, inputs, weights, self.seed, domain)
        if not self._found:
            raise WrongInput(
                f"{key}={SCALE_INVARIANT}: there is none: each weight's size changes what the network gives (no "
                "normalisation divides by it); choose a norm other than none, or another pattern"
            )
        return self._found


def some(names: Iterable[str], most: int = _MOST_NAMED) -> str:
    """Names for an error line, sorted if they are only some of many."""
    names = sorted(names) if most == _MOST_NAMED else list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _named_parameters(network: nn.Module) -> dict[str, Named]:
    named: dict[str, Named] = {}
    by_id: dict[int, str] = {}
    for path, module in network.named_modules(remove_duplicate=False):
        norm = kind_of(module, path) == "norm"
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            kind = ("gamma" if name == "weight" else "beta") if norm else "weights" if parameter.ndim >= 2 else "biases"
            if name == "alpha" and parameter.numel() == 1:
                kind = "alpha"
            if ".parametrizations.weight." in f".{path}.{name}":
                kind = "weights"
            known = Named(by_id.setdefault(id(parameter), kind), id(parameter))
            named[f"{path}.{name}" if path else name] = known
    return named
