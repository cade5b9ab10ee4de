"""The command line: Hydra's, with our exit codes around it. Imports torch only once something is to run."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import hydra
import hydra.core.hydra_config
import hydra.types
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.composition import config_directory, explain
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
    # argparse takes no overrides after a flag that follows other overrides; people type them in any order.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: argument not in ("-m", "--multirun", "-r", "--run"))
    entry = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")(_job)
    try:
        entry()
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(explain(error, [a for a in sys.argv[1:] if "=" in a]), 2)
    except WrongInput as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt as interruption:
        _summarise()
        return _complain("stopped; the same command goes on from here", 128 + getattr(interruption, "signal_number", 2))
    except OSError as error:
        return _complain(f"{error.filename or 'runs_dir'}: {error.strerror or error}", 2)
    _summarise()
    return max((code for code, _, _ in _results), default=0)


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
