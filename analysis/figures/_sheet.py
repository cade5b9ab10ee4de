"""What the compute halves hand to the draw halves: columns of panels of curves and bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis import published, statistics
from analysis.figures._settings import Setting
from analysis.style import in_order

Scale = Literal["linear", "log", "accuracy", "cosine"]


@dataclass(frozen=True)
class Divergence:
    """A run of a curve that diverged: at this step, where its last finite value was `value` (NaN: it has none)."""

    run: str
    step: float
    value: float


@dataclass(frozen=True)
class Curve:
    """One normalisation's values: steps, median, least and greatest [S], every run [R, S]; NaN: no value there.

    label: what tells it from other curves of the same normalisation; shade: its place among them in [0, 1].
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
class Published:
    """A published curve and our median's distances from it: one number, or one for each end of a band."""

    curve: published.PublishedCurve
    distances: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    name: str
    unit: str = ""
    scale: Scale = "linear"
    curves: tuple[Curve, ...] = ()
    bands: tuple[Band, ...] = ()
    published: tuple[Published, ...] = ()
    levels: tuple[tuple[str, float], ...] = ()  # horizontal lines: what they are, where
    floor: float = 0.0  # of a logarithmic axis: what is below is rounding error
    notes: tuple[str, ...] = ()
    missing: str | None = None  # what is not there, where there is nothing to draw

    @property
    def log(self) -> bool:
        return self.scale == "log"

    def all_curves(self) -> list[Curve]:
        return [*self.curves, *(end for band in self.bands for end in (band.low, band.high))]


@dataclass(frozen=True)
class Column:
    setting: Setting
    panels: tuple[Panel, ...]
    title: str = ""  # in front of the setting's


@dataclass(frozen=True)
class Sheet:
    """Columns of panels. `nothing`: what to say where there is none; `notes`: below all panels."""

    columns: tuple[Column, ...]
    nothing: str
    left_out: int = 0
    notes: tuple[str, ...] = ()
    norms: tuple[str, ...] = field(default=())

    def table(self) -> pd.DataFrame:
        """Long form: setting, quantity, unit, curve, norm, step; median, min, max, number of runs, each run."""
        rows = [row for column in self.columns for panel in column.panels for row in _rows(column, panel)]
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["quantity", "norm", "step"])


def _rows(column: Column, panel: Panel) -> list[pd.DataFrame]:
    start = {**column.setting.values, "column": column.title, "quantity": panel.name, "unit": panel.unit}
    ends = [("", curve) for curve in panel.curves]
    ends += [(which, end) for band in panel.bands for which, end in (("low", band.low), ("high", band.high))]
    rows = [
        pd.DataFrame(
            {
                **start,
                "curve": " ".join(filter(None, (curve.label, which))),
                "norm": curve.norm,
                "step": curve.steps,
                "median": curve.median,
                "min": curve.least,
                "max": curve.greatest,
                "runs": (~np.isnan(curve.each)).sum(axis=0),
                "diverged": len(curve.diverged),
                **{f"run_{i}": values for i, values in enumerate(curve.each)},
            }
        )
        for which, curve in ends
    ]
    for one in panel.published:
        ends_of = ("",) if len(one.distances) == 1 else ("low", "high")
        for which, values, distance in zip(ends_of, (one.curve.low, one.curve.high), one.distances, strict=False):
            about = {"curve": f"published {which}".strip(), "norm": one.curve.norm, "step": one.curve.steps}
            rows.append(pd.DataFrame({**start, **about, "median": values, "distance": distance}))
    return [row for row in rows if len(row)]


# ---------------------------------------------------------------------------------------------------------- over seeds


def curve(norm: str, frame: pd.DataFrame, setting: Setting, label: str = "", shade: float | None = None) -> Curve:
    """Median and extremes over the runs of a frame (run, step, value), all of one normalisation."""
    table = statistics.by_run(frame[["run", "step", "value"]], ["step"])
    summary = statistics.summarise(table)
    rows = setting.runs[(setting.runs["state"] == "diverged") & setting.runs["run"].isin(table.columns)]
    diverged = []
    for run, step in zip(rows["run"], rows["diverged_at"], strict=True):
        finite = table[run][np.isfinite(table[run])]
        diverged.append(Divergence(run, float(step), float(finite.iloc[-1]) if len(finite) else np.nan))
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


