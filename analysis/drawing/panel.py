"""What a panel shows: curves and bands over seeds, published curves beside them, or what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis import derived, statistics
from analysis.drawing.cells import Cells
from analysis.select import Setting

Scale = Literal["linear", "log", "accuracy", "cosine"]


@dataclass(frozen=True)
class Over:
    """What the horizontal axis counts: `column` in tables, `label` below the axis; `log`: on a logarithmic one."""

    column: str
    label: str
    log: bool = False


TRAINING = Over("step", "training step")


@dataclass(frozen=True)
class Divergence:
    """A run of a curve that diverged: at this step, where its last finite value was `value` (NaN: it has none)."""

    run: str
    step: float
    value: float


@dataclass(frozen=True)
class Curve:
    """One arm's values: steps, median, least and greatest [S], every run [R, S]; NaN: no value there.

    steps: of training, or of what else the panel is over. label: what tells it from other curves of the same arm;
    shade: its place among them in [0, 1].
    """

    norm: str
    steps: np.ndarray
    median: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    runs: tuple[str, ...]
    each: np.ndarray
    diverged: tuple[Divergence, ...] = ()
    label: str = ""
    shade: float | None = None


@dataclass(frozen=True)
class Band:
    """The extremes of one normalisation over something that is no seed (step lengths, percentiles), each a curve."""

    low: Curve
    high: Curve


@dataclass(frozen=True)
class PublishedCurve:
    """One published curve: steps [S], and its value (low and high are the same) or its band [S]."""

    panel: str
    norm: str
    steps: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Apart:
    """How far our curve, or one end of our band, lies from a published one, over the steps that both cover.

    Attributes:
        points: published points that ours covers.
        typical: the median over them of log10(our median / published), or (an axis that is not logarithmic) of the
            difference; NaN where there are none.
        within: the share of them that lies between our least and our greatest seed.
    """

    points: int
    typical: float
    within: float


@dataclass(frozen=True)
class Published:
    """A published curve and our median's distances from it: one number, or one for each end of a band."""

    curve: PublishedCurve
    distances: tuple[float, ...]
    ends: tuple[Apart, ...] = ()


@dataclass(frozen=True)
class Expected:
    """A line that a theory predicts: at steps [S] values [S]."""

    label: str
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Panel:
    name: str
    unit: str = ""
    scale: Scale = "linear"
    curves: tuple[Curve, ...] = ()
    bands: tuple[Band, ...] = ()
    published: tuple[Published, ...] = ()
    levels: tuple[tuple[str, float], ...] = ()  # horizontal lines: what they are, where
    expected: tuple[Expected, ...] = ()
    over: Over = TRAINING
    floor: float = 0.0  # of a logarithmic axis: what is below is rounding error
    windows: tuple[tuple[str, float, float], ...] = ()  # of an arm, from step to step: where it is compared
    notes: tuple[str, ...] = ()
    missing: str | None = None  # what is not there, where there is nothing to draw
    closed: bool = False  # whether the lines that a theory predicts go round, and are seen whole
    context: bool = False  # shown for orientation: a figure that has nothing else is empty
    cells: Cells | None = None  # a map, in place of curves

    @property
    def log(self) -> bool:
        return self.scale == "log"

    def all_curves(self) -> list[Curve]:
        return [*self.curves, *(end for band in self.bands for end in (band.low, band.high))]


# ---------------------------------------------------------------------------------------------------------- over seeds


def curve(
    norm: str,
    frame: pd.DataFrame,
    setting: Setting,
    label: str = "",
    shade: float | None = None,
    *,
    over: Over = TRAINING,
) -> Curve:
    """Median and extremes over the runs of a frame (run, step, value), all of one normalisation.

    Over training, runs that were looked at at different steps are interpolated between their own, and the median and
    the extremes end where the first of the finished runs was looked at last: beyond it they would be of fewer seeds.
    """
    own = frame[["run", "step", "value"]]
    table = statistics.between_steps(own) if over == TRAINING else statistics.by_run(own, ["step"])
    each = setting.runs.each
    last = own.groupby(own["run"].astype(str))["step"].max()
    ends = last[last.index.isin(each.index[each["state"] == "finished"])]
    whole = table.index <= (ends.min() if len(ends) and over == TRAINING else np.inf)
    summary = statistics.summarise(table.where(np.broadcast_to(whole[:, None], table.shape)))
    diverged = []
    for run, step in each.loc[(each["state"] == "diverged") & each.index.isin(table.columns), "diverged_at"].items():
        finite = table[run][np.isfinite(table[run])]
        diverged.append(Divergence(str(run), float(step), float(finite.iloc[-1]) if len(finite) else np.nan))
    return Curve(
        norm=norm,
        steps=table.index.to_numpy(),
        median=summary["centre"].to_numpy(),
        least=summary["low"].to_numpy(),
        greatest=summary["high"].to_numpy(),
        runs=tuple(table.columns),
        each=table.to_numpy().T,
        diverged=tuple(diverged),
        label=label,
        shade=shade,
    )


