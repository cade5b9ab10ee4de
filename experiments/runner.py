"""One run from its configuration: what exists is taken up or left alone, what is missing is trained and stored."""

from __future__ import annotations

import contextlib
import copy
import logging
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from tqdm import tqdm

from experiments import store
from experiments.data import Batch, Data, load_data
from experiments.errors import RunFailure, WrongInput
from experiments.models import build_model
from experiments.optimisers import build_optimiser, learning_rate_schedule
from experiments.records import Records, field
from experiments.runtime import (
    device_name,
    generator_states,
    resolve_device,
    restore_generator_states,
    runtime,
    versions,
)
from experiments.schema import validate
from experiments.store import RunFolder, disk_errors
from experiments.train import Training, data_loss, train
from probes.objective import Objective
from probes.randomness import at_step

log = logging.getLogger("experiments")

LOG_SECONDS = 10.0


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


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop by a signal, and has saved a checkpoint."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class NoProbes:
    """Nothing is probed."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def around(self, step: int, batch: Batch) -> AbstractContextManager[nn.Module]:
        """Yields the network itself."""
        return nullcontext(self.network)


def run(config: DictConfig | Mapping[str, Any], *, progress: bool = False) -> Outcome:
    """Does what is missing of the run that ``config`` describes.

    A finished or diverged run is left alone; an interrupted one goes on; one that needs more steps goes on from its end.

    Args:
        config: a composed configuration, as :func:`experiments.compose` returns it.
        progress: draw a progress bar where standard error is a terminal.

    Raises:
        WrongInput: the configuration or a file it names must be changed.
        RunFailure: the run failed; its folder has the traceback.
        Interrupted: a signal asked to stop; the same call goes on.
    """
    plain = _plain(config)
    validate(plain)
    device = resolve_device(plain["device"])
    with runtime(device, plain["threads"], plain["numerics"], plain["seed"]):
        data = load_data(plain["data"], plain["seed"], plain["optim"]["batch_size"], device)
        identity = store.identity_of(plain, data.fingerprint)
        path = Path(plain["runs_dir"]).expanduser().absolute() / store.run_name(plain, identity, data.label)
        status = store.read_json(path / "status.json") if (path / "status.json").exists() else None
        if status is None or plain["dry"]:
            training = _training(plain, data, device)
            _rehearse(training)
            if plain["dry"]:
                return _say_what_would_be_done(path, status, plain, training)
        with disk_errors(path), RunFolder(path) as folder:
            folder.describe(identity, plain, data.label)
            status = folder.status()
            if status and (status["state"] == "diverged" or _is_complete(status, plain["steps"])):
                log.info("%s: already %s at step %d", path.name, status["state"], status["step"])
                return Outcome(path, status["state"], status["step"], trained=False)
            training = _training(plain, data, device)
            return _train_and_store(folder, plain, training, device, progress)


def _is_complete(status: Mapping[str, Any], steps: int) -> bool:
    return bool(status["state"] == "finished" and status["step"] >= steps)


def _plain(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    container = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)  # type: ignore[arg-type]
    assert isinstance(container, dict)
    plain = {str(key): value for key, value in container.items()}
    plain["probes"] = plain["probes"] or {}
    for group in ("data", "model", "norm", "optim"):
        # An unknown group choice is refused by Hydra; this is for configurations made in Python.
        if not isinstance(plain[group], dict) or "name" not in plain[group]:
            raise WrongInput(
                f"{group}={plain[group]}: must be a group of options with a name, for example {group}.name="
            )
    _make_absolute(plain)
    return plain


def _make_absolute(node: dict[str, Any]) -> None:
    """Paths of the user's source files, from now on independent of the working directory."""
    for key, value in node.items():
        if isinstance(value, dict):
            _make_absolute(value)
        elif key == "file" and value is not None:
            node[key] = str(Path(value).expanduser().absolute())


def _training(config: Mapping[str, Any], data: Data, device: torch.device) -> Training:
    network = build_model(config["model"], config["norm"], data.spec, config["seed"]).to(device)
    optim = config["optim"]
    return Training(
        network=network,
        optimiser=build_optimiser(network, optim),
        objective=Objective(data_loss(data.spec.task, optim["loss"]), optim["weight_decay"]),
        data=data,
        learning_rate=learning_rate_schedule(
            optim["schedule"], optim["lr"], config["steps"], optim["milestones"], optim["factor"]
        ),
        seed=config["seed"],
        steps=config["steps"],
        loss_reduction=optim["loss"],
        evaluate_every=config["evaluation"]["every"],
        evaluation_batch_size=config["evaluation"]["batch_size"],
        diverged_above=config["diverged_above"],
        probes=NoProbes(network),
    )


