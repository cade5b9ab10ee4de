"""The sweep behind Hydra's ``--multirun``: Hydra reads what was typed, the suite's launchers carry it out.

Hydra's own sweeper composes every job anew (some 50 ms), starts from nothing after an interruption, and stops its
bookkeeping at the first job that raises. This one composes once for every combination of groups.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from experiments.arms import choose_arms, read_arms, refuse_keys_of_arms
from experiments.choices import Choices
from experiments.composition import REFUSALS, explain
from experiments.errors import WrongInput

CONFIRMATORY = range(10, 16)
"""The seeds of ``confirm=true``, which nobody looked at while rules were made; all others are for development."""

CarryOut: TypeAlias = Callable[[list[tuple[str, DictConfig]]], None]
_carry_out: list[CarryOut] = []


def hand_over_to(carry_out: CarryOut | None) -> CarryOut | None:
    """Says who carries out the jobs of this process's sweeps.

    Args:
        carry_out: called with the jobs of a sweep: what sets each apart on the command line, and its configuration.
            None: nobody.

    Returns:
        Who did until now.
    """
    before = _carry_out[-1] if _carry_out else None
    _carry_out[:] = [] if carry_out is None else [carry_out]
    return before


class SuiteSweeper(Sweeper):
    """Composes the jobs of a sweep and hands them over, all at once.

    Args:
        max_batch_size: as Hydra's own sweeper has it; not needed here, since a failure stops nothing.
        params: what is swept besides the command line (``hydra.sweeper.params``).
        arms: named lists of overrides (``hydra.sweeper.arms``): jobs are arms x values. ``arm=`` chooses among them.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: Mapping[str, str] | None = None,
        arms: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if not isinstance(params, Mapping | None):
            raise WrongInput(f"hydra.sweeper.params={params}: must be values by key, for example {{seed: '0,1,2'}}")
        self.params = dict(params or {})
        self.arms = arms

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader = hydra_context.config_loader
        self.config: DictConfig = config

    def sweep(self, arguments: list[str]) -> Any:
        params = [f"{key}={value}" for key, value in self.params.items()]
        parser = OverridesParser.create(config_loader=self.loader)
        given = {override.get_key_element(): override for override in parser.parse_overrides([*params, *arguments])}
        arms = read_arms(self.arms, parser)
        if "confirm" in given and _is_on(given.pop("confirm")):
            typed = [text for text in arguments if text.partition("=")[0] == "seed"]
            if typed:
                raise WrongInput(
                    f"{typed[-1]}: confirm=true has seeds of its own, {_CONFIRM}; leave one of the two out"
                )
            (given["seed"],) = parser.parse_overrides([f"seed={','.join(map(str, CONFIRMATORY))}"])
        if "arm" in given:
            asked = given.pop("arm")
            arms = choose_arms(arms, _names(asked)) if arms or asked.value() is not None else arms
        refuse_keys_of_arms(arms, given.values())
        values = [_values(override) for override in given.values()]  # of a key given twice the last
        swept = {text for texts in values if len(set(texts)) > 1 for text in texts}
        chosen: list[tuple[str | None, list[Override]]] = [*arms.items()] or [(None, [])]
        jobs = [
            (arm, [*(_text(override) for override in overrides), *combination])
            for arm, overrides in chosen
            for combination in itertools.product(*values)
        ]
        told = [" ".join([f"arm={arm}"] * (arm is not None) + [o for o in job if o in swept]) for arm, job in jobs]
        _carry_out[-1](list(zip(told, self._compose(jobs, parser), strict=True)))

    def _compose(
        self, jobs: Iterable[tuple[str | None, Sequence[str]]], parser: OverridesParser
    ) -> Iterator[DictConfig]:
        """The configuration of each job, which is an arm, if there are any, and overrides.

        Values are put into a configuration that Hydra has composed of a job's groups alone, so jobs that choose the
        same groups share that work and nothing else. A value that does not fit is for Hydra to refuse.
        """
        bases: dict[tuple[str, ...], tuple[DictConfig, Choices]] = {}
        kinds: dict[str, Override | None] = {}
        is_group = functools.cache(lambda key: bool(self.loader.get_group_options(key)))
        for arm, job in jobs:
            for text in job:
                if text not in kinds:
                    parsed = parser.parse_override(text)
                    plain = parsed.type is OverrideType.CHANGE and not is_group(parsed.key_or_group)
                    kinds[text] = parsed if plain else None
            groups = tuple(text for text in job if kinds[text] is None)
            values = [kind for text in job if (kind := kinds[text]) is not None]
            try:
                if groups not in bases:
                    composed = self.loader.load_sweep_config(self.config, list(groups))
                    with open_dict(composed):
                        chosen = Choices(composed.pop("hydra"), self.loader)
                    _settle_sizes(composed)
                    bases[groups] = composed, chosen
                composed, chosen = bases[groups]
                config = copy.deepcopy(composed)
                try:
                    for value in values:
                        OmegaConf.update(config, value.key_or_group, value.value(), merge=True)
                except OmegaConfBaseException:
                    self.loader.load_sweep_config(self.config, list(job))  # raises it in Hydra's words
                    raise
                chosen.note(config, job)
            except REFUSALS as error:
                if arm is None:
                    raise
                raise WrongInput(f"arm {arm!r}: {explain(error, job)}") from error
            config.arm = arm
            yield config


def _settle_sizes(config: DictConfig) -> None:
    """Puts in place what ``${by_scale:...}`` stands for: it depends on groups alone, and reading it takes longest."""

    def settle(node: Any, path: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                settle(value, f"{path}{key}.")
            elif isinstance(value, str) and value.startswith("${by_scale:") and value.count("${") == 1:
                with contextlib.suppress(OmegaConfBaseException):  # a job may have another value in its place
                    OmegaConf.update(config, f"{path}{key}", OmegaConf.select(config, f"{path}{key}"))

    settle(OmegaConf.to_container(config, resolve=False), "")


_CONFIRM = f"{CONFIRMATORY[0]} to {CONFIRMATORY[-1]}"


def _is_on(override: Override) -> bool:
    """What ``confirm=...`` says. Raises WrongInput."""
    if override.is_sweep_override() or not isinstance(override.value(), bool):
        raise WrongInput(f"{override.input_line}: must be true (seeds {_CONFIRM}) or false (the experiment's own)")
    return bool(override.value())


def _names(override: Override) -> list[str]:
    """The names of arms that ``arm=...`` asks for."""
    if not override.is_sweep_override():
        return ["null" if override.value() is None else str(override.value())]
    return [str(name.text if isinstance(name, QuotedString) else name) for name in override.sweep_iterator()]


def _text(override: Override) -> str:
    """As it was typed."""
    return override.input_line or ""


def _values(override: Override) -> list[str]:
    """The overrides of single values that one override stands for.

    Raises:
        WrongInput: it sweeps over more values than can be listed.
    """
    if not override.is_sweep_override():
        return [_text(override)]
    if not override.is_discrete_sweep():
        raise WrongInput(f"{override.input_line}: not a list of values; write key=1,2,3 or key=range(1,4)")
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
