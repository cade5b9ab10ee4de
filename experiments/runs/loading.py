"""A stored run's network."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from experiments.chosen_entries import entries_as_stored
from experiments.data import DataSpec
from experiments.errors import WrongInput
from experiments.models import build_model
from experiments.runs.checkpoints import kept_checkpoint, kept_steps, load_checkpoint
from experiments.runs.files import read_json
from experiments.runs.format import CHECKPOINT, CONFIG


def load_network(path: str | Path, step: int | None = None) -> nn.Module:
    """The network of a stored run, on the CPU, with the weights of its latest or a kept checkpoint.

    Args:
        path: the run folder.
        step: of a kept checkpoint; None for the latest.

    Raises:
        WrongInput: no such run or checkpoint.
        RunFailure: a file is damaged.
    """
    folder = Path(path).expanduser()
    if not (folder / CONFIG).is_file():
        raise WrongInput(f"{folder}: not a run folder (it has no {CONFIG})")
    file = folder / CHECKPOINT if step is None else kept_checkpoint(folder, step)
    if not file.exists():
        which = "the latest step" if step is None else f"step {step}"
        raise WrongInput(f"{folder}: no checkpoint of {which}; kept steps: {kept_steps(folder) or 'none'}")
    there = read_json(folder / CONFIG, ("config", "spec"))
    config, spec = there["config"], there["spec"]
    described = DataSpec(tuple(spec["input_shape"]), spec["outputs"], spec["task"])
    network = build_model(config["model"], config["norm"], described, config["seed"])
    state = load_checkpoint(file)["network"]
    entries_as_stored(network, state)
    network.load_state_dict(state)
    return network
