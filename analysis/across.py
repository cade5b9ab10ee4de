"""One number per seed from several runs of that seed: at the best learning rate, the width of a range, a slope.

An `Across` takes the place of a measure in a claim. The runs of a seed differ in its key alone; the key is no wall in
the settings in which the claim is judged.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from analysis.claims import BySeed, Grid, NotRun
from analysis.errors import WrongInput
from analysis.runs import Runs
from analysis.select import Ambiguous, plain, words_of


class Over(NamedTuple):
    """A measure over the key's values: tables [seeds, values], ascending where the values are numbers.

    number, low, high: as `BySeed.by_seed` gives them; NaN: no number. ran: whether there is a run.
    """

    number: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    ran: pd.DataFrame


def exact(numbers: pd.Series) -> pd.DataFrame:
    return pd.DataFrame({"number": numbers, "low": numbers, "high": numbers}, dtype=float)


@dataclass(frozen=True)
class Across:
    """A number per seed from the runs of the seed, which differ in `key`.

    Args:
        key: what differs.
        name, says: as a measure has them.
        measures: what is taken at each value of the key: of a run, or across another key.
        reduce: from one `Over` for each of `measures` to number, low, high by seed; NaN: no number.
        ragged: whether each seed may have values of its own, as where an edge was bisected; else a seed that lacks a
            run at some of the grid's values has no number.
        fewest: values of the key without which there is nothing to go across.
        follows: keys whose values follow from the key's, as the fingerprint of data does from how they are made.
        fixed: values of the key at which a seed must have been run; None: those of the grid, or, if `ragged`, none.
        needs: from the same as `reduce`, the key's values without which a further seed has no number; None: all.
    """

    key: str
    name: str
    says: str
    measures: tuple[BySeed, ...]
    reduce: Callable[[Sequence[Over]], pd.DataFrame] = field(compare=False)
    ragged: bool = False
    fewest: int = 2
    follows: tuple[str, ...] = ()
    fixed: tuple[Any, ...] | None = None
    needs: Callable[[Sequence[Over]], Sequence[Any]] | None = field(default=None, compare=False)

    @property
    def metrics(self) -> tuple[tuple[str, str | None], ...]:
        """What must be recorded."""
        return tuple(dict.fromkeys(metric for measure in self.measures for metric in measure.metrics))

    @property
    def free(self) -> tuple[str, ...]:
        """The key, what follows from it, and the keys that its measures go across themselves."""
        further = (key for measure in self.measures for key in measure.free)
        return tuple(dict.fromkeys((self.key, *self.follows, *further)))

    @property
    def diverged_count(self) -> bool:
        """Whether all of its measures count diverged runs."""
        return all(measure.diverged_count for measure in self.measures)

    def by_seed(self, runs: Runs, grid: Grid | None = None) -> pd.DataFrame:
        """See `analysis.claims.BySeed`.

        Raises:
            Ambiguous: two runs of a seed have one value of the key, or two of a value differ in what follows.
            NotRun: fewer values of the key were run, in whatever arm, than it goes across.
            Unanswerable: as its own rule says.
        """
        seeds, tables = self._over(self._parts(runs, grid), runs, grid)
        found = self.reduce(tables) if len(tables[0].number) else exact(pd.Series(dtype=float))
        return found.reindex(pd.Index(seeds, name="seed")).astype(float)

    def needed(self, runs: Runs, grid: Grid | None = None) -> set[str]:
        """Of these runs those at values of the key at which a further seed must be run, to have a number.

        Raises:
            Ambiguous, NotRun: as `by_seed` does.
        """
        parts = self._parts(runs, grid)
        values: Iterable[Any] = parts
        if self.needs is not None:
            _, tables = self._over(parts, runs, grid)
            values = self.needs(tables) if len(tables[0].number) else ()
        measured = itertools.product((parts[value] for value in values if value in parts), self.measures)
        return {run for part, measure in measured for run in needed_by(measure, part, grid)}

    def _parts(self, runs: Runs, grid: Grid | None) -> dict[Any, Runs]:
        """The runs by value of the key, of all values of the grid."""
        at: dict[str, list[str]] = {}
        for run in runs.each.index:
            at.setdefault(plain(runs.value(run, self.key)), []).append(run)
        values = (grid or {}).get(self.key) or grid_of(runs, (self.key,))[self.key]
        if len(values) < self.fewest:
            told, needed = ", ".join(map(plain, values)), f"{self.fewest} values of the {words_of(self.key)} or more"
            raise NotRun(f"{self.name} needs {needed}, not {told} alone")
        parts = {value: runs.only(at.get(plain(value), ())) for value in values}
        if any(len(some) > 1 for part in parts.values() for some in grid_of(part, self.follows).values()):
            raise Ambiguous(f"runs of one {words_of(self.key)} differ in {', '.join(self.follows)}")
        return parts

    def _over(self, parts: Mapping[Any, Runs], runs: Runs, grid: Grid | None) -> tuple[list[Any], list[Over]]:
        """The seeds, and what was measured of those that have what it goes across."""
        seeds = sorted(set(runs.each["seed"]))
        there = {v: set(seeds).intersection(*(_ran(m, part, grid) for m in self.measures)) for v, part in parts.items()}
        ran = pd.DataFrame({value: [seed in some for seed in seeds] for value, some in there.items()}, index=seeds)
        whole = seeds if self.ragged else [seed for seed in seeds if ran.loc[seed].all()]
        tables = []
        for measure in self.measures:
            own = {value: measure.by_seed(part, grid) for value, part in parts.items()}
            number, low, high = (
                pd.DataFrame({v: table[column] for v, table in own.items()}).reindex(whole).astype(float)
                for column in ("number", "low", "high")
            )
            tables.append(Over(number, low, high, ran.loc[whole]))
        return seeds, tables


def _ran(measure: BySeed, runs: Runs, grid: Grid | None) -> set[Any]:
    """The seeds that were run, at all values that the measure goes across; another is not one without a number."""
    found = set(runs.each["seed"])
    if not isinstance(measure, Across):
        return found
    at: dict[str, set[Any]] = {}
    for run in runs.each.index:
        at.setdefault(plain(runs.value(run, measure.key)), set()).add(runs.each["seed"][run])
    values = (() if measure.ragged else (grid or {}).get(measure.key, ())) if measure.fixed is None else measure.fixed
    return found.intersection(*(at.get(plain(value), set()) for value in values))


def needed_by(measure: BySeed, runs: Runs, grid: Grid | None = None) -> set[str]:
    """Of some runs of an arm those whose like a further seed needs, to have a number: all, but across a best value."""
    return measure.needed(runs, grid) if isinstance(measure, Across) else set(runs.each.index)


def grid_of(runs: Runs, keys: Iterable[str]) -> dict[str, list[Any]]:
    """Key -> the values that these runs have, numbers ascending, then words."""
    found: dict[str, list[Any]] = {}
    for key in keys:
        values = {plain(value): value for value in (runs.value(run, key) for run in runs.each.index)}
        found[key] = sorted(values.values(), key=_in_order)
    return found


def numbers_of(key: str, table: pd.DataFrame) -> np.ndarray:
    """The key's values as numbers. Raises WrongInput."""
    try:
        return np.array(table.columns, dtype=float)
    except (TypeError, ValueError):
        told = ", ".join(map(plain, table.columns))
        raise WrongInput(f"{key}: its values {told} are no numbers, which this measure goes over") from None


