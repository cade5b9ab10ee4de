"""The command line: Hydra's, with our exit codes around it. Imports torch only once something is to run."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import hydra.core.hydra_config
import hydra.types
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from experiments.choices import Choices
from experiments.composition import REFUSALS, check_typed, config_directory, explain, flags_and_words
from experiments.errors import Interrupted, RunFailure, WrongInput, one_line
from experiments.keys import refuse_unused
from experiments.memory import keep_freed_memory
from experiments.schema import register_schema
from experiments.sweeps import plugin

if TYPE_CHECKING:
    from experiments.sweeps.job import Result

_results: list[tuple[str, Result]] = []
"""Of each job of this process the run's name and what came of it."""
_swept: list[Path] = []
"""The runs_dir of the sweep, if one was asked for and could begin."""


def main() -> int:
    """Runs what the command line asks for.

    Returns:
        0 when every job finished or diverged (a result too), 2 for wrong input, 1 for a failure, 128 + the signal's
        number when stopped by one.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr, force=True)
    logging.captureWarnings(True)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its errors through, and we say them in one line
    register_schema()
    plugin.hand_over_to(_sweep)
    _results.clear()
    _swept.clear()
    # A process started in the background of a shell ignores Ctrl-C from its birth; a sweep must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_freed_memory()
    flags, words = flags_and_words(sys.argv[1:])
    sys.argv[1:] = flags + words  # argparse takes them in no other order, and people type any
    entry = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")(_job)
    overrides = [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]
    try:
        check_typed(sys.argv[1:], overrides)
        entry()
    except WrongInput as error:
        return _complain(one_line(error), 2)
    except RunFailure as error:
        return _complain(one_line(error), 1)
    except REFUSALS as error:
        return _complain(explain(error, overrides), 2)
    except KeyboardInterrupt as interruption:
        _summarise()
        return _complain("stopped; the same command goes on from here", 128 + getattr(interruption, "signal_number", 2))
    except BrokenPipeError:  # the reader of what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain("nobody reads what is printed any more; the same command goes on from here", 1)
    except OSError as error:
        return _complain(f"runs_dir: cannot write {error.filename or 'there'}: {error.strerror or error}", 2)
    _summarise()
    codes = {result.code for _, result in _results}
    return 1 if 1 in codes else max(codes, default=0)


def _job(config: DictConfig) -> None:
    """A single run, in this process; by a launcher other than the local one, a sweep of one."""
    from experiments.configuration import plain_config
    from experiments.sweeps.job import Result, carry_out
    from experiments.sweeps.launchers import check_launcher

    composed = hydra.core.hydra_config.HydraConfig.get()
    multirun = composed.mode is hydra.types.RunMode.MULTIRUN
    here = multirun or config.launcher.get("name") == "local"
    try:
        if config.arm is not None:  # jobs of the suite's own sweeps do not come by here
            raise WrongInput(f"arm={config.arm}: only a sweep has arms; add --multirun (-m)")
        Choices(composed, GlobalHydra.instance().config_loader()).note(config, composed.overrides.task)
        if not multirun:
            refuse_unused(config, composed.overrides.task)
        plain = plain_config(config)
        if here:
            check_launcher(plain["launcher"])
        result = carry_out(plain, progress=not multirun) if here else None
    except WrongInput as error:
        result = Result("wrong input", one_line(error))
    if result is None:
        _sweep([("", config)])
        return
    if result.code:
        _complain(result.text, result.code)
    _results.append((Path(result.text).name, result))


def _sweep(jobs: list[tuple[str, DictConfig]]) -> None:
    """The jobs of a sweep, by its launcher."""
    from experiments.configuration import plain_config
    from experiments.sweeps.sweep import run_sweep

    def stop(number: int, frame: object) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        configs = [(told, plain_config(config)) for told, config in jobs]
        _swept[:] = [Path(config["runs_dir"]) for _, config in configs[:1] if not config["dry"]]
        run_sweep(configs, _results)
    finally:
        signal.signal(signal.SIGTERM, before)


def _summarise() -> None:
    """What became of the jobs: the folder of a single one, a table of several."""
    if len(_results) == 1 and not _results[0][1].code and not _swept:
        print(_results[0][1].text)
    elif _swept or len(_results) > 1:
        from experiments.sweeps.sweep import summarise

        if not (_results and all(result.state == "listed" for _, result in _results)):
            summarise(_results, [folder.expanduser().absolute() for folder in _swept])


def _complain(line: str, code: int) -> int:
    print(f"error: {line}", file=sys.stderr)
    return code
