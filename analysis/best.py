"""A number at a key's best value, which two pilot seeds choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.across import Across, Over, exact, numbers_of
from analysis.claims import BySeed, NotRun, Unanswerable
from analysis.select import plain, words_of

PILOTS = 2
"""Seeds, the lowest, on which a key's best value is chosen; all others are judged."""
FEWEST_VALUES = 3
"""Values among which there can be a best one that is at neither end."""


def best(measure: BySeed, key: str, by: BySeed, *, least: bool = True) -> Across:
    """The measure at the key's best value, chosen on two pilot seeds, which are not judged themselves.

    The best value is where the pilots' median of `by` is least (or greatest). So no seed is judged at a value that was
    chosen by its own luck: the best of each seed by itself would be wrong in 16 to 93 % of cases. A best value at the
    grid's end may lie beyond it, and is none. Only pilots need runs at all of the grid's values.
    """

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        measured, judged = tables
        grid = list(measured.number.columns)
        if len(grid) < FEWEST_VALUES:
            told = ", ".join(map(plain, grid))
            raise NotRun(f"a best {words_of(key)} needs {FEWEST_VALUES} values or more, not {told} alone")
        whole = judged.ran.all(axis=1)
        if whole.sum() < PILOTS:
            return exact(pd.Series(dtype=float))
        pilots, value = _chosen(judged.number[whole], least)
        if value is None:
            raise Unanswerable(f"no {words_of(key)} can be chosen: the pilot seeds have no {by.name}")
        if value in (grid[0], grid[-1]):
            seeds = ", ".join(map(str, pilots))
            raise Unanswerable(f"the best {words_of(key)} of seeds {seeds}, {plain(value)}, is the grid's end")
        ends = {"number": measured.number, "low": measured.low, "high": measured.high}
        return pd.DataFrame({name: table[value].drop(pilots) for name, table in ends.items()})

    def needs(tables: Sequence[Over]) -> list[Any]:
        judged = tables[1]
        whole = judged.number[judged.ran.all(axis=1)]
        _, value = _chosen(whole, least)
        return [] if value is None or len(whole) < PILOTS else [value]

    which = f"the {'least' if least else 'greatest'} {by.name} ({by.says})"
    chosen = f"chosen on the {PILOTS} lowest seeds that have every value, by {which}, which are not judged"
    says = f"{measure.says}, at the {words_of(key)} {chosen}; at the grid's end undecided"
    name = f"{measure.name} at the best {words_of(key)}"
    return Across(
        key, name, says, (measure, by), reduce, ragged=True, fewest=1, needs=needs
    )  # says what it lacks itself


def _chosen(numbers: pd.DataFrame, least: bool) -> tuple[list[Any], Any]:
    """The pilots of a table [seeds, values], its lowest seeds, and the value at which their median is best, or None."""
    pilots = list(numbers.index[:PILOTS])
    medians = numbers.loc[pilots].median().dropna()
    if not len(medians):
        return pilots, None
    return pilots, medians.idxmin() if least else medians.idxmax()


def chosen_value(by: BySeed, key: str, *, least: bool = True) -> Across:
    """The key's value at which `best` takes its measure, one for all seeds; at the grid's end too, of numbers alone."""

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (judged,) = tables
        numbers_of(key, judged.number)
        _, value = _chosen(judged.number, least)
        return exact(pd.Series(value, judged.number.index, dtype=float))

    says = f"{words_of(key)} of the {'least' if least else 'greatest'} {by.name} ({by.says})"
    return Across(key, f"best {words_of(key)}", f"{says}, on the {PILOTS} lowest seeds", (by,), reduce)
