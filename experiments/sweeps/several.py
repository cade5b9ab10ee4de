"""Several experiments as one sweep, with how long what is left will take: what `make demo` and `make atlas` run.

    python -m experiments.sweeps.several santurkar2018/vgg santurkar2018/linear runs_dir=runs/demo

Words with a `=` are overrides of every experiment; of the main command's flags it takes `--config-dir`, a user's own
folder, and `--multirun` (`-m`). The jobs are those of the commands `python -m experiments experiment=...`, in their
order, a run that two of them share once: what is finished is left alone, a run that fails stops no other, and Ctrl-C
stops here and goes on with the same command. Exit code as of that command.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.composition import REFUSALS, check_typed, config_directory, explain, flag, flags_and_words
from experiments.configuration import plain_config
from experiments.errors import WrongInput
from experiments.schema import register_schema
from experiments.sweeps import command, plugin
from experiments.sweeps.job import Job, seconds_left, try_out
from experiments.sweeps.launchers import build_launcher
from experiments.sweeps.sweep import spell
from experiments.sweeps.waves import Configs, waves


@dataclass
class Part:
    """One of the experiments.

    Attributes:
        runs, left: how many runs it has that none before it has, and how many of them have not ended.
        seconds: that those will take, as far as steps that were timed tell; 0 for what waits for another run's file.
    """

    name: str
    runs: int = 0
    left: int = 0
    seconds: float = 0.0


def main() -> int:
    """Runs what the command line names; see above."""
    arguments = sys.argv[1:]
    return command.told(lambda: _asked(arguments), [word for word in arguments if "=" in word])


def _asked(arguments: Sequence[str]) -> None:
    flags, names, overrides = _typed(arguments)
    config_dir, swept = flag(flags, *_CONFIG_DIR), ["hydra.mode=MULTIRUN"] * any(f in _MULTIRUN for f in flags)
    print(f"reading {len(names)} experiment{'s' if len(names) > 1 else ''}, and trying a few steps of each", flush=True)
    configs: list[tuple[str, dict[str, Any]]] = []
    of: dict[int, str] = {}
    for name in names:
        own = jobs_of([f"experiment={name}", *overrides, *swept], config_dir)
        of |= {id(config): name for _, config in own}
        configs += own
    left = Left(configs, of)
    print(left.told(), flush=True)
    if configs[0][1]["dry"]:
        for part in left.parts.values():
            print(f"{part.left:>5} of {part.runs:>4} runs, {spell(part.seconds):>7}  {part.name}")
        return
    command.carry_out(lambda: configs, time_left=left)


@dataclass
class Left:
    """How long the runs of several experiments still take: by runs like them that have ended, else by a few steps.

    Args:
        configs: the jobs, as a sweep takes them.
        of: `id` of a job's configuration -> its experiment.

    Raises:
        WrongInput, RunFailure: as the sweep itself would.
    """

    configs: Configs
    of: dict[int, str]
    parts: dict[str, Part] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = {name: Part(name) for name in self.of.values()}
        first = next(iter(waves(self.configs, say=lambda told: None)))  # the sweep itself says it
        jobs = [*first.jobs, *first.further]
        standings = [job.standing() for job in jobs]
        rates = seconds_left(jobs, standings)
        a_step: dict[str, float] = {}
        launcher = build_launcher(jobs[0].config["launcher"], jobs[0].config["runs_dir"])
        at_a_time = max(1, launcher.concurrent([j for j, s in zip(jobs, standings, strict=True) if not s.ended]))
        self._seconds: dict[int, float] = {}
        for job, standing, seconds in zip(jobs, standings, rates, strict=True):
            part = self.parts[self.of[id(job.config)]]
            part.runs += 1
            if standing.ended:
                continue
            if seconds is None:
                if part.name not in a_step:
                    a_step[part.name] = try_out(job.config)[0]
                seconds = a_step[part.name] * max(1, job.config["steps"])
            self._seconds[id(job.config)] = seconds / at_a_time
            part.left += 1
            part.seconds += seconds / at_a_time
        for _, config in first.missing:
            self.parts[self.of[id(config)]].runs += 1
            self.parts[self.of[id(config)]].left += 1
        self._begun = self._said = monotonic()
        self._expected = sum(self._seconds.values())

    def told(self) -> str:
        """`24 experiments, 310 of 1200 runs left: about 41 min`."""
        parts = self.parts.values()
        left, runs = sum(part.left for part in parts), sum(part.runs for part in parts)
        many = f"{len(parts)} experiment{'s' if len(parts) > 1 else ''}"
        if not left:
            return f"{many}, all of {runs} runs done already"
        return f"{many}, {left} of {runs} runs left: about {spell(self._expected)}"

    def __call__(self, jobs: Sequence[Job]) -> str:
        """How long these take, once a minute: half of it by how much longer those before them took than expected."""
        now = monotonic()
        if not jobs or now - self._said < SAID_EVERY:
            return ""
        self._said = now
        left = sum(self._seconds.get(id(job.config), self._usual(job)) for job in jobs)
        return f"{len(jobs)} runs left: about {spell(left * longer(self._expected - left, now - self._begun))}"

    def _usual(self, job: Job) -> float:
        """Of a run that nobody could know of before pilots had ended: as long as the others of its experiment."""
        part = self.parts[self.of[id(job.config)]]
        return part.seconds / max(1, part.left)


SAID_EVERY = 60.0
"""Seconds between two lines that say how long what is left takes."""


def longer(expected: float, took: float) -> float:
    """By how much what is left will take longer than expected; half of what it was before, since kinds differ."""
    return 1.0 if expected < 1 else (1 + min(max(took / expected, 0.25), 4.0)) / 2


_CONFIG_DIR, _MULTIRUN = ("--config-dir", "-cd"), ("--multirun", "-m")


def _typed(arguments: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The flags of every command, the experiments' names, and the overrides.

    Raises:
        WrongInput: no experiment, another flag, or what the main command would not take.
    """
    flags, words = flags_and_words(arguments)
    overrides = [word for word in words if "=" in word]
    spelled = [f.partition("=")[0] for f in flags if f.startswith("-")]
    if other := [name for name in spelled if name not in (*_CONFIG_DIR, *_MULTIRUN)]:
        raise WrongInput(
            f"{other[0]}: is no flag of several experiments; allowed: --config-dir FOLDER, --multirun (-m)"
        )
    folder = flag(flags, *_CONFIG_DIR)
    if any(name in _CONFIG_DIR for name in spelled) and not (folder and Path(folder).is_dir()):
        raise WrongInput(f"--config-dir {folder or ''}: no such folder")
    check_typed(flags, overrides)
    names = [word for word in words if "=" not in word]
    if not names:
        raise WrongInput("name at least one experiment, as santurkar2018/vgg")
    return flags, names, overrides


