"""Where in its training a run is: parts of its steps, and levels of its data loss.

What probes measured is known at the probed steps alone, and these lie where the schedule put them. So nothing is
averaged over probed steps: a probed value is interpolated linearly between them, to every step of a part of training,
or to levels of the data loss, and the median is taken over these.

**Progress** is the mini-batch's data loss before the update, as training recorded it: its median over five recorded
steps (at the ends over fewer, as many on either side, so that a loss that only falls stays as it is), then its least
value so far. A level is reached where this first comes down to it; between two probed steps the place is found, and the
value interpolated, on the logarithm of the loss. Outside the range that a run was probed in there is no number, and a
probed step between two recorded losses that lie more than one level apart has no progress: where it is, is not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from analysis.runs import Runs

Part = Literal["all", "early", "late", "learning", "learnt"]

LEARNT = 0.9
"""Of the mini-batch: the accuracy whose first step counts as trained."""
PART = 3
"""The first and the last part of training are this many-th of its steps."""
SMOOTHED_OVER = 5
"""Recorded steps over which the median of the data loss is taken."""
LEVELS_PER_OCTAVE = 4
FEWEST_STEPS = 8
"""Probed steps, of any window; fewer do not stand for it."""
SHARED = "data loss"
"""Key of a grid: the (seed, level) pairs that are compared, of all the levels of a window."""


@dataclass(frozen=True)
class Levels:
    """Equal progress: levels of the data loss, fixed beforehand and the same for every run, four in each factor of 2.

    Args:
        high, low: ends, in the unit of the loss. From 2.0 to 0.1 nats, ten classes go from just below chance (ln 10) to
            about 97 % accuracy.
    """

    high: float = 2.0
    low: float = 0.1

    @property
    def values(self) -> tuple[float, ...]:
        """The levels, falling, both ends included where they are levels."""
        count = math.floor(LEVELS_PER_OCTAVE * math.log2(self.high / self.low) + 1e-9)
        return tuple(self.high * 2 ** (-k / LEVELS_PER_OCTAVE) for k in range(count + 1))


Window: TypeAlias = Part | Levels


@dataclass(frozen=True)
class Curve:
    """One run's numbers at its probed steps, in their order; NaN are left out.

    Attributes:
        steps, values: where, and what.
        loss: logarithm of the progress at these steps, falling; NaN: not known.
        length: of the run, in steps.
        learnt: the first step with 90 % accuracy; NaN: none.
    """

    steps: np.ndarray
    values: np.ndarray
    loss: np.ndarray
    length: float
    learnt: float

    def inside(self, steps: np.ndarray, part: Part) -> np.ndarray:
        """Which of these steps belong to a part of training."""
        conditions: dict[Part, Callable[[], np.ndarray]] = {
            "all": lambda: np.ones(len(steps), bool),
            "early": lambda: steps <= self.length / PART,
            "late": lambda: steps >= self.length * (PART - 1) / PART,
            "learning": lambda: ~(steps > self.learnt),
            "learnt": lambda: steps > self.learnt,
        }
        return conditions[part]()

    def probed(self, window: Window, levels: Sequence[float] | None = None) -> int:
        """Number of probed steps in a window, or between the first and the last of some levels."""
        if not isinstance(window, Levels):
            return int(self.inside(self.steps, window).sum())
        levels = window.values if levels is None else levels
        if not levels:
            return 0
        high, low = math.log(max(levels)), math.log(min(levels))
        return int(((self.loss <= high + 1e-9) & (self.loss >= low - 1e-9)).sum())

    def over(self, window: Window, levels: Sequence[float] | None = None) -> float:
        """Median over the steps of a part, or over levels (of the window, or some of them).

        NaN where fewer than eight probed steps lie there, or a level was not reached.
        """
        if self.probed(window, levels) < FEWEST_STEPS:
            return math.nan
        if isinstance(window, Levels):
            found = np.array([self.at(level) for level in (window.values if levels is None else levels)])
        else:
            steps = np.arange(self.steps[0], self.steps[-1] + 1)
            found = np.interp(steps[self.inside(steps, window)], self.steps, self.values)
            found = found[~np.isnan(found)]  # between opposite infinities there is no number
        with np.errstate(invalid="ignore"):  # of opposite infinities
            return float(np.median(found))

    def at(self, level: float) -> float:
        """The value where the data loss first came down to a level; NaN: it did not, or only before the first probe."""
        goal, known = math.log(level), np.flatnonzero(~np.isnan(self.loss))
        loss, values = self.loss[known], self.values[known]
        below = np.flatnonzero(loss <= goal)
        if not len(below):
            return math.nan
        after = below[0]
        if loss[after] == goal:
            return float(values[after])
        if (
            after == 0 or known[after] > known[after - 1] + 1
        ):  # none before, or some between whose progress is not known
            return math.nan
        return float(np.interp(-goal, -loss[after - 1 : after + 1], values[after - 1 : after + 1]))


def curves(runs: Runs, rows: pd.DataFrame) -> dict[str, Curve]:
    """By run, of a frame (run, step, value) with one row a step."""
    rows = rows.dropna(subset="value").sort_values("step", kind="stable")
    known, learnt, lengths = progress(runs), learnt_at(runs), runs.steps
    found = {}
    for run, own in rows.groupby(rows["run"].astype(str), observed=True):
        name, steps = str(run), own["step"].to_numpy()
        at, loss = known.get(name, (np.array([]), np.array([])))
        here = progress_at(steps, at, loss)
        found[name] = Curve(steps, own["value"].to_numpy(dtype=float), here, lengths[name], learnt[name])
    return found


def progress(runs: Runs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By run: the recorded steps, and the logarithm of the progress at them; worked out once."""

    def make() -> dict[str, tuple[np.ndarray, np.ndarray]]:
        rows = runs.records("data_loss", "train").dropna(subset="value").sort_values("step", kind="stable")
        found = {}
        for run, own in rows.groupby(rows["run"].astype(str), observed=True):
            least = np.minimum.accumulate(smoothed(own["value"].to_numpy(dtype=float)))
            found[str(run)] = own["step"].to_numpy(), np.log(np.maximum(least, np.finfo(float).tiny))
        return found

    return runs.once("progress", make)


