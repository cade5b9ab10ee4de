"""Which seeds a verdict speaks from: those that were looked at while rules were made, or those that were not."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.decide import SEEDS
from analysis.select import Setting
from analysis.usable import ended

CONFIRMATORY = range(10, 16)
"""Looked at once, when the rules stand. All others are development seeds."""


def chosen(setting: Setting, arms: Iterable[str], asked: int) -> set[int]:
    """The confirmatory seeds, once enough of them have ended in all arms, else the development seeds.

    They are never pooled. A claim that asks for more seeds than there are confirmatory ones takes all.
    """
    everyone = {int(seed) for seed in setting.runs.each["seed"]}
    if asked > len(CONFIRMATORY):
        return everyone
    fresh = everyone & set(CONFIRMATORY)
    own = [ended_seeds(setting, arm) & fresh for arm in arms]
    if own and len(set.intersection(*own)) >= min(SEEDS, len(CONFIRMATORY)):
        return fresh
    return everyone - fresh


def ended_seeds(setting: Setting, arm: str) -> set[int]:
    """The seeds of an arm's runs that have ended."""
    return {int(seed) for seed in ended(setting.runs.only(setting.of.get(arm, ()))).each["seed"]}


def still_to_come(setting: Setting, arms: Iterable[str], among: set[int]) -> set[int]:
    """Seeds that some arm of these has a run of, and that have not ended in all."""
    arms = list(arms)
    runs = [run for arm in arms for run in setting.of.get(arm, ())]
    begun = set(map(int, setting.runs.each["seed"][runs])) & among
    lacking = [begun - ended_seeds(setting, arm) for arm in arms]
    return set().union(*lacking)


def kind_of(seeds: Iterable[int]) -> str:
    """Confirmatory, development, or both, in a word."""
    known = {seed in CONFIRMATORY for seed in seeds}
    return {(True,): "confirmatory", (False,): "development", (False, True): "both"}.get(tuple(sorted(known)), "")
