"""Settings: runs that are alike in every key but the seed and those that the arms name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.arrays import has_arrays
from analysis.select.arms import Ambiguous, Arm, arms_by, differing, natural
from analysis.select.words import CHOICE, LENGTH, NORM, TITLE, plain, shown, words_of

if TYPE_CHECKING:
    from analysis.runs import Runs


@dataclass(frozen=True)
class Setting:
    """Runs that are alike in every key but the seed and those that the arms name.

    Attributes:
        title, subtitle: what tells it from the other settings, in two lines.
        values: the values that all its runs share, by key.
        runs: these runs.
        arms: those of the arms that have a run here, in their order.
        of: names of the runs of each arm, in the order of their seeds.
        mixed: arm -> the keys, with their values, in which its own runs differ though the arm does not name them, since
            another arm does.
    """

    title: str
    subtitle: str
    values: Mapping[str, Any]
    runs: Runs
    arms: tuple[Arm, ...]
    of: Mapping[str, tuple[str, ...]] = field(repr=False)
    mixed: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        """Both lines in one."""
        return ", ".join(filter(None, (self.title, self.subtitle)))

    @property
    def task(self) -> str | None:
        """Kind of task, as the runs' specification of their data says: classification, regression."""
        tasks = self.runs.each["task"]
        return None if tasks.isna().all() else str(tasks.dropna().iloc[0])

    @property
    def names(self) -> list[str]:
        """Names of its arms."""
        return [arm.name for arm in self.arms]

    @property
    def counts(self) -> dict[str, int]:
        """Runs per arm."""
        return {name: len(self.of[name]) for name in self.names}

    @property
    def diverged(self) -> dict[str, tuple[float, ...]]:
        """Arm -> the steps at which its runs diverged, where some did."""
        each = self.runs.each
        found = {}
        for name in self.names:
            rows = each.loc[list(self.of[name])]
            steps = tuple(sorted(rows.loc[rows["state"] == "diverged", "diverged_at"]))
            if steps:
                found[name] = steps
        return found

    def own(self, name: str) -> Runs:
        """The runs of one arm.

        Raises:
            Ambiguous: they differ in what the arm does not name.
        """
        if name in self.mixed:
            mixed = {key: [shown(key, value) for value in values] for key, values in self.mixed[name].items()}
            told = ", ".join(f"{key} ({', '.join(values)})" for key, values in mixed.items())
            raise Ambiguous(f"runs of {name} differ in {told}: name one of them")
        return self.runs.only(self.of[name])

    def arm_of(self) -> dict[str, str]:
        """Run -> name of its arm."""
        return {run: name for name in self.names for run in self.of[name]}

    def only(self, names: Iterable[str]) -> Setting:
        """The same setting with some of its arms."""
        kept = tuple(arm for arm in self.arms if arm.name in set(names))
        of = {arm.name: self.of[arm.name] for arm in kept}
        mixed = {name: keys for name, keys in self.mixed.items() if name in of}
        there = self.runs.only([run for runs in of.values() for run in runs])
        return replace(self, arms=kept, of=of, mixed=mixed, runs=there)

    def lowest_seed(self, name: str) -> pd.Series | None:
        """The run that stands for an arm where only one can be drawn: the lowest seed, finished if one is.

        Of those whose arrays are there, if any are: a folder may have been kept without.
        """
        rows = self.runs.each.loc[list(self.of.get(name, ()))]
        there = {self.runs.training[run.name] for run in self.runs.folders or () if has_arrays(run.folder)}
        rows = rows.rename_axis(None).assign(ended=rows["state"] == "diverged", run=rows.index)
        rows = rows.assign(without=~rows["run"].isin(there)).sort_values(["without", "ended", "seed", "run"])
        return rows.iloc[0] if len(rows) else None


def settings(
    runs: Runs,
    arms: Sequence[Arm] | None = None,
    *,
    free: Iterable[str] = (),
    about: Mapping[str, Any] | None = None,
) -> list[Setting]:
    """The settings of runs: each holds the runs of the arms that are alike in every other key.

    Args:
        runs: where from.
        arms: what is compared; None: every normalisation.
        free: further keys that may differ within a setting, since a measure goes across them.
        about: only settings whose keys (or `task`) have these values.

    Returns:
        Settings with at least one arm, by model, data, learning rate, then by what else tells them apart.
    """
    arms = arms_by(runs) if arms is None else list(dict.fromkeys(arms))
    members = {arm: arm.runs(runs) for arm in arms}
    chosen = list(dict.fromkeys(run for own in members.values() for run in own))
    chosen = [run for run in chosen if _is_about(runs, run, about or {})]
    free = set(free)
    walls = _walls(runs, chosen, {*free, *(key for arm in arms for key in arm.keys)})
    loose = [key for key in (NORM, *runs.keys) if key not in walls and not free & {key, key.partition(".")[0]}]
    groups: dict[tuple[str, ...], list[str]] = {}
    columns = [_column(runs.whole, key) for key in walls]
    for run in chosen:
        groups.setdefault(tuple(column[run] for column in columns), []).append(run)
    told = runs.whole.once(("told apart", tuple(walls)), lambda: _told_apart(runs.whole, walls))
    found = []
    for own in groups.values():
        here = set(own)
        seeds = runs.each["seed"]
        of = {
            arm.name: tuple(sorted((run for run in members[arm] if run in here), key=lambda run: (seeds[run], run)))
            for arm in arms
        }
        there = tuple(arm for arm in arms if of[arm.name])
        mixed = {arm.name: keys for arm in there if (keys := differing(runs, of[arm.name], _unnamed(arm, loose)))}
        values = {key: runs.value(own[0], key) for key in walls}
        title, subtitle = _label(values, told)
        found.append(Setting(title, subtitle, values, runs.only(own), there, of, mixed))
    return sorted(found, key=lambda one: (natural(one.title), natural(one.subtitle)))