def _rehearse(training: Training) -> None:
    """The first batch's loss, on a copy: what does not fit is said before a folder is made.

    Raises:
        WrongInput: the normalisation cannot normalise such a batch.
    """
    trial = copy.deepcopy(training.network)
    batch = training.data.batch(0)
    try:
        with torch.no_grad(), at_step(training.seed, 0):
            training.objective(trial, trial, batch.inputs, batch.targets)
    except WrongInput:
        raise
    except Exception as error:  # it will go wrong again in the run itself, which keeps the traceback
        log.debug("the rehearsal failed: %s", error)


def _say_what_would_be_done(
    path: Path, status: Mapping[str, Any] | None, config: Mapping[str, Any], training: Training
) -> Outcome:
    state, step = (status["state"], status["step"]) if status else ("missing", 0)
    parameters = sum(p.numel() for p in training.network.parameters())
    log.info("%s: %s, step %d of %d; %d parameters", path, state, step, config["steps"], parameters)
    return Outcome(path, state, step, trained=False)


def _train_and_store(
    folder: RunFolder, config: Mapping[str, Any], training: Training, device: torch.device, progress: bool
) -> Outcome:
    conditions = {"device": device.type, "threads": config["threads"], "versions": versions()}
    checkpoint = folder.load_checkpoint()
    start = 0
    if checkpoint is not None:
        _check_conditions(folder.path, checkpoint["conditions"], conditions, config)
        start = checkpoint["step"]
        if start > config["steps"]:
            raise WrongInput(
                f"steps={config['steps']}: {folder.path} has done {start} steps already; ask for as many or more"
            )
        _restore(training, checkpoint, device)
    (folder.path / "traceback.txt").unlink(missing_ok=True)
    folder.set_status("running", start, config["steps"])
    folder.begin_provenance(
        from_step=start,
        versions=conditions["versions"],
        device=str(device),
        device_name=device_name(device),
        threads=config["threads"],
        numerics=config["numerics"]["name"],
        plan=None,
    )
    records = Records(
        folder.path,
        {"training": _training_fields(training)},
        keep_bytes=checkpoint["log_bytes"] if checkpoint else 0,
        keep_before=start,
    )
    journal = RunJournal(folder, config, training, records, conditions, device, start)
    with _log_file(folder.path), _stop_signals() as stop, journal.bar(progress):
        journal.stop = stop
        log.info("%s: from step %d to %d on %s", folder.path.name, start, config["steps"], device)
        try:
            diverged_at = train(training, start, journal)
            records.compact()
        except Interrupted:
            folder.set_status("interrupted", journal.done, config["steps"], message="stopped by a signal")
            folder.end_provenance()
            raise
        except Exception as error:
            folder.failed(journal.done, config["steps"], error)
            log.info("%s: failed: %s: %s", folder.path.name, type(error).__name__, error)
            if isinstance(error, (RunFailure, WrongInput, OSError)):
                raise
            raise RunFailure(
                f"{folder.path}: failed at step {journal.done}: {type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else ''} (whole story in traceback.txt there)"
            ) from error
        finally:
            records.close()
        state = "finished" if diverged_at is None else "diverged"
        folder.set_status(state, journal.done, config["steps"], diverged_at=diverged_at, final=journal.last_values)
        folder.end_provenance()
        log.info("%s: %s at step %d", folder.path.name, state, journal.done)
    return Outcome(folder.path, state, journal.done, trained=True)


