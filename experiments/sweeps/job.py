"""One job of a sweep: a run's configuration, where it stands, and what came of carrying it out."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.building import build_training, check_options
from experiments.data import load_data
from experiments.errors import MissingFile, RunFailure, WrongInput, one_line
from experiments.probing import plan_in_words
from experiments.runs import folder as run_folder
from experiments.runs.folder import RunFolder, read_status
from experiments.runs.identity import Identity, identity_of, run_name
from experiments.runs.lease import RunBusy, is_held
from experiments.runs.records import ProbeRecorder
from experiments.runs.run import already_done, run_plain
from experiments.runs.twins import place_of
from experiments.runtime import resolve_device, runtime
from experiments.schema import validate
from experiments.train import train_step

log = logging.getLogger("experiments")


@dataclass(frozen=True)
class Result:
    """What came of one job; plain values, so that it can travel between processes."""

    state: str
    """finished, diverged, wrong input, failed, interrupted, busy (another process has it), or, dry, the state found."""
    text: str
    """The run folder; for what did not end well, one line that says why."""

    @property
    def code(self) -> int:
        """Its share of the exit code: 1 not done, 2 wrong input, else 0."""
        return {"failed": 1, "busy": 1, "interrupted": 1, "wrong input": 2}.get(self.state, 0)


def carry_out(config: dict[str, Any], *, progress: bool = False) -> Result:
    """Does what is missing of one run; raises for nothing but an interruption: one job's failure is no other's.

    Args:
        config: as :func:`experiments.configuration.plain_config` returns it.
        progress: draw a progress bar where standard error is a terminal.
    """
    try:
        outcome = run_plain(config, progress=progress)
    except WrongInput as error:
        return Result("wrong input", one_line(error))
    except RunBusy as error:
        return Result("busy", one_line(error))
    except RunFailure as error:
        return Result("failed", one_line(error))
    except Exception as error:
        log.exception("unexpected error")
        return Result("failed", f"{type(error).__name__}: {one_line(error)}")
    return Result(outcome.state, str(outcome.path))


@dataclass(eq=False)
class Job:
    """One run of a sweep."""

    told: str
    """What sets it apart on the command line, for messages."""
    config: dict[str, Any]
    """As plain dictionaries."""
    path: Path
    """The run folder; it may not exist yet."""
    identity: Identity = field(repr=False)
    data_label: str
    """Of its data."""

    @property
    def title(self) -> str:
        """Its run's name, and its arm's where the sweep has arms; for people."""
        arm = self.config.get("arm")
        return self.path.name if arm is None else f"{self.path.name} (arm={arm})"

    def standing(self) -> Standing:
        """Where the run stands on the disk."""
        status: dict[str, Any] = {}
        try:
            status = read_status(self.path) or {}
            done = already_done(self.path, self.identity, self.config, status)
            if done:
                return Standing(done.state, status)
            holder = is_held(self.path, self.config["lease_seconds"]) if self.path.exists() else None
        except WrongInput as error:
            return Standing("wrong input", status, one_line(error))
        except RunFailure as error:
            return Standing("damaged", status, one_line(error).removeprefix(f"{self.path}: "))
        except FileNotFoundError:  # removed a moment ago
            return Standing("missing", {})
        except OSError as error:
            return Standing("failed", status, f"{error.filename or self.path}: {error.strerror or error}")
        if holder is not None:
            limit = f"it counts as dead after lease_seconds={self.config['lease_seconds']:g} of silence"
            heard = f"last heard of {holder.age:.0f} s ago; {limit}"
            return Standing("running", status, f"process {holder.pid} on {holder.host}, {heard}")
        if status.get("state") == "running":
            return Standing("interrupted", status, f"process {status['pid']} on {status['host']} is gone")
        if status.get("state") == "diverged":
            return Standing("interrupted", status, f"diverged at step {status['step']}; to be tried again")
        if status.get("state") == "finished":
            return Standing("interrupted", status, f"more steps: {status['step']} of {self.config['steps']}")
        return Standing(status.get("state", "missing"), status, status.get("message") or "")


@dataclass(frozen=True)
class Standing:
    """Where one run stands."""

    state: str
    """finished, diverged, running (somewhere), interrupted, failed, damaged, missing or wrong input."""
    status: dict[str, Any]
    """status.json; empty before the first start."""
    note: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "diverged")

    @property
    def rate(self) -> float | None:
        """Steps per second since its latest start; None where nothing was done yet."""
        if not self.status:
            return None
        done = self.status["step"] - self.status["from_step"]
        seconds = self.status["heartbeat"] - self.status["since"]
        return done / seconds if done > 0 and seconds > 0 else None


def list_jobs(
    configs: Iterable[tuple[str, dict[str, Any]]], later: list[tuple[str, dict[str, Any], MissingFile]] | None = None
) -> list[Job]:
    """The jobs of a sweep, each checked as far as it can be without building its network.

    Of a run that two experiments share each has a job.

    Args:
        configs: what sets each job apart on the command line, and its configuration as plain dictionaries.
        later: takes those that name a file that is not there, with the error; None: it is raised.

    Raises:
        WrongInput: a value that is not allowed, or two jobs that are one run; the line names the jobs.
        RunFailure: data could not be read.
    """
    jobs: list[Job] = []
    by_what: dict[tuple[Path, str, str], Job] = {}
    known: dict[str, tuple[str, str]] = {}
    for told, config in configs:
        try:
            validate(config)
            check_options(config)
            if config["probe_again"] is not None:
                raise WrongInput(
                    f"probe_again={config['probe_again']}: probes one run, in this process; leave --multirun (-m) out, "
                    "and launcher=local"
                )
            fingerprint, label = _data_of(config, known)
            identity = identity_of(config, fingerprint)
            own, runs_dir = run_name(config, identity, label), Path(config["runs_dir"]).expanduser().absolute()
            path = place_of(config, identity, label)
        except WrongInput as error:
            if later is not None and isinstance(error, MissingFile):
                later.append((told, config, error))
                continue
            raise WrongInput(f"{error}{in_brackets(told)}") from error
        job = Job(told, config, path, identity, label)
        what = identity.digests if config["run_name"] is None else (own, "")
        other = by_what.setdefault((runs_dir, *what), job)
        if other is not job:
            _refuse_one_run(other, job, own, (jobs.index(other), len(jobs)))
        jobs.append(job)
    if not jobs and not later:
        raise WrongInput("the sweep has no jobs: a list of values is empty; give each swept key at least one")
    return jobs


def _refuse_one_run(one: Job, other: Job, own: str, places: tuple[int, int]) -> None:
    """Raises WrongInput for two jobs that would be one run folder, unless two experiments share the run."""
    told = " and ".join(f"job {at}{in_brackets(job.told)}" for at, job in zip(places, (one, other), strict=True))
    if one.identity.digests != other.identity.digests:
        raise WrongInput(f"run_name={own}: {told} differ, and would be one run folder; give each a name of its own")
    lengths = [job.config["steps"] for job in (one, other)]
    if one.config["label"] == other.config["label"]:
        raise WrongInput(
            f"{told} are one run, {own}: leave one out, or let them differ in something that changes the numbers"
        )
    if lengths[0] != lengths[1]:
        of = " and of ".join(map(str, lengths))
        raise WrongInput(f"{told} are one run, {own}, of {of} steps: give each experiment a runs_dir of its own")


def in_brackets(told: str) -> str:
    """What sets a job apart, as a part of a message."""
    return f" ({told})" if told else ""


def _data_of(config: Mapping[str, Any], known: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """Fingerprint and label of a job's data; the suite's own data sets have one whatever the seed."""
    options = config["data"]
    key = json.dumps([options, None if options.get("file") is None else config["seed"]], sort_keys=True)
    if key not in known:
        data = load_data(options, config["seed"], None)
        known[key] = data.fingerprint, data.label
    return known[key]


def mark_dead(job: Job, pid: int, reason: str, last_words: str) -> None:
    """Writes into a job's folder that the process that had it died; ``last_words`` is what it printed last."""

    def describe(folder: RunFolder) -> None:
        folder.describe(job.identity, job.config, job.data_label, None)

    try:
        run_folder.mark_dead(job.path, pid, reason, last_words, job.config["lease_seconds"], describe)
    except (RunFailure, WrongInput, OSError) as error:  # another process has taken it up already; or the disk is full
        log.debug("%s: %s", job.path, error)


