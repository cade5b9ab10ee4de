"""What a measure is: one number per run, and by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.claims import BySeed, Grid
from analysis.progress import SHARED, Curve, Levels, Window, levels_of_all
from analysis.runs import Runs
from analysis.select import Ambiguous, differing


@dataclass(frozen=True)
class Measure:
    """One number per run.

    Args:
        name: in a few words.
        says: in words, with its window and its average.
        metrics: what must be recorded, as (metric, batch); a batch of None: any.
        per_run: from runs to a Series by run, NaN where a run has no such number.
        resolution: by run, how much earlier on its grid the number may lie (an absolute length); None: nowhere else.
        diverged_count: whether a diverged run has a number by the measure's own rule, or is left out and named.
        never: by run, whether its number is only a lower bound, since what is waited for never came; None: none is.
        in_steps: whether the number counts steps, and is no value of the metric.
        curves: by run, what it is the median of; None: it is nothing that probes measured.
        window: over which part of training, or which levels of the data loss.
        and_window: over which other part, too.
    """

    name: str
    says: str
    metrics: tuple[tuple[str, str | None], ...]
    per_run: Callable[[Runs], pd.Series] = field(compare=False)
    resolution: Callable[[Runs], pd.Series] | None = field(default=None, compare=False)
    diverged_count: bool = False
    free: tuple[str, ...] = ()
    never: Callable[[Runs], pd.Series] | None = field(default=None, compare=False)
    in_steps: bool = False
    curves: Callable[[Runs], Mapping[str, Curve]] | None = field(default=None, compare=False)
    window: Window = "all"
    and_window: Window | None = None

    def bound(self, runs: Runs) -> pd.Series:
        """By run: whether its number is only a bound."""
        found = pd.Series(False, runs.each.index) if self.never is None else self.never(runs)
        return found.reindex(runs.each.index).fillna(False).astype(bool)

    def of(self, runs: Runs) -> pd.Series:
        """The number of each run; worked out once."""
        return runs.once(
            ("measure", self, self.per_run), lambda: self.per_run(runs).reindex(runs.each.index).astype(float)
        )

    def probed(self, runs: Runs, grid: Grid | None = None) -> pd.Series:
        """By run: how many probed steps lie in the window (the lesser of two) or between a grid's levels; NaN: none."""
        found = {} if self.curves is None else self.curves(runs)
        levels = self._levels(runs, grid)
        windows = [self.window] if self.and_window is None else [self.window, self.and_window]
        counts = {run: min(curve.probed(w, levels(run)) for w in windows) for run, curve in found.items()}
        return pd.Series(counts, dtype=float).reindex(runs.each.index)

    def _levels(self, runs: Runs, grid: Grid | None) -> Callable[[str], Sequence[float] | None]:
        """By run: the levels that a grid leaves of the window's; None: all."""
        pairs = (grid or {}).get(SHARED)
        if pairs is None or not isinstance(self.window, Levels):
            return lambda run: None
        return lambda run: [level for seed, level in pairs if run in runs.each.index and seed == runs.each["seed"][run]]

    def by_seed(self, runs: Runs, grid: Grid | None = None) -> pd.DataFrame:
        """See `analysis.claims.BySeed`. A grid of `shared_levels` narrows levels of the data loss to these."""
        refuse_two_of_a_seed(runs)
        numbers = self.of(runs)
        if self.curves is not None and SHARED in (grid or {}):
            levels = self._levels(runs, grid)
            own = {run: curve.over(self.window, levels(run)) for run, curve in self.curves(runs).items()}
            numbers = pd.Series(own, dtype=float).reindex(runs.each.index)
        coarse = pd.Series(0.0, numbers.index) if self.resolution is None else self.resolution(runs).fillna(0.0)
        bound = self.bound(runs)
        low = (numbers - coarse.reindex(numbers.index)).where(~bound, numbers)
        found = pd.DataFrame({"number": numbers, "low": low, "high": numbers.where(~bound, math.inf)})
        return found.set_axis(pd.Index(runs.each["seed"], name="seed")).sort_index()


def fewest_probed(measure: BySeed, runs: Runs, grid: Grid | None = None) -> int | None:
    """The fewest probed steps that any of these runs has in the window of a measure.

    None: the measure (or what it goes across) is not taken over probed steps, or no run records it.
    """
    counts = [fewest_probed(inner, runs, grid) for inner in getattr(measure, "measures", ())]
    if isinstance(measure, Measure) and measure.curves is not None:
        own = measure.probed(runs, grid).dropna()
        counts.append(int(own.min()) if len(own) else None)
    return min((count for count in counts if count is not None), default=None)


def shared_levels(terms: Sequence[tuple[BySeed, Runs]]) -> dict[str, list[Any]]:
    """The part of a grid that narrows measures at equal data loss to the levels that all of some arms reach.

    Args:
        terms: the measure and the runs of each arm.

    Returns:
        By seed, which levels; empty, so that it can be added to any grid, where the measures are none at equal loss, or
        at different levels.
    """
    sides, windows = [], []
    for measure, runs in terms:
        if isinstance(measure, Measure) and measure.curves is not None and isinstance(measure.window, Levels):
            sides.append((runs, measure.curves(runs)))
            windows.append(measure.window)
    if len(windows) < len(terms) or len(set(windows)) != 1:
        return {}
    return {SHARED: levels_of_all(windows[0], sides)}


def refuse_two_of_a_seed(runs: Runs) -> None:
    """Raises Ambiguous where two runs of one seed differ in something that nothing tells apart."""
    seeds = runs.each["seed"]
    twice = seeds[seeds.duplicated()]
    if len(twice):
        own = seeds.index[seeds == twice.iloc[0]]
        told = ", ".join(f"{key} ({', '.join(values)})" for key, values in differing(runs, own).items())
        raise Ambiguous(f"runs of seed {twice.iloc[0]} differ in {told or 'nothing that is known'}: name one of them")


def refuse_different_evaluations(runs: Runs, metric: str, batch: str) -> None:
    """Raises Ambiguous where one label stands for evaluations that differ, as by the radius of an attack."""
    whole = runs.whole

    def made() -> pd.DataFrame:  # once for all settings: the table may be long
        rows = (whole.table["metric"] == metric) & (whole.table["batch"] == batch)
        return whole.table.loc[rows, ["run", "point"]].drop_duplicates().astype(str)

    found = whole.once(("points", metric, batch), made)
    points = sorted(found.loc[found["run"].isin(runs.each.index), "point"].unique())
    if len(points) > 1:
        raise Ambiguous(f"{metric} on {batch}: evaluated in several ways: {'; '.join(points)}")