def _per_arm(frame: pd.DataFrame, setting: Setting) -> list[tuple[str, pd.DataFrame]]:
    arms = frame["run"].astype(str).map(setting.arm_of())
    return [(name, frame[arms == name]) for name in setting.names if (arms == name).any()]


def of_setting(frame: pd.DataFrame, setting: Setting, arm: str | None = None) -> pd.DataFrame:
    """The rows of a setting's runs, or of those of one arm."""
    return frame[frame["run"].isin(list(setting.arm_of()) if arm is None else list(setting.of.get(arm, ())))]


def curves(frame: pd.DataFrame, setting: Setting) -> tuple[Curve, ...]:
    """One curve per normalisation, of a frame (run, step, value)."""
    return tuple(curve(norm, part, setting) for norm, part in _per_arm(of_setting(frame, setting), setting))


def bands(frame: pd.DataFrame, setting: Setting) -> tuple[Band, ...]:
    """One band per normalisation: least and greatest value of each run and step; medians of both over runs."""
    ends = [_per_arm(derived.over_line(of_setting(frame, setting), how), setting) for how in ("min", "max")]
    return tuple(
        Band(curve(norm, low, setting), curve(norm, high, setting))
        for (norm, low), (_, high) in zip(*ends, strict=True)
    )


def drawable(values: np.ndarray, log: bool) -> np.ndarray:
    """Whether a value can be drawn on the axis."""
    return np.isfinite(values) & ((values > 0) | (not log))


def panel(name: str, setting: Setting, wanted: Sequence[str] = (), **parts: object) -> Panel:
    """A panel that says what it lacks: everything, or some of the normalisations that the figure is about."""
    made = Panel(name, **parts)  # type: ignore[arg-type]
    drawn = [c for c in made.all_curves() if drawable(c.each, made.log).any()]
    number = sum(setting.counts.values())
    where = "in this run" if number == 1 else f"in these {number} runs"
    if made.cells is not None and np.isfinite(made.cells.median).any():
        return made
    if not made.all_curves():
        return replace(made, missing=f"no {name} is recorded\n{where}")
    if not drawn:
        return replace(made, missing=f"no {'positive, ' if made.log else ''}finite {name}\n{where}")
    unseen = [name for name in setting.names if name not in {c.norm for c in drawn}]
    absent = [name for name in wanted if name not in setting.names]
    notes = [*made.notes]
    if unseen:
        notes.append(f"not recorded: {', '.join(unseen)}")
    if absent:
        notes.append(f"no run: {', '.join(absent)}")
    return replace(made, notes=tuple(notes))


def beside_published(made: Panel, curves: Sequence[PublishedCurve]) -> Panel:
    """The panel with published curves of the arms that it draws, and our medians' distances from them."""
    ours = {c.norm: (c,) for c in made.curves} | {b.low.norm: (b.low, b.high) for b in made.bands}
    shown = [c for c in curves if c.norm in ours]
    if made.missing or not shown:
        return made if made.missing else replace(made, notes=(*made.notes, "other setting: published curve not drawn"))
    found = []
    for one in shown:
        ends = zip(ours[one.norm], (one.low, one.high), strict=False)
        pairs = [*ends]
        apart = [statistics.distance(c.steps, c.median, one.steps, v, log=made.log) for c, v in pairs]
        found.append(Published(one, tuple(apart), tuple(_apart(c, one.steps, v, made.log) for c, v in pairs)))
    told = ", ".join(f"{p.curve.norm}\N{NO-BREAK SPACE}{'/'.join(f'{d:.2f}' for d in p.distances)}" for p in found)
    measure = "median |log₁₀ ratio|" if made.log else "mean |difference|"
    return replace(made, published=tuple(found), notes=(*made.notes, f"to published, {measure}: {told}"))


def _apart(ours: Curve, at: np.ndarray, published: np.ndarray, log: bool) -> Apart:
    """How far our curve lies from a published one: `at` its steps [P], and its values [P] there."""
    middle, least, greatest = (
        statistics.apart(ours.steps, values, at, published, log=log)
        for values in (ours.median, ours.least, ours.greatest)
    )
    covered = ~np.isnan(middle)
    points = int(covered.sum())
    if not points:
        return Apart(0, float("nan"), float("nan"))
    between = (least[covered] <= 0) & (greatest[covered] >= 0)
    return Apart(points, float(np.median(middle[covered])), float(between.mean()))
