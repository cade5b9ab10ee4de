"""What another order of the samples changes, as one number per seed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.across import Across, Over
from analysis.claims import BySeed, NotRun
from analysis.select import plain, words_of


def change(measure: BySeed, key: str, to: str | None, start: str | None) -> Across:
    """The measure at one value of the key minus that at another, of each seed. NotRun where no seed has one of them."""

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        ends = []
        for value in (to, start):
            there = [column for column in table.number if plain(column) == plain(value)]
            if not there:
                raise NotRun(f"no runs with {words_of(key)} {plain(value)}")
            ends.append([one[there[0]] for one in table[:3]])
        (number, low, high), (number_before, low_before, high_before) = ends
        return pd.DataFrame(
            {"number": number - number_before, "low": low - high_before, "high": high - low_before}, dtype=float
        )

    told = f"{words_of(key)} {plain(to)} minus {plain(start)}"
    return Across(key, f"{measure.name}, {told}", f"{told}, each {measure.says}", (measure,), reduce)


def one_of(measure: BySeed, key: str, values: Sequence[str]) -> Across:
    """The measure of the one run of a seed that has one of these values of the key; with several it has no number."""

    def reduce(tables: Sequence[Over]) -> pd.DataFrame:
        (table,) = tables
        there = [column for column in table.number if plain(column) in values]
        single = table.number[there].notna().sum(axis=1) == 1
        ends = {"number": table.number, "low": table.low, "high": table.high}
        return pd.DataFrame({name: one[there].max(axis=1).where(single) for name, one in ends.items()}, dtype=float)

    told = f"{words_of(key)} {' or '.join(values)}"
    name, says = f"{measure.name} ({told})", f"{measure.says}, {told}"
    return Across(key, name, says, (measure,), reduce, ragged=True, fewest=1)