def _check_conditions(path: Path, there: Mapping[str, Any], here: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Going on is bit-identical only under equal conditions; elsewhere the person decides."""
    differences = store.differing_keys(there, here)
    if differences and config["resume"] == "exact" and config["numerics"]["deterministic"]:
        raise WrongInput(
            f"{path}: was begun under other conditions: {'; '.join(differences)}; go on where they are equal, or with "
            "resume=anyway (no longer bit-identical), or from the start with another run_name"
        )


def _restore(training: Training, checkpoint: Mapping[str, Any], device: torch.device) -> None:
    training.network.load_state_dict(checkpoint["network"])
    training.optimiser.load_state_dict(checkpoint["optimiser"])
    restore_generator_states(checkpoint["generators"], device)


class RunJournal:
    """Writes what the training loop tells: records, heartbeat, checkpoints, log."""

    def __init__(
        self,
        folder: RunFolder,
        config: Mapping[str, Any],
        training: Training,
        records: Records,
        conditions: Mapping[str, Any],
        device: torch.device,
        start: int,
    ) -> None:
        self.folder, self.config, self.training, self.records = folder, config, training, records
        self.conditions, self.device = conditions, device
        self.done = start
        self.last_values: dict[str, float] = {}
        self.stop: StopRequest | None = None
        self._keep = set(config["checkpoint"]["keep"])
        self._started = self._saved = self._logged = time.monotonic()
        self._start = start
        self._saved_at: int | None = None
        self._bar: tqdm[Any] | None = None

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """Records the built-in evaluation."""
        self.records.append("training", step, values)
        self.last_values = values

    def step_done(self, done: int, loss: float) -> None:
        """Heartbeat, log line, checkpoint where due; stops where a signal asked for it."""
        self.done = done
        self.records.end_step(done - 1)
        if self._bar is not None:
            self._bar.update()
            if self.folder.heartbeat(done):
                self._bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        elif self.folder.heartbeat(done):
            self._log_line(loss)
        keep = done in self._keep
        stopping = self.stop is not None and self.stop.number is not None
        if keep or stopping or time.monotonic() - self._saved >= self.config["checkpoint"]["seconds"]:
            self._save(keep)
        if stopping:
            assert self.stop is not None
            assert self.stop.number is not None
            raise Interrupted(self.stop.number)

    def trained(self, done: int) -> None:
        """Saves the end, so that a longer run goes on from it."""
        if self._saved_at != done:
            self._save(keep=False)

    @contextlib.contextmanager
    def bar(self, progress: bool) -> Iterator[None]:
        """Draws a progress bar if asked for and standard error is a terminal."""
        if not (progress and sys.stderr.isatty()):
            yield
            return
        with tqdm(total=self.config["steps"], initial=self.done, unit="step", dynamic_ncols=True) as self._bar:
            yield

    def _log_line(self, loss: float) -> None:
        now = time.monotonic()
        if now - self._logged < LOG_SECONDS:
            return
        self._logged = now
        rate = (self.done - self._start) / (now - self._started)
        left = (self.config["steps"] - self.done) / rate
        log.info(
            "%s: step %d of %d, loss %.4g, %.1f steps/s, %.0f s left",
            *(self.folder.path.name, self.done, self.config["steps"], loss, rate, left),
        )

    def _save(self, keep: bool) -> None:
        self.folder.save_checkpoint(
            {
                "step": self.done,
                "network": self.training.network.state_dict(),
                "optimiser": self.training.optimiser.state_dict(),
                "generators": generator_states(self.device),
                "log_bytes": self.records.sync(),
                "conditions": dict(self.conditions),
            },
            keep=keep,
        )
        self._saved, self._saved_at = time.monotonic(), self.done
        line = f'{{"step": {self.done}, "seconds": {self._saved - self._started:.3f}, "from_step": {self._start}}}\n'
        with open(self.folder.path / "times.jsonl", "a", encoding="utf-8") as times:
            times.write(line)


@dataclass
class StopRequest:
    """The signal that asked the run to stop, if any."""

    number: int | None = None


@contextlib.contextmanager
def _stop_signals() -> Iterator[StopRequest]:
    """Within it, SIGINT and SIGTERM ask the run to stop after the current step; a second SIGINT stops at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: types.FrameType | None) -> None:
        if request.number is not None:
            raise KeyboardInterrupt
        request.number = number

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Within it, what the suite logs also goes to the run's log.txt."""
    handler = logging.FileHandler(path / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
        log.setLevel(level)


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
        kept = sorted(int(f.stem.removeprefix("step-")) for f in (folder / "kept").glob("step-*.pt"))
        raise WrongInput(f"{folder}: no checkpoint of step {step}; kept steps: {kept or 'none'}")
    config = store.read_json(folder / "config.json")["config"]
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    network = build_model(config["model"], config["norm"], data.spec, config["seed"])
    network.load_state_dict(store.load_checkpoint(file)["network"])
    return network
