"""Jobs of a sweep that wait for others of it: for a file that another run leaves, or for what pilot seeds choose."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from experiments.errors import RunFailure, WrongInput
from experiments.sweeps.job import Job, in_brackets, list_jobs
from experiments.sweeps.plugin import CONFIRMATORY

PILOTS = 2
"""The lowest seeds of an experiment, on which the claims choose (the same number as in the analysis)."""

Configs: TypeAlias = Sequence[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Wave:
    """Jobs that can be carried out now.

    Attributes:
        jobs: may all have ended already.
        further: for each job that will come later one like it; which it will be is not known yet.
        missing: what will come last, since a job of this wave leaves the file that it needs.
    """

    jobs: list[Job]
    further: list[Job] = field(default_factory=list)
    missing: Configs = ()


def waves(configs: Configs, say: Callable[[str], None] = print) -> Iterator[Wave]:
    """The jobs of a sweep, wave by wave; the next is asked for when the jobs of the last have ended.

    With ``pilots=optim.lr`` the two lowest seeds of an experiment have every learning rate, and the other seeds those
    at which a claim of the experiment reads a pilot's run: the rate that it chooses on the pilots, or all, where it
    goes over all or nothing can be chosen.

    Args:
        configs: of each job what sets it apart on the command line, and its configuration as plain dictionaries.
        say: takes a line for people on what other seeds are not, or all, run.

    Raises:
        WrongInput: a job cannot be; no claim chooses among an experiment's runs.
        RunFailure: the analysis of the pilots failed.
    """
    missing: list[tuple[str, dict[str, Any], Any]] = []
    jobs = list_jobs(configs, missing)
    folders = {job.path for job in jobs}
    for told, _, error in missing:
        if error.path.parent not in folders:
            raise WrongInput(f"{error}{in_brackets(told)}")
    last = [(told, config) for told, config, _ in missing]
    first, others = _apart(jobs)
    if others:
        for job in others:
            _without(job.config, "seed", job.config["pilots"])
        _refuse_without_claims(frozenset(job.config["label"] for job in others))
    awaited = {job.config["label"] for job in first if job.config["pilots"] and not job.standing().ended}
    known = [job for job in others if job.config["label"] not in awaited]
    first = _once([*first, *_like(first, known, say)])
    others = [job for job in others if job.config["label"] in awaited]
    further = _once(_one_of_each(others), but=first)
    yield Wave(first, further, last)
    if others:
        yield Wave(_once(_like([job for job in jobs if job not in others], others, say), but=first), missing=last)
    if last:
        missing = []
        yield Wave(list_jobs(last, missing))
        for told, _, error in missing:
            raise WrongInput(f"{error}{in_brackets(told)}")


def _once(jobs: Sequence[Job], but: Sequence[Job] = ()) -> list[Job]:
    """Of jobs that are one run, of several experiments, the first; without those that others are one with."""
    known = {job.path for job in but}
    found: dict[Path, Job] = {}
    for job in jobs:
        if job.path not in known:
            found.setdefault(job.path, job)
    return list(found.values())


def _apart(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Those that can be carried out first, and those that wait for them."""
    seeds: dict[str | None, set[int]] = {}
    for job in jobs:
        seeds.setdefault(job.config["label"], set()).add(job.config["seed"])
    pilots = {
        label: some if some <= set(CONFIRMATORY) else set(sorted(some)[:PILOTS]) for label, some in seeds.items()
    }  # confirmatory seeds choose nothing: a verdict chooses on those of development
    waits = [bool(job.config["pilots"] and job.config["seed"] not in pilots[job.config["label"]]) for job in jobs]
    return [job for job, later in zip(jobs, waits, strict=True) if not later], list(itertools.compress(jobs, waits))