def _unnamed(arm: Arm, loose: Sequence[str]) -> list[str]:
    """Of the keys that are no walls, those that an arm says nothing of; a normalisation's label tells its options."""
    told = NORM in arm.keys or any(key.startswith(f"{NORM}.") for key in arm.keys)
    return [k for k in loose if k not in arm.keys and not (told and k.partition(".")[0] == NORM)]


def _column(whole: Runs, key: str) -> Mapping[str, str]:
    """Run -> a key's value in words, worked out once: of thousands of runs every claim and figure asks for it."""
    return whole.once(("column", key), lambda: {run: plain(whole.value(run, key)) for run in whole.each.index})


def _is_about(runs: Runs, run: str, about: Mapping[str, Any]) -> bool:
    return all(plain(runs.value(run, key)) == plain(value) for key, value in about.items())


def _walls(runs: Runs, chosen: Sequence[str], free: set[str]) -> list[str]:
    """The keys in which the runs of a setting must be alike.

    Where an arm names a group's choice, the group's options that only some of the choices have cannot be held alike and
    belong to the choice. A normalisation's label has its options already; where an arm names one of these, the others
    are walls.
    """
    named = NORM if NORM in free else CHOICE if any(key.startswith(f"{NORM}.") for key in free) else ""
    walls = [] if named == NORM else [named or NORM]
    for key in runs.keys:
        group = key.partition(".")[0]
        if key in free or (group == NORM and named != CHOICE):
            continue
        if group in free and group != key and not all(runs.has(run, key) for run in chosen):
            continue
        walls.append(key)
    return walls


def apart(
    runs: Runs,
    arms: Sequence[Arm],
    free: Iterable[str] = (),
    about: Mapping[str, Any] | None = None,
    by: Sequence[str] = (),
) -> str:
    """Why arms that were all run are nowhere together: the keys in which their nearest settings differ, and a way out.

    Empty where one of the arms has no run, or a setting has all of them. `by`: the keys that made the arms.
    """
    found = settings(runs, arms, free=free, about=about)
    own = [[one.values for one in found if arm.name in one.names] for arm in arms]
    if not all(own) or len(own) < 2 or any(len(one.names) == len(own) for one in found):
        return ""
    pairs = ((one, other) for one in own[0] for some in own[1:] for other in some)
    keys = (
        {k: (plain(one[k]), plain(other[k])) for k in one if plain(one[k]) != plain(other[k])} for one, other in pairs
    )
    nearest = {NORM if key == CHOICE else key: two for key, two in min(filter(None, keys), key=len).items()}
    told = ", ".join(f"{key} ({shown(key, a)}, {shown(key, b)})" for key, (a, b) in nearest.items())
    one = " ".join(f"{key}={a}" for key, (a, _) in nearest.items()) if by else "one value"
    way = f": {' '.join(f'--by {key}' for key in (*by, *nearest))}" if by else ""
    way = f", or make it an arm{way}" if LENGTH not in nearest else ""
    names = " and ".join(arm.name for arm in arms)
    return f"{names} were run, but nowhere alike: they differ in {told}; run both with {one}{way}"


def _told_apart(runs: Runs, walls: Sequence[str]) -> dict[tuple[str, ...], set[str]]:
    """Keys that tell settings apart, for each model, data set and learning rate.

    Of all runs that were loaded, whatever is compared: so a setting has one label wherever it is named.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for run in runs.each.index:
        alike.setdefault(_of_title({key: runs.value(run, key) for key in walls}), []).append(run)
    return {title: set(differing(runs, own, walls)) for title, own in alike.items()}


def _of_title(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(plain(values[key]) for key in TITLE if key in values)


def _label(values: Mapping[str, Any], told: Mapping[tuple[str, ...], set[str]]) -> tuple[str, str]:
    parts = [plain(values[key]) for key in ("model", "data") if key in values]
    rest = ["optim.lr"] if "optim.lr" in values else []
    rest += [key for key in values if key in told[_of_title(values)] and key not in TITLE]
    words = [words_of(key) for key in rest]  # of two keys with one word, the group too
    told_as = [key.replace("_", " ") if words.count(word) > 1 else word for key, word in zip(rest, words, strict=True)]
    return " on ".join(parts), ", ".join(
        f"{word} {shown(key, values[key])}" for key, word in zip(rest, told_as, strict=True)
    )
