"""From the configuration group ``probes`` to the probes of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from experiments.data import Batch, Data
from experiments.errors import WrongInput, near_miss
from experiments.records import Records
from experiments.registry import build, from_user_file
from probes.engine import Probes
from probes.errors import ProbeError
from probes.objective import Objective
from probes.protocol import Probe
from probes.registry import PROBES
from probes.schedule import Schedule


class NoProbes:
    """Nothing is probed."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def around(self, step: int, batch: Batch) -> AbstractContextManager[nn.Module]:
        """Yields the network itself."""
        return nullcontext(self.network)

    def fields(self) -> dict[str, Any]:
        """Nothing is recorded."""
        return {}

    def share_of_training(self) -> float:
        """Costs nothing."""
        return 0.0

    def describe(self) -> str:
        """The plan."""
        return "probes: none"

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is remembered."""


class ProbeRecorder:
    """Takes what the probes measure to the records, once these are open."""

    def __init__(self) -> None:
        self.records: Records | None = None

    def __call__(self, probe: str, step: int, values: Mapping[str, Tensor]) -> None:
        """Appends one probe's numbers of one step."""
        assert self.records is not None
        self.records.append(probe, step, values)


def build_probes(
    config: Mapping[str, Any],
    network: nn.Module,
    objective: Objective,
    data: Data,
    learning_rate: Callable[[int], float],
    recorder: ProbeRecorder,
    at: list[int] | None = None,
) -> Probes | NoProbes:
    """The probes that the configuration chooses.

    Args:
        config: the whole configuration.
        network, objective, data, learning_rate: of the run.
        recorder: takes the numbers.
        at: probe these steps, whatever the configuration's schedule says.

    Raises:
        WrongInput: an unknown probe or option, a layer that is not there, a schedule past the end, a fixed batch larger
            than the data, a network whose loss is not deterministic.
    """
    chosen = config["probes"]
    if not chosen["use"]:
        return NoProbes(network)
    probes = {label: _probe(label, options) for label, options in chosen["use"].items()}
    try:
        return Probes(
            network,
            objective,
            probes,
            data.batch(0),
            learning_rate=learning_rate,
            every=_schedule(chosen, config["steps"]) if at is None else Schedule.of(at),
            seed=config["seed"],
            steps=config["steps"] if at is None else None,
            fixed_batch=_fixed_batch(data, chosen["fixed_batch"]),
            dtype=torch.float64 if chosen["dtype"] == "float64" else None,
            reuse_training_pass=True,
            sink=recorder,
        )
    except ProbeError as error:
        raise WrongInput(f"probes: {error}") from error


def _probe(label: str, options: Mapping[str, Any] | None) -> Probe:
    key = f"probes.use.{label}"
    if not isinstance(options, Mapping) or "name" not in options:
        raise WrongInput(f"{key}={options}: must be a group of options with a name, for example {{name: {label}}}")
    special = {k: v for k, v in options.items() if k not in ("name", "file")}
    name, file = options["name"], options.get("file")
    if file is None and name not in PROBES:
        raise WrongInput(f"{key}.name={name}: unknown probe; {near_miss(name, PROBES)}")
    entry = PROBES[name] if file is None else from_user_file(key, name, file)
    probe = build(key, entry, (), special)
    if not isinstance(probe, Probe):
        raise WrongInput(f"{key}.name={name}: must have the methods declare(network) and measure(at)")
    return probe


def _schedule(chosen: Mapping[str, Any], steps: int) -> Schedule:
    if chosen["at"] is not None:
        return Schedule.of(chosen["at"])
    if chosen["spacing"] == "log":
        return Schedule.logarithmic(steps)
    return Schedule.of(chosen["every"])


def _fixed_batch(data: Data, size: int) -> Batch | None:
    """A batch chosen once, drawn from the training data with the run's seed, for probes that watch one."""
    if size > data.training_size:
        raise WrongInput(
            f"probes.fixed_batch={size}: must be from 1 to {data.training_size}, the number of training samples"
        )
    return data.fixed_batch(size)
