"""Groups of chosen parameters, ``optim.groups``: a rate, a decay of their own, a few of their numbers, or frozen.

One reading of them for all who need it: the optimiser, the penalty, the schedule, and the walks of the probes.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from experiments.chosen_entries import choose_entries
from experiments.errors import WrongInput, near_miss
from experiments.selections import Parameters, some
from probes.engine.rates import Rates
from probes.objective import Decay

OPTIONS = ("match", "except", "lr", "decay", "decay_towards", "train", "random_per_channel")


@dataclass(frozen=True)
class Group:
    """Some of a network's parameters, and how they are trained."""

    names: frozenset[str]
    """Qualified; of a parameter that several modules share all of its names."""
    factor: float = 1.0
    """Their learning rate, in those of the step."""
    decay: Decay | None = None
    """Their own term of the penalty; None: as all others have it."""
    train: bool = True
    random_per_channel: int | None = None
    """So many weights of each output channel are trained, drawn by chance, and the others frozen; None: all are."""


def parameter_groups(
    network: nn.Module, described: Any, parameters: Parameters | None = None, lr: float | None = None
) -> list[Group]:
    """The groups that ``optim.groups`` describes.

    Each is a mapping with ``match`` and, if any, ``except``: a pattern or a list of patterns, as
    :meth:`experiments.selections.Parameters.matching` takes them. ``lr: x10`` is a factor on the learning rate,
    whatever the schedule makes of it, ``lr: 0.1`` a rate of their own, of which the schedule makes as much;
    ``decay: 0`` replaces ``optim.weight_decay`` in the penalty, (decay / 2) ||parameter - decay_towards||^2, for gamma
    and beta too; ``train: false`` freezes: neither moved nor penalised. ``random_per_channel: 2`` does so to all but
    two weights of each output channel, drawn from the run's seed (Frankle et al. 2021, arXiv:2003.00152).

    Args:
        network: whose parameters they are.
        described: a list of mappings.
        parameters: those of the network; they know what ``scale_invariant`` is.
        lr: ``optim.lr``; None: there is none, and a group has a factor only.

    Raises:
        WrongInput: not such a list; a pattern that matches nothing, or only what the model fixes; a parameter in two
            groups; nothing left to train.
    """
    if not isinstance(described, list) or not all(isinstance(one, Mapping) for one in described):
        raise WrongInput(f"optim.groups={described}: must be a list of groups, for example [{{match: gamma, lr: x10}}]")
    parameters = parameters or Parameters(network)
    groups = [_group(f"optim.groups.{place}", one, parameters, lr) for place, one in enumerate(described)]
    for place, group in enumerate(groups):
        for before, other in enumerate(groups[:place]):
            if both := group.names & other.names:
                raise WrongInput(
                    f"optim.groups.{place}: overlaps with optim.groups.{before} in {some(both)}; a parameter has one "
                    "group"
                )
    frozen = set[str]().union(*(group.names for group in groups if not group.train))
    if groups and not _trained(parameters) - frozen:
        raise WrongInput("optim.groups: freeze every parameter; nothing would be trained")
    return groups


def _group(key: str, one: Mapping[str, Any], parameters: Parameters, lr: float | None) -> Group:
    for option in one:
        if option not in OPTIONS:
            raise WrongInput(f"{key}.{option}={one[option]}: unknown option; {near_miss(str(option), OPTIONS)}")
    if "match" not in one:
        raise WrongInput(f"{key}.match: must be given, a pattern of names or a list of them")
    names = parameters.matching(f"{key}.match", one["match"])
    if "except" in one:
        names -= parameters.matching(f"{key}.except", one["except"])
    if not names:
        raise WrongInput(f"{key}.except={one.get('except')}: leaves nothing of match={one['match']}")
    if not names & _trained(parameters):
        but = f" but except={one['except']}" if "except" in one else ""
        raise WrongInput(f"{key}.match={one['match']}{but}: matches only what is not trained: {some(names)}")
    train = one.get("train", True)
    if not isinstance(train, bool):
        raise WrongInput(f"{key}.train={train}: must be true or false")
    if not train and {"lr", "decay", "decay_towards"} & one.keys():
        raise WrongInput(f"{key}.train=false: what is frozen has neither lr nor decay; leave them out")
    few = one.get("random_per_channel")
    if few is not None and (not isinstance(few, int) or isinstance(few, bool) or few < 1):
        raise WrongInput(f"{key}.random_per_channel={few}: must be a whole number of at least 1 (train=false freezes)")
    if not train and few is not None:
        raise WrongInput(
            f"{key}.random_per_channel={few}: of what train=false freezes nothing is trained; leave one out"
        )
    if train and few is None and not {"lr", "decay"} & one.keys():
        raise WrongInput(f"{key}: changes nothing; give lr, decay, random_per_channel or train=false")
    if "decay_towards" in one and not one.get("decay"):
        raise WrongInput(f"{key}.decay_towards={one['decay_towards']}: needs a decay above 0")
    decay = None
    if "decay" in one:
        towards = _number(f"{key}.decay_towards", one.get("decay_towards", 0))
        decay = Decay(_number(f"{key}.decay", one["decay"], 0.0), towards)
        if factors := [name for name in names if ".parametrizations." in f".{name}"]:
            raise WrongInput(f"{key}.decay={one['decay']}: {some(factors)}: only the weight they make is penalised")
    factor = _factor(f"{key}.lr", one.get("lr", "x1"), lr)
    return Group(names, factor, decay if train else Decay(0.0), train, few)


