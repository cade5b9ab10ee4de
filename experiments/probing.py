"""From the configuration group ``probes`` to the probes of a run."""

from __future__ import annotations

import itertools
import logging
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from experiments.data import Batch, Data
from experiments.discovery import Registry, is_users
from experiments.errors import WrongInput
from experiments.options import build, in_users_code, raised_by_user
from experiments.rehearsal import rehearse
from experiments.train import AroundSteps
from probes.engine.probes import Probes
from probes.engine.rates import Rates
from probes.errors import ProbeError
from probes.objective import Objective
from probes.protocol import MakesBatches, Probe
from probes.schedule import ByProgress, Schedule
from probes.statistics import in_domain_of

log = logging.getLogger("experiments")

Sink = Callable[[str, int, Mapping[str, Tensor]], None]
"""Takes a probe's name, the step, and what it measured."""


def _probe_of(module: ModuleType) -> type[Probe] | None:
    """The probe that a file holds: its class that declares and measures."""
    own = (entry for entry in vars(module).values() if isinstance(entry, type) and entry.__module__ == module.__name__)
    found = [entry for entry in own if {"declare", "measure"} <= vars(entry).keys() and entry is not Probe]
    return found[0] if len(found) == 1 else None


PROBES: Registry[type[Probe]] = Registry("probe", "probes", _probe_of)
"""The probes know nothing of configurations: one file, one class, named as the file is."""


class NoProbes:
    """Nothing is probed."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def around(self, step: int, batch: Batch, trains: bool = True) -> AbstractContextManager[nn.Module]:
        """Yields the network itself."""
        return nullcontext(self.network)

    def fields(self) -> dict[str, Any]:
        """Nothing is recorded."""
        return {}

    def tell(self, step: int, data_loss: Tensor) -> None:
        """Nothing depends on it."""

    def share_of_training(self) -> tuple[float, float]:
        """Costs nothing."""
        return 0.0, 0.0

    def probed_steps(self, start: int, end: int) -> dict[str, tuple[int, int]]:
        """No probe measures."""
        return {}

    def describe(self) -> str:
        """The plan."""
        return "probes: none"

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is remembered."""


def build_probes(
    config: Mapping[str, Any],
    network: nn.Module,
    objective: Objective,
    data: Data,
    learning_rate: Callable[[int], Rates],
    sink: Sink,
    at: list[int] | None = None,
) -> Probes | NoProbes:
    """The probes that the configuration chooses.

    Args:
        config: the whole configuration.
        network, objective, data, learning_rate: of the run.
        sink: takes what a probe measured at a step.
        at: probe these steps, whatever the configuration's schedule says.

    Raises:
        WrongInput: an unknown probe or option, a layer that is not there, a schedule past the end, a fixed batch larger
            than the data, a network whose loss is not deterministic.
    """
    chosen = config["probes"]
    if not chosen["use"]:
        return NoProbes(network)
    steps = max(config["steps"], 1)  # a run without steps is looked at where its first one would be
    probes = {label: _probe(label, options) for label, options in chosen["use"].items()}
    example, fixed = data.batch(0), _fixed_batch(data, chosen["fixed_batch"])
    try:
        with in_domain_of(example):  # what is tried out before training is tried on it
            built = Probes(
                network,
                objective,
                probes,
                example,
                learning_rate=learning_rate,
                every=_schedule(chosen, steps) if at is None else Schedule.of(at),
                seed=config["seed"],
                steps=steps if at is None else None,
                batches={"fixed": fixed, **_made_of(fixed, probes)},
                dtype=torch.float64 if chosen["dtype"] == "float64" else None,
                reuse_training_pass=True,
                sink=sink,
            )
    except ProbeError as error:
        raise WrongInput(f"probes: {error}") from error
    except Exception as error:
        modules = {frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)}
        users = {label: type(probe).__module__ for label, probe in probes.items()}
        label = next((label for label, module in users.items() if is_users(module) and module in modules), None)
        if label is None:  # in a network, or of ours
            named = {group: (config[group].get("file"), config[group]["name"]) for group in ("norm", "model")}
            if in_network := in_users_code(error, named):
                raise in_network from error
            raise
        raise raised_by_user(f"probes.use.{label}", type(probes[label]).__name__, error) from error
    if any(need.batch == "fixed" for declared in built.declarations.values() for need in declared.needs):
        rehearse(network, objective, fixed, config["seed"])
    return built


FEWEST_PROBED = 8
"""Probed steps of a part of training; the analysis takes no median over fewer."""
PARTS = 3
"""Training is looked at in thirds."""


def plan_in_words(probes: AroundSteps, steps: int) -> str:
    """What would be measured and what it costs; and where there would be too little of it to be judged."""
    fewest: dict[str, int] = {}
    for start, end in itertools.pairwise(steps * part // PARTS for part in range(PARTS + 1)):
        for name, (least, _) in probes.probed_steps(start, end).items():
            if least < min(end - start, FEWEST_PROBED):
                fewest[name] = min(least, fewest.get(name, least))
    if not fewest:
        return probes.describe()
    few = ", ".join(f"{name} {count}" for name, count in fewest.items())
    return (
        f"{probes.describe()}\ntoo few probed steps: as few as {few} in a third of training, where {FEWEST_PROBED} are "
        "needed to judge it: let probes.every be smaller"
    )


def _probe(label: str, options: Mapping[str, Any] | None) -> Probe:
    key = f"probes.use.{label}"
    if not isinstance(options, Mapping) or "name" not in options:
        raise WrongInput(f"{key}={options}: must be a group of options with a name, for example {{name: {label}}}")
    special = {k: v for k, v in options.items() if k not in ("name", "file")}
    name, file = options["name"], options.get("file")
    probe = build(key, PROBES.get(name, file, key), (), special)
    if not isinstance(probe, Probe):
        raise WrongInput(f"{key}.name={name}: must have the methods declare(network) and measure(at)")
    return probe


SPACINGS: Mapping[str, Callable[[int, int], Schedule | ByProgress]] = {
    "linear": lambda every, steps: Schedule(every),
    "log": lambda every, steps: Schedule.logarithmic(steps),
    "progress": lambda every, steps: ByProgress(every),
}
"""What ``probes.spacing`` means, from ``probes.every`` and the run's length."""


def _schedule(chosen: Mapping[str, Any], steps: int) -> Schedule | ByProgress:
    if chosen["at"] is not None:
        return Schedule.of(chosen["at"])
    return SPACINGS[chosen["spacing"]](chosen["every"], steps)


def _made_of(fixed: Batch, probes: Mapping[str, Probe]) -> dict[str, tuple[Any, Any]]:
    """The batches that probes make of the fixed one, by name."""
    makers = (probe for probe in probes.values() if isinstance(probe, MakesBatches))
    return {name: batch for probe in makers for name, batch in probe.made_of(fixed.inputs, fixed.targets).items()}


def _fixed_batch(data: Data, size: int) -> Batch:
    """A batch chosen once, drawn from the training data with the run's seed, for probes that watch one."""
    if size > data.training_size:
        raise WrongInput(
            f"probes.fixed_batch={size}: must be from 1 to {data.training_size}, the number of training samples"
        )
    return data.fixed_batch(size)