def _in_order(value: Any) -> tuple[bool, float, str]:
    """Numbers ascending, then words."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, plain(value))


def width(measure: BySeed, key: str, *, below: float = math.inf, above: float = -math.inf) -> Across:
    """Decades between the least and the greatest value of the key, in one stretch, at which a run is good enough.

    A run is good enough where the measure lies between `above` and `below`, absolute levels that are fixed beforehand;
    of several stretches the longest counts. The range ends somewhere before the next value that is not good enough, so
    that its width lies between two ends; where the grid ends first, only a bound is known. Each seed may have values of
    its own, from bisecting its edges; one that lacks the least or the greatest of those that the two seeds with the
    most values have, as where it was run at a value that pilots chose, has no number.
    """

    says = f"decades of the {words_of(key)}, in one stretch"
    return _of_stretch(measure, key, below, above, f"width of the range of {words_of(key)}", says, _decades)


def edge(measure: BySeed, key: str, *, below: float = math.inf, above: float = -math.inf) -> Across:
    """The greatest value of the key, of the longest stretch, at which a run is good enough; see `width`."""
    says = f"greatest {words_of(key)}, of the longest stretch"
    return _of_stretch(measure, key, below, above, f"greatest {words_of(key)} that is good enough", says, _edge)


def _of_stretch(
    measure: BySeed, key: str, below: float, above: float, name: str, says: str, take: Callable[..., pd.Series]
) -> Across:
    """What `take` makes of each seed's longest stretch of good values."""

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        values = numbers_of(key, table.number)
        found = {seed: _stretch(values, table, seed, below, above) for seed in _reaching(table.ran)}
        return pd.DataFrame({seed: take(found.get(seed)) for seed in table.number.index}).T

    says = f"{says}, with {_level(measure, below, above)} ({measure.says})"
    return Across(key, name, says, (measure,), reduce, ragged=True)


def _reaching(ran: pd.DataFrame) -> pd.Index:
    """The seeds that were run at both ends of the values that the two with the most values have (the lowest two)."""
    most = ran.sum(axis=1).sort_values(ascending=False, kind="stable").index[:2]
    common = ran.columns[ran.loc[most].all()]
    return ran.index[ran[common[[0, -1]]].all(axis=1)] if len(common) else ran.index[:0]


def _level(measure: BySeed, below: float, above: float) -> str:
    levels = [f"below {plain(below)}"] if math.isfinite(below) else []
    levels += [f"above {plain(above)}"] if math.isfinite(above) else []
    return f"{measure.name} {' and '.join(levels)}"


_ENDS = ["number", "low", "high"]
_Stretch: TypeAlias = tuple[np.ndarray, int, int]


