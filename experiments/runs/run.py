"""One run from its configuration: what exists is taken up or left alone, what is missing is trained and stored."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from experiments.building import build_training, check_options
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.mirrors import build_mirror
from experiments.probing import plan_in_words
from experiments.runs.again import probe_again
from experiments.runs.attempt import Outcome, recorded, restore
from experiments.runs.checkpoints import kept_steps
from experiments.runs.files import disk_errors
from experiments.runs.folder import RunFolder, came_to, read_status
from experiments.runs.identity import (
    Identity,
    changed_defaults,
    check_identity,
    check_training,
    covers,
    identity_of,
    read_description,
)
from experiments.runs.journal import RunJournal
from experiments.runs.provenance import (
    begin_provenance,
    check_conditions,
    conditions_in_words,
    conditions_of,
    end_provenance,
)
from experiments.runs.records import ProbeRecorder, RecordWriter, describe
from experiments.runs.twins import compare_ends, place_of, state_sha256
from experiments.runtime import resolve_device, runtime, seed_global_generators
from experiments.schema import validate
from experiments.train import Training, train

log = logging.getLogger("experiments")


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
    check_options(plain)
    if plain["probe_again"] is not None:
        return probe_again(plain)
    device = resolve_device(plain["device"])
    with runtime(device, plain["threads"], plain["numerics"], plain["seed"]):
        data = load_data(plain["data"], plain["seed"], plain["optim"]["batch_size"], device)
        seed_global_generators(plain["seed"])  # a library's first import may draw: scikit-learn's does
        identity = identity_of(plain, data.fingerprint)
        path = place_of(plain, identity, data.label)
        if not plain["dry"] and (done := already_done(path, identity, plain)):
            log.info("%s: already %s at step %d%s", path.name, done.state, done.step, longer_than(path, plain["steps"]))
            return done
        recorder = ProbeRecorder()
        training = build_training(plain, data, device, recorder)
        if plain["dry"]:
            check_identity(path, identity)
            return _say_what_would_be_done(path, plain, training)
        with disk_errors(path), RunFolder(path, plain["lease_seconds"]) as folder:
            if done := already_done(path, identity, plain):  # by another process, a moment ago
                return done
            return _train_and_store(folder, plain, identity, training, recorder, device, progress)


def already_done(
    path: Path, identity: Identity, config: Mapping[str, Any], status: Mapping[str, Any] | None = None
) -> Outcome | None:
    """How the run ended, if nothing is left to do; ``status`` is what its status.json says, if that is known already.

    Raises:
        WrongInput: the folder holds another run, or this one without the checkpoints that are now to be kept.
        RunFailure: a file there is damaged.
    """
    status = status or read_status(path)
    there = read_description(path)
    if there is not None:
        check_training(path, there, identity)
    if (
        there is None
        or not covers(there["measurement"], identity.measurement)
        or changed_defaults(there, identity, "measurement")
    ):
        check_identity(path, identity)
    if not status:
        return None
    enough = status["state"] == "finished" and status["step"] >= config["steps"]
    # a diverged run that was begun for fewer steps is one of that length to the analysis until it is begun for more
    longer = there is not None and there["config"]["steps"] < config["steps"]
    if not enough and (status["state"] != "diverged" or config["retry_diverged"] or longer):
        return None
    missing = sorted({step for step in config["checkpoint"]["keep"] if step <= status["step"]} - {*kept_steps(path)})
    if missing:
        raise WrongInput(
            f"checkpoint.keep={missing}: {path} is {status['state']} without keeping these; another run_name trains it "
            "again, with them"
        )
    return Outcome(path, status["state"], status["step"], trained=False)


def longer_than(path: Path, steps: int) -> str:
    """What an ended run counts as that was begun for more than ``steps`` steps, as a part of a message; else ""."""
    there = read_description(path)
    own = steps if there is None else there["config"]["steps"]
    return f"; {steps} steps are asked for, but tables and claims count it as a run of {own}" if own > steps else ""


def _say_what_would_be_done(path: Path, config: Mapping[str, Any], training: Training) -> Outcome:
    status = read_status(path)
    state, step = (status["state"], status["step"]) if status else ("missing", 0)
    parameters = sum(p.numel() for p in training.network.parameters())
    log.info("%s: %s, step %d of %d; %d parameters", path, state, step, config["steps"], parameters)
    log.info("%s", plan_in_words(training.probes, config["steps"]))
    return Outcome(path, state, step, trained=False)


def _train_and_store(
    folder: RunFolder,
    config: Mapping[str, Any],
    identity: Identity,
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
    begin_provenance(
        folder.path, from_step=start, plan=training.probes.describe(), **conditions_in_words(config, device)
    )
    records = RecordWriter(
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
        sha256 = state_sha256(training.network)
        equal = compare_ends(folder.path, config, identity, journal.done, sha256)
        end_provenance(folder.path, same_training=equal)  # first: a run that is told to be over lacks nothing
        folder.set_status(
            state,
            journal.done,
            steps,
            diverged_at=diverged_at,
            final=journal.last_values,
            end={"step": journal.done, "sha256": sha256},
        )
        told = came_to({"final": journal.last_values}) if diverged_at is None else ""
        log.info("%s: %s at step %d%s", folder.path.name, state, journal.done, told)
    return Outcome(folder.path, state, journal.done, trained=True)


RUNNING = "evaluation mode: running statistics"


def _training_fields(training: Training) -> dict[str, dict[str, Any]]:
    """What the built-in evaluation records."""
    classification = training.data.spec.task == "classification"
    base = training.loss_unit
    unit = f"{base}, {training.loss_reduction} over the batch"
    whole = "data loss + (lambda/2) ||W||^2, mini-batch, training mode"
    fields = {
        "loss": ("loss", unit, "train", "before", whole),
        "data_loss": ("data_loss", unit, "train", "before", "Santurkar et al. 2018, figures 1 and 5"),
        "penalty": ("penalty", unit, "train", "before", "(lambda/2) ||W||^2 over weights"),
        "learning_rate": ("learning_rate", "1", "none", "none", ""),
        "test_data_loss": ("data_loss", f"{base}, mean over the test set", "test", "before", RUNNING),
    }
    beside = (*training.data.domains, *training.data.test_sets)
    for name in beside:  # the same, of a domain's part of the test set, or of a further one
        fields[f"test_data_loss_{name}"] = (*fields["test_data_loss"][:2], f"test_{name}", "before", RUNNING)
    if classification:
        fields["accuracy"] = ("accuracy", "fraction", "train", "before", "Santurkar et al. 2018, figure 1 (a)")
        fields["test_accuracy"] = (
            "accuracy",
            "fraction",
            "test",
            "before",
            f"Santurkar et al. 2018, figure 1 (b); {RUNNING}",
        )
        for name in beside:
            fields[f"test_accuracy_{name}"] = ("accuracy", "fraction", f"test_{name}", "before", RUNNING)
    fields |= training.evaluations.fields(base)
    return describe(fields)
