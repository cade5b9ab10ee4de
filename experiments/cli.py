"""The command line: Hydra's, with our exit codes around it. Imports torch only once something is to run."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
import hydra.core.hydra_config
import hydra.types
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from experiments.choices import Choices
from experiments.composition import check_typed, config_directory, flags_and_words
from experiments.errors import WrongInput, one_line
from experiments.keys import refuse_unused
from experiments.sweeps import command, plugin


def main() -> int:
    """Runs what the command line asks for.

    Returns:
        0 when every job finished or diverged (a result too), 2 for wrong input, 1 for a failure, 128 + the signal's
        number when stopped by one.
    """
    plugin.hand_over_to(sweep)
    flags, words = flags_and_words(sys.argv[1:])
    sys.argv[1:] = flags + words  # argparse takes them in no other order, and people type any
    entry = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")(_job)
    overrides = [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]

    def asked() -> None:
        check_typed(sys.argv[1:], overrides)
        entry()

    return command.told(asked, overrides)


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
        sweep([("", config)])
        return
    if result.code:
        command.complain(result.text, result.code)
    command.results.append((Path(result.text).name, result))


def sweep(jobs: list[tuple[str, DictConfig]]) -> None:
    """The jobs that Hydra composed, by their launcher."""
    from experiments.configuration import plain_config

    command.carry_out(lambda: [(told, plain_config(config)) for told, config in jobs])
