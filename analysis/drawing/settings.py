"""The settings that a figure draws, and who is left out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from analysis import select
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import NORM, Arm, Setting
from analysis.style import NORMS

WHOLE = 3
"""A setting of so few arms is drawn whole, whatever the figure is about."""
_Choice = TypeVar("_Choice")


@dataclass(frozen=True)
class Settings:
    """The settings that are drawn, and who is not.

    Attributes:
        drawn: with the arms that are drawn in each.
        left_out: how many more settings there are.
        arms_left_out: the arms that are drawn in none of them.
        arms_in_some: the arms that are drawn in some of them and left out of others.
    """

    drawn: tuple[Setting, ...]
    left_out: int = 0
    arms_left_out: tuple[str, ...] = ()
    arms_in_some: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands below the figure of those that are left out."""
        said = []
        if self.arms_left_out:
            said.append(f"not drawn here: {', '.join(self.arms_left_out)}")
        if self.arms_in_some:
            said.append(f"not drawn in every setting: {', '.join(self.arms_in_some)}")
        if self.left_out:
            more = f"{self.left_out} more setting{'s' if self.left_out > 1 else ''}"
            said.append(f"{more} not drawn: give fewer runs to see them")
        return tuple(said)

    def sheet(self, columns: Iterable[Column], nothing: str, notes: Iterable[str] = (), bands: str = "") -> Sheet:
        """The sheet of these columns; below it, `notes` and who is left out."""
        return Sheet(tuple(columns), nothing, tuple(dict.fromkeys([*notes, *self.notes])), bands)


def drawn_settings(
    runs: Runs,
    wanted: Sequence[str] | None = None,
    *,
    arms: Sequence[Arm] | None = None,
    free: Iterable[str] = (),
    about: Mapping[str, Any] | None = None,
    where: Callable[[Setting], bool] = lambda setting: True,
    most: int = 4,
    first: Callable[[Setting], bool] = lambda setting: False,
    rather: Sequence[str] = (),
) -> Settings:
    """The settings of runs, with the arms that a figure shows.

    Args:
        runs: where from.
        wanted: those that the figure is about; None: all. Those that the suite does not know (a user's own, one with
            other options) are always shown, and all of a setting that has at most `WHOLE`; the others are named.
        arms: what is told apart; None: every normalisation.
        free: keys that may differ within a setting besides.
        about: only settings whose keys have these values.
        where: only settings of which this holds.
        most: settings drawn; where there are more, those with the most of `wanted`, then the most runs.
        first: settings that are drawn before all others.
        rather: only settings with one of these, where there is one.
    """
    found, left = [], dict[str, None]()
    for setting in filter(where, select.settings(runs, arms, free=free, about=about)):
        own = [arm.name for arm in setting.arms if wanted is None or arm.name in wanted or not _known(arm)]
        shown = setting.names if own and len(setting.names) <= WHOLE else own
        left |= dict.fromkeys(name for name in setting.names if name not in shown)
        if shown:
            found.append(setting.only(shown))
    asked = set(wanted or [])
    chosen = [setting for setting in found if set(rather) & set(setting.names)] or found

    def rank(setting: Setting) -> tuple[int, int, int]:
        return (-first(setting), -len(asked & set(setting.names)), -sum(setting.counts.values()))

    best = {id(setting) for setting in sorted(chosen, key=rank)[:most]}
    drawn = tuple(setting for setting in found if id(setting) in best)
    there = {name for setting in drawn for name in setting.names}
    nowhere, in_some = (tuple(name for name in left if (name in there) == some) for some in (False, True))
    return Settings(drawn, len(found) - len(drawn), nowhere, in_some)


def _known(arm: Arm) -> bool:
    """Whether the suite knows an arm's normalisation, with its options at their defaults."""
    return dict(arm.where).get(NORM, arm.name) in NORMS


def by_task(choices: Mapping[str, _Choice], setting: Setting) -> _Choice:
    """The choice for a setting's kind of task; the first where the task is none of them or not known."""
    return choices.get(setting.task or "", next(iter(choices.values())))