def seconds_left(jobs: Sequence[Job], standings: Sequence[Standing]) -> list[float | None]:
    """Of each job the time it still takes on one worker, in seconds: from its own rate, else from those like it.

    Jobs are alike that train the same network on the same data with the same normalisation, batch size and probes.
    None where no job like it has been timed.
    """
    rates: dict[str, list[float]] = {}
    for job, standing in zip(jobs, standings, strict=True):
        if standing.rate is not None:
            rates.setdefault(kind_of(job.config), []).append(standing.rate)
    left: list[float | None] = []
    for job, standing in zip(jobs, standings, strict=True):
        alike = sorted(rates.get(kind_of(job.config), []))
        rate = (standing.state == "running" and standing.rate) or (alike[len(alike) // 2] if alike else None)
        steps = max(0, job.config["steps"] - _reached(standing))
        left.append(0.0 if standing.ended else None if rate is None else steps / rate)
    return left


def _reached(standing: Standing) -> int:
    """The step from which the run would go on."""
    if standing.state == "running":
        return int(standing.status["step"])
    return int(standing.status.get("checkpoint") or 0)


def kind_of(config: Mapping[str, Any]) -> str:
    """Jobs of one kind take about the same time per step."""
    optim = config["optim"]
    cost = [config["data"]["name"], config["model"], config["norm"], config["probes"], config["threads"]]
    return json.dumps([*cost, optim["name"], optim["batch_size"], config["numerics"]], sort_keys=True)


def try_out(config: Mapping[str, Any]) -> tuple[float, str]:
    """Seconds that one step of a run takes here, its probes included, from a few steps tried; and its probes' plan.

    Nothing is stored.
    """
    device = resolve_device(config["device"])
    with runtime(device, config["threads"], config["numerics"], config["seed"]):
        data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], device)
        training = build_training(config, data, device, ProbeRecorder())
        seconds = []
        for step in range(3):
            batch = data.batch(step)
            begun = time.perf_counter()
            train_step(training, training.network, batch)
            seconds.append(time.perf_counter() - begun)
        share = sum(training.probes.share_of_training()) / 2  # the middle of what it may come to
        return min(seconds[1:]) * (1 + share), plan_in_words(training.probes, config["steps"])
