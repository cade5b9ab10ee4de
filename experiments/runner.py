"""One run from its configuration: what exists is taken up or left alone, what is missing is trained and stored."""

from __future__ import annotations

import contextlib
import copy
import logging
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from experiments import store
from experiments.composition import explain
from experiments.data import Data, DataSpec, load_data
from experiments.errors import Interrupted, RunFailure, WrongInput
from experiments.journal import RunJournal, StopRequest, log_file, stop_signals
from experiments.lease import LeaseLost
from experiments.mirrors import build_mirror
from experiments.models import build_model
from experiments.optimisers import build_optimiser, learning_rate_schedule
from experiments.probing import ProbeRecorder, build_probes
from experiments.records import Records, field
from experiments.runtime import (
    device_name,
    resolve_device,
    restore_generator_states,
    runtime,
    seed_global_generators,
    versions,
)
from experiments.schema import Config, validate
from experiments.store import RunFolder, disk_errors
from experiments.train import Training, data_loss, train
from probes.errors import ProbeError
from probes.objective import Objective
from probes.randomness import at_step

log = logging.getLogger("experiments")


@dataclass(frozen=True)
class Outcome:
    """How a run stands after it was asked for."""

    path: Path
    """The run folder."""
    state: str
    """finished, diverged or (``dry``) what it was found in."""
    step: int
    """Steps done."""
    trained: bool
    """False where nothing had to be done."""


def run(config: DictConfig | Mapping[str, Any], *, progress: bool = False) -> Outcome:
    """Does what is missing of the run that ``config`` describes.

    A finished or diverged run is left alone; an interrupted one goes on, and so does one that needs more steps.

    Args:
        config: a composed configuration, as :func:`experiments.compose` returns it.
        progress: draw a progress bar where standard error is a terminal.

    Raises:
        WrongInput: the configuration or a file it names must be changed.
        RunFailure: the run failed; its folder has the traceback.
        Interrupted: a signal asked to stop; the same call goes on.
    """
    return run_plain(plain_config(config), progress=progress)


def run_plain(plain: dict[str, Any], *, progress: bool = False) -> Outcome:
    """The same for a configuration that :func:`plain_config` has checked and made plain."""
    validate(plain)
    if plain["probe_again"] is not None:
        from experiments.again import probe_again

        return probe_again(plain)
    device = resolve_device(plain["device"])
    with runtime(device, plain["threads"], plain["numerics"], plain["seed"]):
        data = load_data(plain["data"], plain["seed"], plain["optim"]["batch_size"], device)
        seed_global_generators(plain["seed"])  # a library's first import may draw: scikit-learn's does
        identity = store.identity_of(plain, data.fingerprint)
        path = Path(plain["runs_dir"]).expanduser().absolute() / store.run_name(plain, identity, data.label)
        if not plain["dry"] and (done := already_done(path, identity, plain)):
            log.info("%s: already %s at step %d", path.name, done.state, done.step)
            return done
        recorder = ProbeRecorder()
        training = build_training(plain, data, device, recorder)
        if plain["dry"]:
            return _say_what_would_be_done(path, plain, training)
        with disk_errors(path), RunFolder(path, plain["lease_seconds"]) as folder:
            if done := already_done(path, identity, plain):  # by another process, a moment ago
                return done
            return _train_and_store(folder, plain, identity, training, recorder, device, progress)


def already_done(
    path: Path, identity: Mapping[str, Any], config: Mapping[str, Any], status: Mapping[str, Any] | None = None
) -> Outcome | None:
    """How the run ended, if nothing is left to do; ``status`` is what its status.json says, if that is known already.

    Raises:
        WrongInput: the folder holds another run, or this one without the checkpoints that are now to be kept.
        RunFailure: a file there is damaged.
    """
    store.check_identity(path, identity)
    status = status or store.read_status(path)
    if not status:
        return None
    enough = status["state"] == "finished" and status["step"] >= config["steps"]
    if not enough and (status["state"] != "diverged" or config["retry_diverged"]):
        return None
    missing = sorted(
        {step for step in config["checkpoint"]["keep"] if step <= status["step"]} - {*store.kept_steps(path)}
    )
    if missing:
        raise WrongInput(
            f"checkpoint.keep={missing}: {path} is {status['state']} without keeping these; another run_name trains it "
            "again, with them"
        )
    return Outcome(path, status["state"], status["step"], trained=False)