def jobs_of(overrides: Sequence[str], config_dir: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The jobs that a command would carry out: of each what sets it apart, and its configuration.

    Raises:
        WrongInput: as the command itself would say it.
    """
    register_schema()
    own = [f"hydra.searchpath=[file://{Path(config_dir).absolute()}]"] if config_dir else []
    found: list[tuple[str, DictConfig]] = []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"), _handed_over_to(found):
            hydra, given = GlobalHydra.instance().hydra, [*overrides, *own]
            assert hydra is not None
            swept = hydra.get_mode("config", given) is RunMode.MULTIRUN  # by which several values are refused or swept
            mode = RunMode.MULTIRUN if swept else RunMode.RUN
            config = hydra.compose_config("config", given, run_mode=mode, with_log_configuration=False)
            if not swept:
                with open_dict(config):
                    config.pop("hydra")
                found.append(("", config))
            else:
                options = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
                assert isinstance(options, dict)
                sweeper = plugin.SuiteSweeper(params=options.get("params"), arms=options.get("arms"))
                sweeper.loader, sweeper.config = hydra.config_loader, config
                task: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
                sweeper.sweep(list(task))
        return [(told, plain_config(config)) for told, config in found]
    except WrongInput:
        raise
    except REFUSALS as error:
        raise WrongInput(explain(error, overrides)) from error


@contextlib.contextmanager
def _handed_over_to(found: list[tuple[str, DictConfig]]) -> Iterator[None]:
    """Within it a sweep's jobs are listed in `found` in place of being carried out."""
    before = plugin.hand_over_to(found.extend)
    try:
        yield
    finally:
        plugin.hand_over_to(before)


if __name__ == "__main__":
    sys.exit(main())