def _trained(parameters: Parameters) -> set[str]:
    """The names of what the model lets be trained."""
    return {name for name, parameter in parameters.network.named_parameters() if parameter.requires_grad}


def _factor(key: str, text: Any, lr: float | None) -> float:
    """Of `x10` the number, of a rate its share of ``lr``."""
    number = re.fullmatch(r"x\s*(.+)", text) if isinstance(text, str) else None
    try:
        factor = float(number.group(1)) if number else math.nan
    except ValueError:
        factor = math.nan
    if lr and isinstance(text, (int, float)) and not isinstance(text, bool):
        factor = text / lr
    if not 0 < factor < math.inf:
        raise WrongInput(
            f"{key}={text}: must be above 0: a factor on optim.lr, for example x10, or a rate such as 0.1 "
            "(train=false freezes)"
        )
    return factor


def _number(key: str, value: Any, least: float = -math.inf) -> float:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= least
    if not fits:
        raise WrongInput(f"{key}={value}: must be a number{'' if least == -math.inf else f', at least {least:g}'}")
    return float(value)


# What is made of them


def thin_out(network: nn.Module, groups: Iterable[Group], weight_decay: float, seed: int) -> list[Group]:
    """Leaves of weights that are to be trained in a few random places only those places to be trained.

    Args:
        network: changed in place; see :func:`experiments.chosen_entries.choose_entries`.
        groups: as :func:`parameter_groups` has them.
        weight_decay: of the penalty; of such a weight only the trained numbers are penalised.
        seed: the run's.

    Returns:
        The groups with the names that their parameters have now.

    Raises:
        WrongInput: a parameter that has no output channels, or too few weights in one.
    """
    found: list[Group] = []
    for place, group in enumerate(groups):
        if group.random_per_channel is None:
            found.append(group)
            continue
        key = f"optim.groups.{place}.random_per_channel={group.random_per_channel}"
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        if fixed := sorted(group.names - trained):
            raise WrongInput(f"{key}: {some(fixed)}: not trained, or a second name of what is; except it")
        new = [choose_entries(network, name, group.random_per_channel, seed, key) for name in sorted(group.names)]
        decay = group.decay or (Decay(weight_decay) if weight_decay else None)
        found.append(dataclasses.replace(group, names=frozenset(new), decay=decay))
        if weight_decay:  # the weight as a whole is no term of the penalty then
            found.append(Group(group.names, decay=Decay(0.0)))
    return found


def freeze(network: nn.Module, groups: Iterable[Group]) -> None:
    """Lets the frozen groups' parameters take no gradient."""
    frozen = set[str]().union(*(group.names for group in groups if not group.train))
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def decays(groups: Iterable[Group]) -> dict[str, Decay]:
    """The parameters with a decay of their own, for :class:`probes.objective.Objective`."""
    return {name: group.decay for group in groups if group.decay is not None for name in group.names}


def regroup(optimiser: torch.optim.Optimizer, network: nn.Module, groups: list[Group], lr: float) -> list[float]:
    """Splits an optimiser's groups so that each has one learning rate, and takes out what is frozen.

    Args:
        optimiser: new, for the parameters of ``network``; changed in place, unless there is nothing to change.
        network, groups: as :func:`parameter_groups` has them.
        lr: what it was built with. An optimiser may have groups of its own, with other rates.

    Returns:
        Of each of its groups the learning rate, as a factor on that of the step.

    Raises:
        WrongInput: a decay of a group beside a decay that the optimiser itself does.
    """
    if any(group.decay is not None and group.train for group in groups):
        own = [group.get("weight_decay") for group in optimiser.param_groups]
        if any(own):
            raise WrongInput(
                "optim.groups: a group's decay is of the penalty in the loss, and the optimiser has a decay of its own "
                "beside it (decoupled_weight_decay=0 leaves that out)"
            )
    own_factors = [float(group.get("lr", lr)) / lr for group in optimiser.param_groups]
    if not groups:
        return own_factors
    of = {id(p): place for name, p in network.named_parameters() for place, g in enumerate(groups) if name in g.names}
    split: list[dict[str, Any]] = []
    factors: list[float] = []
    for existing, own_factor in zip(optimiser.param_groups, own_factors, strict=True):
        for place in [None, *range(len(groups))]:
            members = [p for p in existing["params"] if of.get(id(p)) == place]
            if members and (place is None or groups[place].train):
                split.append({**existing, "params": members})
                factors.append(own_factor * (1.0 if place is None else groups[place].factor))
    optimiser.param_groups[:] = split
    return factors


def rates_of(optimiser: torch.optim.Optimizer, network: nn.Module, factors: list[float]) -> Callable[[float], Rates]:
    """lr_t -> the learning rates of that step.

    Args:
        optimiser, factors: as :func:`regroup` left and returned them.
        network: whose parameters they are.
    """
    if all(factor == 1.0 for factor in factors):
        return lambda lr: Rates(lr, {})
    by_id = {id(p): f for group, f in zip(optimiser.param_groups, factors, strict=True) for p in group["params"]}
    named = {name: by_id.get(id(p), 0.0) for name, p in network.named_parameters() if p.requires_grad}
    return lambda lr: Rates(lr, {name: lr * factor for name, factor in named.items()})