def _stretch(values: np.ndarray, table: Over, seed: Any, below: float, above: float) -> _Stretch | None:
    """A seed's values that were run, and the places of the longest stretch that is good (none: 0, -1).

    None where a run has no number: what is not known is neither good nor bad.
    """
    ran = table.ran.loc[seed].to_numpy(bool)
    numbers = table.number.loc[seed].to_numpy(float)[ran]
    if np.isnan(numbers).any() or not len(numbers):
        return None
    own, good = values[ran], (numbers > above) & (numbers < below)
    longest, start = (0, -1), 0
    for place, fine in enumerate(good):
        start = start if fine else place + 1
        if fine and (longest[1] < 0 or own[place] / own[start] > own[longest[1]] / own[longest[0]] * (1 + 1e-12)):
            longest = (start, place)
    return own, *longest


def _decades(found: _Stretch | None) -> pd.Series:
    if found is None:
        return pd.Series(np.nan, _ENDS)
    own, first, last = found
    if last < 0:
        return pd.Series(0.0, _ENDS)
    width, open_end = math.log10(own[last] / own[first]), first == 0 or last == len(own) - 1
    return pd.Series([width, width, math.inf if open_end else math.log10(own[last + 1] / own[first - 1])], _ENDS)


def _edge(found: _Stretch | None) -> pd.Series:
    if found is None:
        return pd.Series(np.nan, _ENDS)
    own, _, last = found
    if last < 0:  # none is: the edge lies below the least of them
        return pd.Series([own[0], 0.0, own[0]], _ENDS)
    return pd.Series([own[last], own[last], own[last + 1] if last + 1 < len(own) else math.inf], _ENDS)


def slope(
    measure: BySeed,
    key: str,
    *,
    log_key: bool = True,
    log_measure: bool = True,
    where: str = "",
    follows: tuple[str, ...] = (),
) -> Across:
    """Least-squares slope of the measure on the key, by default of logarithm on logarithm; one for each seed.

    Where a number is only a bound, so is the slope, to the side to which it pulls; `follows` as `Across` has it.
    """

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        x = numbers_of(key, table.number)
        x = np.log(x) if log_key else x
        x = x - x.mean()
        with np.errstate(all="ignore"):  # one value alone has no slope
            number, low, high = (
                np.log(one.to_numpy(dtype=float)) if log_measure else one.to_numpy(dtype=float) for one in table[:3]
            )
            weights = x / (x @ x)
            ends = [_sum(weights, a, b) for a, b in ((number, number), (low, high), (high, low))]
        known = np.isfinite(number).all(axis=1)
        return pd.DataFrame(
            {n: np.where(known, e, np.nan) for n, e in zip(_ENDS, ends, strict=True)}, table.number.index
        )

    name, says = _slope_told(measure, key, log_key, log_measure, where, "slope")
    return Across(key, name, says, (measure,), reduce, follows=follows)


def _sum(weights: np.ndarray, rising: np.ndarray, falling: np.ndarray) -> np.ndarray:
    """Sum over values of weight x number, by seed: of `rising` where the weight is positive, else of `falling`."""
    terms = np.where(weights > 0, rising, falling) * weights
    return np.asarray(np.where(weights == 0, 0.0, terms).sum(axis=1))


def curvature(measure: BySeed, key: str, *, log_key: bool = True, log_measure: bool = True) -> Across:
    """The quadratic term of a least-squares parabola, to be shown beside a slope; one for each seed."""

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        x = numbers_of(key, table.number)
        x = np.log(x) if log_key else x
        with np.errstate(all="ignore"):
            y = np.log(table.number.to_numpy(dtype=float)) if log_measure else table.number.to_numpy(dtype=float)
        known = np.isfinite(y).all(axis=1) & (len(x) > 2)
        terms = np.full(len(y), np.nan)
        if known.any():
            terms[known] = np.polyfit(x, y[known].T, 2)[0]
        return exact(pd.Series(terms, table.number.index))

    return Across(key, *_slope_told(measure, key, log_key, log_measure, "", "curvature"), (measure,), reduce)


def _slope_told(measure: BySeed, key: str, log_key: bool, log_measure: bool, where: str, what: str) -> tuple[str, str]:
    on = f"{'log ' if log_measure else ''}{measure.name} on {'log ' if log_key else ''}{words_of(key)}"
    return f"{what} of {on}{where}", f"least-squares {what} of {on} ({measure.says})"


def at(measure: BySeed, key: str, value: float) -> Across:
    """The measure at one value of the key, beside others that go across it."""

    def reduce(tables: Sequence[Over], value: float) -> pd.DataFrame:
        (table,) = tables
        nothing = pd.Series(np.nan, table.number.index)
        there = value in table.number
        return pd.DataFrame({n: one[value] if there else nothing for n, one in zip(_ENDS, table[:3], strict=True)})

    name = f"{measure.name} at {words_of(key)} {plain(value)}"
    return Across(key, name, measure.says, (measure,), partial(reduce, value=value), fewest=1)