def progress_at(steps: np.ndarray, recorded: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The progress at any steps, interpolated between the recorded ones if these are at most one level apart."""
    if not len(recorded):
        return np.full(len(steps), np.nan)
    after = np.searchsorted(recorded, steps).clip(0, len(recorded) - 1)  # at a recorded step, that one
    before = np.where(recorded[after] == steps, after, after - 1).clip(0)
    coarse = loss[before] - loss[after] > math.log(2) / LEVELS_PER_OCTAVE + 1e-9
    return np.where(coarse, np.nan, np.interp(steps, recorded, loss, left=np.nan, right=np.nan))


def smoothed(values: np.ndarray) -> np.ndarray:
    """The median of each value and its neighbours, two on either side; at the ends as many as there are on both."""
    result, half = values.copy(), SMOOTHED_OVER // 2
    for reach in range(1, half + 1):
        if len(values) > 2 * reach:
            windows = np.lib.stride_tricks.sliding_window_view(values, 2 * reach + 1)
            result[reach : len(values) - reach] = np.median(windows, axis=1)
    return result


def learnt_at(runs: Runs) -> pd.Series:
    """By run: the first step whose mini-batch has 90 % accuracy; NaN: none, or no accuracy."""

    def make() -> pd.Series:
        rows = runs.records("accuracy", "train")
        steps = rows[rows["value"] >= LEARNT].groupby("run", observed=True)["step"].min()
        return steps.astype(float).reindex(runs.each.index)

    return runs.once("learnt_at", make)


def levels_of_all(window: Levels, arms: Sequence[tuple[Runs, Mapping[str, Curve]]]) -> list[tuple[int, float]]:
    """The (seed, level) pairs of a window that all the arms reach: where they can be compared at equal progress.

    Args:
        window: the levels that were fixed beforehand.
        arms: the runs of each, and what was measured of them.
    """
    sides = []
    for runs, found in arms:
        seeds = runs.each["seed"]
        sides.append(
            {
                (int(seeds[run]), level)
                for run, curve in found.items()
                if run in seeds.index
                for level in window.values
                if not math.isnan(curve.at(level))
            }
        )
    return sorted(set.intersection(*sides), key=lambda pair: (pair[0], -pair[1])) if sides else []
