"""The sweep behind Hydra's ``--multirun``: Hydra reads what was typed, the suite's launchers carry it out.

Hydra's own sweeper composes every job anew (some 50 ms), starts from nothing after an interruption, and stops its
bookkeeping at the first job that raises. This one composes once for every combination of groups.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

_MODULE = "hydra_plugins.batchnorm_suite"
"""Hydra instantiates sweepers of this namespace only; a package of that name at the top level is not needed for it."""

_carry_out: list[Callable[[list[tuple[str, DictConfig]]], None]] = []


class SuiteSweeper(Sweeper):
    """Composes the jobs of a sweep and hands them over, all at once.

    Args:
        max_batch_size: as Hydra's own sweeper has it; not needed here, since a failure stops nothing.
        params: what is swept besides the command line (``hydra.sweeper.params``).
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, str] | None = None) -> None:
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader = hydra_context.config_loader
        self.config: DictConfig = config

    def sweep(self, arguments: list[str]) -> Any:
        params = [f"{key}={value}" for key, value in self.params.items()]
        parser = OverridesParser.create(config_loader=self.loader)
        batches = BasicSweeper.split_arguments(parser.parse_overrides([*params, *arguments]), None)
        jobs = [job for batch in batches for job in batch]
        swept = {key for job in jobs for key in set(job) - set(jobs[0])} | {
            key for key in (jobs[0] if jobs else ()) if any(key not in job for job in jobs)
        }
        composed = self._compose(jobs, parser)
        _carry_out[-1](
            [(" ".join(o for o in job if o in swept), config) for job, config in zip(jobs, composed, strict=True)]
        )

    def _compose(self, jobs: Sequence[Sequence[str]], parser: OverridesParser) -> Iterator[DictConfig]:
        """The configuration of each job.

        Values are put into a composed configuration after Hydra has chosen and merged the groups, so jobs that choose
        the same groups share that work.
        """
        bases: dict[tuple[str, ...], DictConfig] = {}
        kinds: dict[str, Override | None] = {}
        is_group = functools.cache(lambda key: bool(self.loader.get_group_options(key)))
        for job in jobs:
            for text in job:
                if text not in kinds:
                    parsed = parser.parse_override(text)
                    plain = parsed.type is OverrideType.CHANGE and not is_group(parsed.key_or_group)
                    kinds[text] = parsed if plain else None
            groups = tuple(text for text in job if kinds[text] is None)
            values = [kinds[text] for text in job if kinds[text] is not None]
            if groups not in bases:
                composed = self.loader.load_sweep_config(
                    self.config, list(job)
                )  # Hydra checks the values' keys and types
                with open_dict(composed):
                    composed.pop("hydra", None)
                bases[groups] = composed
            config = copy.deepcopy(bases[groups])
            for value in values:
                assert value is not None
                OmegaConf.update(config, value.key_or_group, value.value(), merge=True)
            yield config


def register(carry_out: Callable[[list[tuple[str, DictConfig]]], None]) -> None:
    """Makes the sweeper known to Hydra as ``hydra/sweeper=suite``.

    Args:
        carry_out: called with the jobs of a sweep: what sets each apart on the command line, and its configuration.
    """
    _carry_out[:] = [carry_out]
    SuiteSweeper.__module__ = _MODULE
    namespace, _, name = _MODULE.partition(".")
    if namespace not in sys.modules and importlib.util.find_spec(namespace) is None:  # no other plugin is installed
        sys.modules[namespace] = types.ModuleType(namespace)
        sys.modules[namespace].__path__ = []
    module = sys.modules.setdefault(_MODULE, types.ModuleType(_MODULE))
    module.SuiteSweeper = SuiteSweeper  # type: ignore[attr-defined]
    setattr(importlib.import_module(namespace), name, module)
    Plugins.instance().register(SuiteSweeper)
