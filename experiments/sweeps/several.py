"""Several experiments, one after another, with how long what is left will take: what `make demo` and `make atlas` run.

    python -m experiments.sweeps.several santurkar2018/vgg santurkar2018/linear runs_dir=runs/demo

Words with a `=` are overrides of every experiment; of the main command's flags it takes `--config-dir`, a user's own
folder, and `--multirun` (`-m`). Each experiment is a command of its own, `python -m experiments experiment=...`: what
is finished is left alone, one that fails stops no other, and Ctrl-C stops here and goes on with the same command. Exit
code: 0, else that of the last that did not end well.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.composition import REFUSALS, check_typed, config_directory, explain, flag, flags_and_words
from experiments.configuration import plain_config
from experiments.errors import RunFailure, WrongInput, one_line
from experiments.schema import register_schema
from experiments.sweeps import plugin
from experiments.sweeps.job import list_jobs, seconds_left, try_out
from experiments.sweeps.launchers import build_launcher
from experiments.sweeps.sweep import spell

STOPPED = (130, 143)
"""Exit codes of a command that a signal from outside has stopped, and all after it; a crash stops no other."""


@dataclass
class Part:
    """One of the experiments.

    Attributes:
        runs, left: how many runs it has, and how many of them have not ended.
        seconds: that those will take, as far as steps that were timed tell.
    """

    name: str
    runs: int
    left: int
    seconds: float


def main() -> int:
    """Runs what the command line names; see above."""
    try:
        flags, names, overrides = _typed(sys.argv[1:])
        config_dir, swept = flag(flags, *_CONFIG_DIR), ["hydra.mode=MULTIRUN"] * any(f in _MULTIRUN for f in flags)
        parts = [estimate(name, [*overrides, *swept], config_dir) for name in names]
    except (WrongInput, RunFailure) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, WrongInput) else 1
    print(told(parts), flush=True)
    if "dry=true" in overrides:
        for part in parts:
            print(f"{part.left:>5} of {part.runs:>4} runs, {spell(part.seconds):>7}  {part.name}")
        return 0
    code = 0
    for number, part in enumerate(parts, 1):
        print(f"experiment {number} of {len(parts)}: {part.name}", flush=True)
        begun, expected = monotonic(), part.seconds
        ended = _carry_out([*flags, f"experiment={part.name}", *overrides])
        if ended in STOPPED:
            return ended
        code = ended or code
        correct(parts[number:], expected, monotonic() - begun)
        if number < len(parts):
            print(told(parts[number:]), flush=True)
    return code


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


def told(parts: Sequence[Part]) -> str:
    """`24 experiments, 310 of 1200 runs left: about 41 min`."""
    left, runs = sum(part.left for part in parts), sum(part.runs for part in parts)
    many = f"{len(parts)} experiment{'s' if len(parts) > 1 else ''}"
    if not left:
        return f"{many}, all of {runs} runs done already"
    return f"{many}, {left} of {runs} runs left: about {spell(sum(part.seconds for part in parts))}"


def correct(parts: Sequence[Part], expected: float, took: float) -> None:
    """What is left takes longer, or less long, by as much as what was just done did; half of it, since kinds differ."""
    if expected < 1:
        return
    for part in parts:
        part.seconds *= (1 + min(max(took / expected, 0.25), 4.0)) / 2


def estimate(name: str, overrides: Sequence[str], config_dir: str | None = None) -> Part:
    """How much of an experiment is left, and how long it will take: by runs like it that have ended, else by a few
    steps of its first run that has not.

    Raises:
        WrongInput, RunFailure.
    """
    jobs = list_jobs(jobs_of([f"experiment={name}", *overrides], config_dir))
    standings = [job.standing() for job in jobs]
    left = [place for place, standing in enumerate(standings) if not standing.ended]
    if not left:
        return Part(name, len(jobs), 0, 0.0)
    seconds = seconds_left(jobs, standings)
    untimed = [place for place in left if seconds[place] is None]
    if untimed:
        a_step, _ = try_out(jobs[untimed[0]].config)
        for place in untimed:
            seconds[place] = a_step * max(1, jobs[place].config["steps"])
    launcher = build_launcher(jobs[0].config["launcher"], jobs[0].config["runs_dir"])
    at_a_time = max(1, launcher.concurrent([jobs[place] for place in left]))
    return Part(name, len(jobs), len(left), sum(seconds[place] or 0.0 for place in left) / at_a_time)


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
                sweeper.sweep(list(config.hydra.overrides.task))
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


def _carry_out(arguments: Sequence[str]) -> int:
    """One command, to its end; its exit code, 130 or 143 where a signal stopped it, which it is handed on to."""
    child = subprocess.Popen([sys.executable, "-m", "experiments", *arguments])

    def hand_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        while True:
            try:
                code = child.wait()
                return 128 - code if code < 0 else code
            except KeyboardInterrupt:  # the terminal tells the child too, which saves and ends
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