def plain_config(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain dictionaries: checked against the schema, interpolations resolved, paths absolute.

    Raises:
        WrongInput: a key is missing or unknown, or a value is of the wrong type.
    """
    try:
        composed = isinstance(config, DictConfig) and OmegaConf.get_type(config) is Config  # typed already
        typed = config if composed else OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create(config))  # type: ignore[arg-type]
        container = OmegaConf.to_container(typed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise WrongInput(explain(error)) from error
    assert isinstance(container, dict)
    plain = {str(key): value for key, value in container.items()}
    for group in ("data", "model", "norm", "optim"):
        if not isinstance(plain[group], dict) or not isinstance(plain[group].get("name"), str):
            raise WrongInput(f"{group}={plain[group]}: must be a group of options with a name, for example {group}=...")
        if not isinstance(plain[group].get("file"), (str, types.NoneType)):
            raise WrongInput(f"{group}.file={plain[group]['file']}: must be the path of a Python file, or null")
    _make_absolute(plain)
    return plain


def _make_absolute(node: dict[str, Any]) -> None:
    """The user's source files and data, from now on independent of the working directory."""
    for key, value in node.items():
        if isinstance(value, dict):
            _make_absolute(value)
        elif key in ("file", "root", "cache") and isinstance(value, str):
            node[key] = str(Path(value).expanduser().absolute())


def build_training(
    config: Mapping[str, Any],
    data: Data,
    device: torch.device,
    recorder: ProbeRecorder,
    probe_at: list[int] | None = None,
) -> Training:
    """Everything that the run of ``config`` trains with, from its start.

    Args:
        config: the configuration as plain dictionaries.
        data, device: what it trains on.
        recorder: takes what the probes measure.
        probe_at: probe these steps, whatever the configuration's schedule says.

    Raises:
        WrongInput: something does not fit together.
    """
    network = build_model(config["model"], config["norm"], data.spec, config["seed"]).to(device)
    optim = config["optim"]
    optimiser = build_optimiser(network, optim)
    objective = Objective(data_loss(data.spec.task, optim["loss"]), optim["weight_decay"])
    learning_rate = learning_rate_schedule(
        optim["schedule"], optim["lr"], config["steps"], optim["milestones"], optim["factor"]
    )
    _rehearse(network, objective, data, config["seed"])
    return Training(
        network=network,
        optimiser=optimiser,
        objective=objective,
        data=data,
        learning_rate=learning_rate,
        seed=config["seed"],
        steps=config["steps"],
        loss_reduction=optim["loss"],
        evaluate_every=config["evaluation"]["every"],
        test_every=config["evaluation"]["test_every"],
        evaluation_batch_size=config["evaluation"]["batch_size"],
        diverged_above=config["diverged_above"],
        probes=build_probes(config, network, objective, data, learning_rate, recorder, probe_at),
    )


def _rehearse(network: nn.Module, objective: Objective, data: Data, seed: int) -> None:
    """The first batch's loss, on a copy: what does not fit is said before a folder is made.

    Raises:
        WrongInput: the normalisation cannot normalise such a batch.
    """
    trial = copy.deepcopy(network)
    batch = data.batch(0)
    try:
        with torch.no_grad(), at_step(seed, 0):
            objective(trial, trial, batch.inputs, batch.targets)
    except WrongInput:
        raise
    except Exception as error:  # it will go wrong again in the run itself, which keeps the traceback
        log.debug("the rehearsal failed: %s", error)


def _say_what_would_be_done(path: Path, config: Mapping[str, Any], training: Training) -> Outcome:
    status = store.read_status(path)
    state, step = (status["state"], status["step"]) if status else ("missing", 0)
    parameters = sum(p.numel() for p in training.network.parameters())
    log.info("%s: %s, step %d of %d; %d parameters", path, state, step, config["steps"], parameters)
    log.info("%s", training.probes.describe())
    return Outcome(path, state, step, trained=False)


def _train_and_store(
    folder: RunFolder,
    config: Mapping[str, Any],
    identity: Mapping[str, Any],
    training: Training,
    recorder: ProbeRecorder,
    device: torch.device,
    progress: bool,
) -> Outcome:
    conditions, steps = conditions_of(config, device), config["steps"]
    checkpoint = folder.load_checkpoint()
    start = 0
    if checkpoint is not None:
        check_conditions(folder.path, checkpoint["conditions"], conditions, config)
        start = checkpoint["step"]
        if start > steps:
            raise WrongInput(f"steps={steps}: {folder.path} has done {start} steps already; ask for as many or more")
        restore(training, checkpoint, device)
        training.probes.load_state_dict(checkpoint["probes"])
    folder.describe(identity, config, training.data.label, asdict(training.data.spec))
    folder.begin_provenance(from_step=start, plan=training.probes.describe(), **conditions_in_words(config, device))
    records = Records(
        folder.path,
        {"training": _training_fields(training), **training.probes.fields()},
        keep_bytes=checkpoint["log_bytes"] if checkpoint else 0,
        keep_before=start,
        may_write=folder.lease.check,
        mirror=build_mirror(config["mirror"], folder.path, start),
    )
    recorder.records = records
    journal = RunJournal(folder, config, training, records, conditions, device, start)
    with recorded(folder, records, start, steps) as stop, journal.bar(progress):
        journal.stop = stop
        log.info("%s: from step %d to %d on %s", folder.path.name, start, steps, device)
        log.info("%s", training.probes.describe() if progress else training.probes.describe().split("\n", 1)[0])
        diverged_at = train(training, start, journal)
        records.compact()
        state = "finished" if diverged_at is None else "diverged"
        folder.set_status(state, journal.done, steps, diverged_at=diverged_at, final=journal.last_values)
        folder.end_provenance()
        log.info("%s: %s at step %d", folder.path.name, state, journal.done)
    return Outcome(folder.path, state, journal.done, trained=True)


@contextlib.contextmanager
def recorded(folder: RunFolder, records: Records, start: int, steps: int) -> Iterator[StopRequest]:
    """Within it the run is marked as running, logged, and may be stopped; whatever ends it is written to its folder.

    Raises:
        Interrupted: a signal asked to stop.
        WrongInput, RunFailure: in one line, what went wrong; the traceback is in the folder.
    """
    (folder.path / "traceback.txt").unlink(missing_ok=True)
    with log_file(folder.path), stop_signals() as stop:
        folder.set_status("running", start, steps)  # whoever reads it may send a signal
        try:
            yield stop
        except Interrupted:
            folder.set_status("interrupted", folder.step, steps, message="stopped by a signal")
            folder.end_provenance()
            raise
        except LeaseLost:
            raise  # nothing more is written here
        except Exception as error:
            folder.failed(folder.step, steps, error)
            log.info("%s: failed: %s: %s", folder.path.name, type(error).__name__, error)
            if isinstance(error, ProbeError):
                raise WrongInput(f"probes: {error}") from error
            if isinstance(error, (RunFailure, WrongInput, OSError)):
                raise
            first = str(error).splitlines()[0] if str(error) else ""
            raise RunFailure(
                f"{folder.path}: failed at step {folder.step}: {type(error).__name__}: {first} "
                "(whole story in traceback.txt there)"
            ) from error
        finally:
            records.close()


def conditions_of(config: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """What must be equal for equal bits, besides the configuration and the model of the processor."""
    return {"device": device.type, "threads": config["threads"], "versions": versions()}


def conditions_in_words(config: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The same for provenance.json, with the device's name."""
    return {
        **conditions_of(config, device),
        "device": str(device),
        "device_name": device_name(device),
        "numerics": config["numerics"]["name"],
    }


def check_conditions(path: Path, there: Mapping[str, Any], here: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Going on is bit-identical only under equal conditions; elsewhere the person decides."""
    differences = store.differing_keys(there, here)
    if differences and config["resume"] == "exact" and config["numerics"]["deterministic"]:
        raise WrongInput(
            f"{path}: was begun under other conditions: {'; '.join(differences)}; go on where they are equal, or with "
            "resume=anyway (no longer bit-identical), or from the start with another run_name"
        )


def restore(training: Training, checkpoint: Mapping[str, Any], device: torch.device) -> None:
    """Puts weights, buffers, optimiser and generators back to the checkpoint's."""
    training.network.load_state_dict(checkpoint["network"])
    training.optimiser.load_state_dict(checkpoint["optimiser"])
    restore_generator_states(checkpoint["generators"], device)


def _training_fields(training: Training) -> dict[str, dict[str, Any]]:
    """What the built-in evaluation records."""
    classification = training.data.spec.task == "classification"
    base = "nats" if classification else "squared error"
    unit = f"{base}, {training.loss_reduction} over the batch"
    mini_batch = partial(field, batch="train", point="before")
    held_out = partial(field, batch="test", point="before")
    fields = {
        "loss": mini_batch("loss", unit, reference="data loss + (lambda/2) ||W||^2, mini-batch, training mode"),
        "data_loss": mini_batch("data_loss", unit, reference="Santurkar et al. 2018, figures 1 and 5"),
        "penalty": mini_batch("penalty", unit, reference="(lambda/2) ||W||^2 over weights"),
        "learning_rate": field("learning_rate", "1", batch="none", point="none"),
        "test_data_loss": held_out("data_loss", f"{base}, mean over the test set", reference="evaluation mode"),
    }
    if classification:
        fields["accuracy"] = mini_batch("accuracy", "fraction", reference="Santurkar et al. 2018, figure 1 (a)")
        fields["test_accuracy"] = held_out("accuracy", "fraction", reference="Santurkar et al. 2018, figure 1 (b)")
    return fields


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
    if not (folder / "config.json").is_file():
        raise WrongInput(f"{folder}: not a run folder (it has no config.json)")
    file = folder / "checkpoint.pt" if step is None else folder / "kept" / f"step-{step:08d}.pt"
    if not file.exists():
        which = "the latest step" if step is None else f"step {step}"
        raise WrongInput(f"{folder}: no checkpoint of {which}; kept steps: {store.kept_steps(folder) or 'none'}")
    there = store.read_json(folder / "config.json", ("config", "spec"))
    config, spec = there["config"], there["spec"]
    described = DataSpec(tuple(spec["input_shape"]), spec["outputs"], spec["task"])
    network = build_model(config["model"], config["norm"], described, config["seed"])
    network.load_state_dict(store.load_checkpoint(file)["network"])
    return network
