"""Jobs of a sweep that wait for others of it: for a file that another run leaves, or for what pilot seeds choose."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from experiments.errors import RunFailure, WrongInput
from experiments.sweeps.job import Job, in_brackets, list_jobs

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


def waves(configs: Configs) -> Iterator[Wave]:
    """The jobs of a sweep, wave by wave; the next is asked for when the jobs of the last have ended.

    With ``pilots=optim.lr`` the two lowest seeds of an experiment have every learning rate, and the other seeds those
    at which a claim of the experiment reads a pilot's run: the rate that it chooses on the pilots, or one that it
    fixes; all, where it goes over all.

    Args:
        configs: of each job what sets it apart on the command line, and its configuration as plain dictionaries.

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
    pilots, others = _apart(jobs)
    last = [(told, config) for told, config, _ in missing]
    awaited = {job.config["label"] for job in pilots if job.config["pilots"] and not job.standing().ended}
    known = [job for job in others if job.config["label"] not in awaited]
    others = [job for job in others if job.config["label"] in awaited]
    yield Wave([*pilots, *_like(pilots, known)], _one_of_each(others), last)
    if others:
        yield Wave(_like(pilots, others))
    if missing:
        yield Wave(list_jobs(last))


def _apart(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Those that can be carried out first, and those that wait for them."""
    seeds: dict[str | None, set[int]] = {}
    for job in jobs:
        seeds.setdefault(job.config["label"], set()).add(job.config["seed"])
    lowest = {label: sorted(some)[:PILOTS] for label, some in seeds.items()}
    waiting = {job for job in jobs if job.config["pilots"] and job.config["seed"] not in lowest[job.config["label"]]}
    return [job for job in jobs if job not in waiting], [job for job in jobs if job in waiting]


def _one_of_each(waiting: Sequence[Job]) -> list[Job]:
    """Of the jobs that differ in the key of ``pilots`` alone the middle one."""
    alike: dict[str, list[Job]] = {}
    for job in waiting:
        alike.setdefault(_without(job.config, job.config["pilots"]), []).append(job)
    return [some[len(some) // 2] for some in alike.values()]


def _like(pilots: Sequence[Job], waiting: Sequence[Job]) -> list[Job]:
    """Those that wait for what claims choose on pilots, and differ from a chosen pilot in the seed alone."""
    labels = {job.config["label"] for job in waiting}
    chosen = _chosen([job for job in pilots if job.config["label"] in labels]) if waiting else []
    for label in sorted(labels - {job.config["label"] for job in chosen}):
        print(f"{label}: its claims choose nothing on the two lowest seeds, so that no other seed is run", flush=True)
    wanted = {_without(job.config, "seed") for job in chosen}
    return [job for job in waiting if _without(job.config, "seed") in wanted]


def _without(config: Mapping[str, Any], key: str) -> str:
    """A configuration without one key, as text. Raises WrongInput."""
    left = json.loads(json.dumps(config))
    node, *parts = left, *key.split(".")
    for part in parts[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or parts[-1] not in node:
        raise WrongInput(f"pilots={key}: must be a key of the configuration that the experiment sweeps, or null")
    del node[parts[-1]]
    return json.dumps(left, sort_keys=True)


def _chosen(pilots: Sequence[Job]) -> list[Job]:
    """The pilots' jobs at the values that claims choose, by the analysis, in a process of its own.

    Raises:
        WrongInput: no claim is made for one of the experiments.
        RunFailure: it failed.
    """
    asked = [job for job in pilots if job.config["pilots"]]
    labels = dict.fromkeys(str(job.config["label"]) for job in asked)
    folders = [str(job.path) for job in asked if job.path.is_dir()]
    if not folders:
        return []
    asks = [word for label in labels for word in ("--experiment", label)]
    command = [sys.executable, "-m", "analysis", "chosen", *asks, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise WrongInput(f"pilots: {done.stderr.strip().removeprefix('error: ')}; set pilots=null")
    if done.returncode and not done.stdout:
        raise RunFailure(f"what the pilots choose: {done.stderr.strip().removeprefix('error: ')}")
    names = set(done.stdout.split())
    return [job for job in asked if job.path.name in names]