def _one_of_each(waiting: Sequence[Job]) -> list[Job]:
    """Of the jobs that differ in the key of ``pilots`` alone the middle one."""
    alike: dict[str, list[Job]] = {}
    for job in waiting:
        alike.setdefault(_without(job.config, job.config["pilots"]), []).append(job)
    return [some[len(some) // 2] for some in alike.values()]


def _like(pilots: Sequence[Job], waiting: Sequence[Job], say: Callable[[str], None]) -> list[Job]:
    """Those that wait for what claims choose on pilots, and differ from a chosen pilot in the seed alone.

    Where nothing can be chosen, as when a pilot diverged that its measure leaves out, all values are run. Jobs whose
    pilots have not ended are left for another time.
    """
    labels = {job.config["label"] for job in waiting}
    own = [job for job in pilots if job.config["pilots"] and job.config["label"] in labels]
    lacking = {job.config["label"]: job for job in own if not job.standing().ended}
    for label, job in lacking.items():
        told = f"pilots have not ended, {job.path.name} among them; when they have, the same command goes on"
        say(f"{label}: {told} with its other seeds (pilots=null does not wait for them)")
    ready = [job for job in waiting if job.config["label"] not in lacking]
    chosen = _chosen([job for job in own if job.config["label"] not in lacking]) if ready else []
    sets = {_without(job.config, "seed", job.config["pilots"]) for job in chosen}
    wanted = {_without(job.config, "seed") for job in chosen}
    unknown = [job for job in ready if _without(job.config, "seed", job.config["pilots"]) not in sets]
    for label in dict.fromkeys(job.config["label"] for job in unknown):
        number = sum(job.config["label"] == label for job in unknown)
        say(f"{label}: nothing can be chosen for {number} runs of other seeds, which are all carried out")
    return [job for job in ready if job in unknown or _without(job.config, "seed") in wanted]


def _without(config: Mapping[str, Any], *keys: str) -> str:
    """A configuration without some keys and where it is stored, as text. Raises WrongInput."""
    left = json.loads(json.dumps({**config, "run_name": None}))
    for key in keys:
        node, *parts = left, *key.split(".")
        for part in parts[:-1]:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or parts[-1] not in node:
            raise WrongInput(f"pilots={key}: must be a key of the configuration that the experiment sweeps, or null")
        del node[parts[-1]]
    return json.dumps(left, sort_keys=True)


def _chosen(pilots: Sequence[Job]) -> list[Job]:
    """The pilots' jobs at the values that claims choose. Raises WrongInput, RunFailure."""
    labels = frozenset(job.config["label"] for job in pilots)
    names = _ask(labels, tuple(str(job.path) for job in pilots))
    return [job for job in pilots if job.path.name in names]


def _refuse_without_claims(labels: frozenset[str | None]) -> None:
    """Says before any run that nothing will choose among those of an experiment. Raises WrongInput."""
    if None in labels:
        raise WrongInput("pilots: jobs without an experiment, for which no claim chooses; set pilots=null")
    try:
        _ask(labels, ())
    except WrongInput as error:
        raise WrongInput(f"pilots: {error}; set pilots=null") from error


@functools.lru_cache(maxsize=8)  # who tells how long a sweep takes asks before the sweep does
def _ask(labels: frozenset[str | None], folders: tuple[str, ...]) -> set[str]:
    """The names of those among the folders of some experiments that the analysis, in its own process, says are chosen.

    Raises:
        WrongInput: no claim of the suite's studies is made for one of the experiments.
        RunFailure: it failed.
    """
    asks = [f"--experiment={label}" for label in sorted(map(str, labels))]
    command = [sys.executable, "-m", "analysis", "chosen", *asks, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].removeprefix("error: ")
    if done.returncode == 2:
        raise WrongInput(last)
    if done.returncode and not done.stdout:
        raise RunFailure(f"what the pilots choose: {last}")
    if done.returncode:  # damaged folders, which it leaves out
        print(done.stderr.rstrip(), flush=True)
    return set(done.stdout.split())
