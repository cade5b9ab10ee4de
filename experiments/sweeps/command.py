"""What a command does around its jobs: how it ends, what it says of them, and with which exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.composition import REFUSALS, explain
from experiments.errors import Interrupted, RunFailure, WrongInput, one_line
from experiments.memory import keep_freed_memory
from experiments.schema import register_schema

if TYPE_CHECKING:
    from experiments.sweeps.job import Result
    from experiments.sweeps.waves import Configs

results: list[tuple[str, Result]] = []
"""Of each job of this process the run's name and what came of it."""
_swept: list[Path] = []
"""The runs_dir of the sweep, if one was asked for and could begin."""


def told(asked: Callable[[], object], overrides: Sequence[str]) -> int:
    """Does what was asked, says what became of its jobs and in one line what went wrong, and gives the exit code.

    Args:
        asked: by way of :func:`carry_out` or not.
        overrides: as they were typed, for messages.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr, force=True)
    logging.captureWarnings(True)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its errors through, and we say them in one line
    register_schema()
    results.clear()
    _swept.clear()
    # A process started in the background of a shell ignores Ctrl-C from its birth; a sweep must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_freed_memory()
    try:
        asked()
    except (WrongInput, RunFailure) as error:
        if results:  # between two waves
            _summarise()
        return complain(one_line(error), 2 if isinstance(error, WrongInput) else 1)
    except REFUSALS as error:
        return complain(explain(error, overrides), 2)
    except KeyboardInterrupt as interruption:
        _summarise()
        return complain("stopped; the same command goes on from here", 128 + getattr(interruption, "signal_number", 2))
    except BrokenPipeError:  # the reader of what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return complain("nobody reads what is printed any more; the same command goes on from here", 1)
    except OSError as error:
        return complain(f"runs_dir: cannot write {error.filename or 'there'}: {error.strerror or error}", 2)
    _summarise()
    codes = {result.code for _, result in results}
    return 1 if 1 in codes else max(codes, default=0)


def carry_out(jobs: Callable[[], Configs], **options: Any) -> None:
    """The jobs of a sweep, by its launcher; `options` as of `run_sweep`."""
    from experiments.sweeps.sweep import run_sweep

    def stop(number: int, frame: object) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        configs = jobs()
        _swept[:] = [Path(config["runs_dir"]) for _, config in configs[:1] if not config["dry"]]
        run_sweep(configs, results, **options)
    finally:
        signal.signal(signal.SIGTERM, before)


def _summarise() -> None:
    """What became of the jobs: the folder of a single one, a table of several."""
    if len(results) == 1 and not results[0][1].code and not _swept:
        print(results[0][1].text)
    elif _swept or len(results) > 1:
        from experiments.sweeps.sweep import summarise

        if not (results and all(result.state == "listed" for _, result in results)):
            summarise(results, [folder.expanduser().absolute() for folder in _swept])


def complain(line: str, code: int) -> int:
    """Says what went wrong; the exit code."""
    print(f"error: {line}", file=sys.stderr)
    return code
