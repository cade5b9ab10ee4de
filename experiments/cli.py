"""The command line: Hydra's, with our exit codes around it. Imports torch only once something is to run."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

import hydra
import hydra.core.hydra_config
import hydra.types
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.composition import check_overrides, config_directory, explain
from experiments.errors import RunFailure, WrongInput
from experiments.schema import register_schema

_results: list[tuple[int, str, str]] = []
"""Of each job of this process: exit code, state, and the run folder or the error line."""


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
    _results.clear()
    # A process started in the background of a shell ignores Ctrl-C from its birth; a sweep must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_freed_memory()
    sys.argv[1:] = _flags_first(sys.argv[1:])
    entry = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")(_job)
    overrides = [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]
    try:
        check_overrides(overrides, sweep=bool({"-m", "--multirun"} & set(sys.argv)))
        entry()
    except WrongInput as error:
        return _complain(str(error), 2)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return _complain(explain(error, overrides), 2)
    except KeyboardInterrupt as interruption:
        _summarise()
        return _complain("stopped; the same command goes on from here", 128 + getattr(interruption, "signal_number", 2))
    except OSError as error:
        return _complain(f"runs_dir: cannot write {error.filename or 'there'}: {error.strerror or error}", 2)
    _summarise()
    return max((code for code, _, _ in _results), default=0)


def keep_freed_memory() -> None:
    """Lets the C library keep the memory that tensors give back, where it is glibc.

    It would return every large block to the system at once, and each page of the next one then costs a fault: on the
    CPU a tenth of a VGG's training step. Results do not depend on it; the process holds about a tenth more memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX of malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**28)


def _flags_first(arguments: list[str]) -> list[str]:
    """Flags, with their values, before overrides: argparse takes them in no other order, and people type any."""
    valued = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
    flags, overrides = [], []
    remaining = iter(arguments)
    for argument in remaining:
        if argument in valued:
            flags += [argument, *(value for value in [next(remaining, None)] if value is not None)]
        elif argument.startswith("-"):
            flags.append(argument)
        else:
            overrides.append(argument)
    return flags + overrides


def _job(config: DictConfig) -> None:
    """One job. It raises for nothing but an interruption: one job's failure is no other's."""
    single = hydra.core.hydra_config.HydraConfig.get().mode is not hydra.types.RunMode.MULTIRUN
    try:
        from experiments.runner import run

        outcome = run(config, progress=single)
        _results.append((0, outcome.state, str(outcome.path)))
    except WrongInput as error:
        _results.append((_complain(_one_line(error), 2), "wrong input", _one_line(error)))
    except OmegaConfBaseException as error:
        _results.append((_complain(explain(error), 2), "wrong input", explain(error)))
    except RunFailure as error:
        _results.append((_complain(_one_line(error), 1), "failed", _one_line(error)))
    except Exception as error:
        logging.getLogger("experiments").exception("unexpected error")
        _results.append((1, "failed", f"{type(error).__name__}: {_one_line(error)}"))


def _summarise() -> None:
    """What became of the jobs: the folder of a single one, a table of several."""
    if len(_results) == 1 and not _results[0][0]:
        print(_results[0][2])
    elif len(_results) > 1:
        counts = {state: sum(s == state for _, s, _ in _results) for _, state, _ in _results}
        print(f"{len(_results)} runs: " + ", ".join(f"{n} {state}" for state, n in counts.items()))
        for code, state, text in _results:
            if code or state == "diverged":
                print(f"  {state}: {text}")
        folders = {str(Path(text).parent) for code, _, text in _results if not code}
        print(*(f"  in {folder}" for folder in sorted(folders)), sep="\n")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _complain(line: str, code: int) -> int:
    print(f"error: {line}", file=sys.stderr)
    return code