def _per_norm(frame: pd.DataFrame, setting: Setting) -> list[tuple[str, pd.DataFrame]]:
    frame = frame.assign(run=frame["run"].astype(str))
    norm_of = dict(zip(setting.runs["run"], setting.runs["norm"], strict=True))
    norms = frame["run"].map(norm_of)
    return [(norm, frame[norms == norm]) for norm in in_order(norms.dropna())]


def of_setting(frame: pd.DataFrame, setting: Setting, norm: str | None = None) -> pd.DataFrame:
    """The rows of a setting's runs, or of those of one normalisation."""
    return frame[frame["run"].isin(setting.of(norm) if norm is not None else setting.runs["run"])]


def curves(frame: pd.DataFrame, setting: Setting) -> tuple[Curve, ...]:
    """One curve per normalisation, of a frame (run, step, value)."""
    return tuple(curve(norm, part, setting) for norm, part in _per_norm(of_setting(frame, setting), setting))


def bands(frame: pd.DataFrame, setting: Setting) -> tuple[Band, ...]:
    """One band per normalisation: least and greatest value of each run and step; medians of both over runs."""
    extremes = over_x(of_setting(frame, setting))
    return tuple(
        Band(*(curve(norm, part.assign(value=part[end]), setting) for end in ("min", "max")))
        for norm, part in _per_norm(extremes, setting)
    )


def over_x(frame: pd.DataFrame) -> pd.DataFrame:
    """run, step, min, max of the values of each run and step; NaN is no value."""
    if not len(frame):
        return pd.DataFrame(columns=["run", "step", "min", "max"])
    return frame.groupby(["run", "step"], observed=True)["value"].agg(["min", "max"]).reset_index()


def drawable(values: np.ndarray, log: bool) -> np.ndarray:
    """Whether a value can be drawn on the axis."""
    return np.isfinite(values) & ((values > 0) | (not log))


def panel(name: str, setting: Setting, wanted: Sequence[str] = (), **parts: object) -> Panel:
    """A panel that says what it lacks: everything, or some of the normalisations that the figure is about."""
    made = Panel(name, **parts)  # type: ignore[arg-type]
    drawn = [c for c in made.all_curves() if drawable(c.each, made.log).any()]
    number = len(setting.runs)
    where = "in this run" if number == 1 else f"in these {number} runs"
    if not made.all_curves():
        return replace(made, missing=f"no {name} is recorded\n{where}")
    if not drawn:
        return replace(made, missing=f"no {'positive, ' if made.log else ''}finite {name}\n{where}")
    unseen = [norm for norm in setting.norms if norm not in {c.norm for c in drawn}]
    absent = [norm for norm in in_order(wanted) if norm not in setting.norms]
    notes = [*made.notes]
    if unseen:
        notes.append(f"not recorded: {', '.join(unseen)}")
    if absent:
        notes.append(f"no run: {', '.join(absent)}")
    return replace(made, notes=tuple(notes))


def beside_published(made: Panel, setting: Setting, key: str, *, log: bool) -> Panel:
    """The panel with the published curves of `key` where the setting is the paper's, with their distances."""
    shown = list(published.curves(key, setting.values["lr"])) if setting.published else []
    ours = {c.norm: (c,) for c in made.curves} | {b.low.norm: (b.low, b.high) for b in made.bands}
    rates = key.startswith("fig1") or setting.regression or setting.values["lr"] == 0.1
    shown = [c for c in shown if c.norm in ours and rates]
    if made.missing or not shown:
        return made if made.missing else replace(made, notes=(*made.notes, "other setting: published curve not drawn"))
    found = []
    for one in shown:
        ends = zip(ours[one.norm], (one.low, one.high), strict=False)
        apart = [published.distance(c.steps, c.median, one.steps, v, log=log) for c, v in ends]
        found.append(Published(one, tuple(apart)))
    told = ", ".join(f"{p.curve.norm}\N{NO-BREAK SPACE}{'/'.join(f'{d:.2f}' for d in p.distances)}" for p in found)
    measure = "median |log₁₀ ratio|" if log else "mean |difference|"
    return replace(made, published=tuple(found), notes=(*made.notes, f"to published, {measure}: {told}"))
