"""Arms: sets of runs by the values of configuration keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.errors import WrongInput, near_miss
from analysis.select.words import GROUPS, NORM, plain
from analysis.style import in_order

if TYPE_CHECKING:
    from analysis.runs import Runs


class Ambiguous(ValueError):
    """Several runs stand for one number, or one arm holds what differs; the message names the keys."""


@dataclass(frozen=True)
class Arm:
    """Runs by the values of configuration keys.

    Args:
        name: as it stands in claims, legends and tables.
        where: key -> value, as pairs; `Arm.of` takes a mapping.
    """

    name: str
    where: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        """Lists and mappings among the values are kept as they are written, so that an arm can be a key itself."""
        kept = tuple((key, plain(value) if isinstance(value, list | dict) else value) for key, value in self.where)
        object.__setattr__(self, "where", kept)

    @classmethod
    def of(cls, name: str, where: Mapping[str, Any]) -> Arm:
        """The arm of runs whose keys have these values."""
        return cls(name, tuple(where.items()))

    @classmethod
    def norm(cls, label: str) -> Arm:
        """The runs of one normalisation, its options at their defaults unless the label says otherwise."""
        return cls(label, ((NORM, label),))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it names."""
        return tuple(key for key, _ in self.where)

    def runs(self, runs: Runs) -> list[str]:
        """Names of its runs among these, in their order."""
        key = ("arm", *((key, plain(value)) for key, value in self.where))
        whole = runs.whole
        own = whole.once(key, lambda: frozenset(run for run in whole.each.index if self.holds(whole, run)))
        return [run for run in runs.each.index if run in own]

    def holds(self, runs: Runs, run: str) -> bool:
        """Whether a run is one of the arm's."""
        asked = dict(self.where)
        options = {key: value for key, value in asked.items() if key.startswith(f"{NORM}.")}
        if NORM in asked and options:  # the choice with these options, the others at their defaults
            choice, differing = runs.norm_of(run)
            left = {key: value for key, value in differing.items() if key not in options}
            if plain(asked.pop(NORM)) != choice or left:
                return False
        return all(plain(runs.value(run, key)) == plain(value) for key, value in asked.items())

    def says(self) -> str:
        """What it is, in keys and values."""
        return " ".join(f"{key}={plain(value)}" for key, value in self.where)


def arms_by(runs: Runs, keys: Sequence[str] = (NORM,)) -> list[Arm]:
    """One arm for each combination of values that these keys have among the runs, as legends list them.

    The normalisation's label has its options already: with `norm` among the keys, its options make no further arms. So
    have the choices of other groups the options that only they have, where their runs differ in these.

    Raises:
        WrongInput: no run has such a key.
    """
    known = [*runs.keys, NORM]
    for key in keys:
        if key not in known:
            raise WrongInput(f"no run has the key {key!r}; {near_miss(key, known)}")
    if NORM in keys:
        keys = [key for key in keys if key.partition(".")[0] != NORM or key == NORM]
    found: dict[str, Arm] = {}
    own = {key: _own_options(runs, key) for key in keys if key in GROUPS and key != NORM}
    for run in runs.each.index:
        values = [(key, runs.value(run, key)) for key in keys]
        told = [plain(v) if k == NORM or len(keys) == 1 else f"{k}={plain(v)}" for k, v in values]
        for key, options in own.items():
            further = [(o, runs.value(run, o)) for o in options.get(plain(runs.value(run, key)), ()) if o not in keys]
            values += further
            told += [f"{option.partition('.')[2]}={plain(value)}" for option, value in further]
        found.setdefault(" ".join(told), Arm(" ".join(told), tuple(values)))
    if tuple(keys) == (NORM,):
        return [found[name] for name in in_order(found)]
    return [found[name] for name in sorted(found, key=natural)]


def known_and_others(runs: Runs, known: Sequence[Arm]) -> list[Arm]:
    """These arms, and one for every other combination of values that their keys have among the runs.

    Args:
        runs: where from.
        known: arms that name the same keys, the normalisation among them.
    """
    keys = known[0].keys
    found = {tuple(plain(dict(arm.where)[key]) for key in keys): arm for arm in known}
    taken = {arm.name for arm in known}
    for run in runs.each.index:
        values = tuple(plain(runs.value(run, key)) for key in keys)
        if values not in found:
            told = {key: value for key, value in zip(keys, values, strict=True) if key != NORM}
            short = [f"{key.rpartition('.')[2]}={value}" for key, value in told.items() if value not in ("none", "[]")]
            whole = [f"{key.rpartition('.')[2]}={value}" for key, value in told.items()]
            name = " ".join([values[keys.index(NORM)], *short])
            name = name if name not in taken else " ".join([values[keys.index(NORM)], *whole])
            taken.add(name)
            found[values] = Arm(name, tuple(zip(keys, values, strict=True)))
    return list(found.values())


def known_and_norms(runs: Runs, known: Sequence[Arm]) -> list[Arm]:
    """Those of these arms that have a run, in their place among the normalisations of all other runs.

    No run is of two of them: a normalisation beside known arms that name further keys names these too, and where one of
    these is a group (`optim`), those options of its choice in which runs differ.
    """
    of = {run: arm for arm in known for run in arm.runs(runs)}
    further = dict.fromkeys(key for arm in known for key in arm.keys if key.partition(".")[0] != NORM)
    options = {key: _own_options(runs, key) for key in further if key in GROUPS}
    named = {arm.name: arm for arm in of.values()}
    found: dict[str, Arm] = {}
    for run in runs.each.index:
        if (arm := of.get(run)) is None:
            own = [o for key, of_choice in options.items() for o in of_choice.get(plain(runs.value(run, key)), ())]
            keys = dict.fromkeys((*further, *own))
            label, values = runs.label_of(run), [(key, plain(runs.value(run, key))) for key in keys]
            where = ((NORM, label), *values)
            told = " ".join([label, *(f"{key.rpartition('.')[2]}={value}" for key, value in values)])
            arm = Arm(label if named.get(label, Arm(label, where)).where == where else told, where)
            named.setdefault(arm.name, arm)
        found.setdefault(arm.name, arm)
    return list(found.values())


def _own_options(runs: Runs, group: str) -> dict[str, list[str]]:
    """Choice of a group -> those of its options that other choices lack and in which its own runs differ."""
    by_choice: dict[str, list[str]] = {}
    for run in runs.each.index:
        by_choice.setdefault(plain(runs.value(run, group)), []).append(run)
    every = list(runs.each.index)
    options = [key for key in runs.keys if key.startswith(f"{group}.") and not all(runs.has(run, key) for run in every)]
    return {choice: list(differing(runs, some, options)) for choice, some in by_choice.items()}


def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """Numbers in their order, words in theirs."""
    parts = re.findall(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?|[^\d]+", text)
    return tuple((0, float(p), "") if re.fullmatch(r"[-+]?\d.*", p) else (1, 0.0, p) for p in parts)


def differing(runs: Runs, some: Iterable[str], keys: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Key -> the values that these runs have, for the keys in which they differ."""
    some = list(some)
    found = {}
    for key in runs.keys if keys is None else keys:
        values = list(dict.fromkeys(plain(runs.value(run, key)) for run in some))
        if len(values) > 1:
            found[key] = values
    return found
