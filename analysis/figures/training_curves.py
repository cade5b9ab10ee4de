"""Training and test accuracy and the training loss over training steps, one column of panels per setting.

The form of Santurkar et al. (2018), figures 1 (a), (b), 2 and 5. A setting is what is the same for all lines of a
column: data, model and learning rate, and what else differs between the runs (batch size, optimiser, ...). Training
accuracy and loss are those of the mini-batch of that step in train mode, before the update; nothing is smoothed.
Regression has no accuracy: its column shows the training and the test loss, on a logarithmic axis. After a run has
diverged, the median and the band are those of the runs that go on; the cross and the legend say so.
"""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from matplotlib.transforms import ScaledTranslation

from analysis import statistics
from analysis.style import in_order, norm_style

TITLE = "Accuracy and loss over training"

FEW = 5  # with fewer runs than this, each is drawn too
SETTING = ["data", "model", "lr"]
DIFFERING = ["optimiser", "batch_size", "weight_decay", "loss_reduction", "schedule", "numerics"]


@dataclass(frozen=True)
class Quantity:
    """A metric of the probe "training", as a row of panels."""

    name: str
    metric: str
    batch: str
    accuracy: bool = False


TRAINING_LOSS = Quantity("training loss", "loss", "train")
CLASSIFICATION = (
    Quantity("training accuracy", "accuracy", "train", accuracy=True),
    Quantity("test accuracy", "accuracy", "test", accuracy=True),
    TRAINING_LOSS,
)
REGRESSION = (TRAINING_LOSS, Quantity("test loss", "data_loss", "test"))


@dataclass(frozen=True)
class Divergence:
    """A run of a curve that diverged: at this step, where its last finite value was `value` (NaN: it has none)."""

    run: str
    step: float
    value: float


@dataclass(frozen=True)
class Curve:
    """One normalisation in one panel: steps, median, least and greatest [S], every run [R, S]; NaN: no value there."""

    norm: str
    steps: np.ndarray
    median: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    runs: tuple[str, ...]
    each: np.ndarray
    diverged: tuple[Divergence, ...]


@dataclass(frozen=True)
class Panel:
    quantity: Quantity
    unit: str
    log: bool
    curves: tuple[Curve, ...]
    missing: str | None  # what is not there, where there is nothing to draw


@dataclass(frozen=True)
class Setting:
    """One column. `runs`: how many per normalisation."""

    title: str
    subtitle: str
    values: dict[str, Any]
    panels: tuple[Panel, ...]
    runs: dict[str, int]
    diverged: dict[str, tuple[float, ...]]  # normalisation -> steps


@dataclass(frozen=True)
class TrainingCurves:
    settings: tuple[Setting, ...]

    def table(self) -> pd.DataFrame:
        """Long form: setting, quantity, unit, norm, step; median, min, max, number of runs with a value, each run."""
        rows = [
            pd.DataFrame(
                {
                    **setting.values,
                    "quantity": panel.quantity.name,
                    "unit": panel.unit,
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
            for setting in self.settings
            for panel in setting.panels
            for curve in panel.curves
        ]
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["quantity", "norm", "step"])


# -------------------------------------------------------------------------------------------------------------- compute


def compute(runs: pd.DataFrame) -> TrainingCurves:
    """The curves of all settings in a table as `analysis.load_runs` gives it; columns of other probes do not matter."""
    training = runs[(runs["probe"] == "training") & runs["metric"].isin(["accuracy", "loss", "data_loss"])]
    settings = []
    for _, alike in training.groupby(SETTING, observed=True, sort=True, dropna=False):
        differing = [name for name in DIFFERING if len(alike[name].unique()) > 1]
        parts = alike.groupby(differing, observed=True, dropna=False) if differing else [((), alike)]
        settings += [_setting(part, differing) for _, part in parts]
    return TrainingCurves(tuple(settings))


def _setting(runs: pd.DataFrame, differing: list[str]) -> Setting:
    values = {name: runs[name].iloc[0] for name in [*SETTING, *differing]}
    extra = "".join(f", {name.replace('_', ' ')} {_plain(values[name])}" for name in differing)
    regression = any(unit.startswith("squared error") for unit in runs["unit"].dropna().unique())
    panels = tuple(_panel(runs, quantity, regression) for quantity in (REGRESSION if regression else CLASSIFICATION))
    one_each = runs.drop_duplicates("run")
    if one_each.duplicated(["norm", "seed"]).any():  # an option that no column of the table shows
        extra += ", runs of one norm and seed that differ in other options taken together"
    return Setting(
        title=f"{values['model']} on {values['data']}",
        subtitle=f"learning rate {_plain(values['lr'])}{extra}",
        values=values,
        panels=panels,
        runs={str(norm): len(part) for norm, part in one_each.groupby("norm", observed=True)},
        diverged={
            str(norm): tuple(sorted(part["diverged_at"]))
            for norm, part in one_each[one_each["state"] == "diverged"].groupby("norm", observed=True)
        },
    )


def _panel(runs: pd.DataFrame, quantity: Quantity, log: bool) -> Panel:
    chosen = runs[(runs["metric"] == quantity.metric) & (runs["batch"] == quantity.batch)]
    curves = []
    for norm in in_order(chosen["norm"].astype(str)):
        rows = chosen[chosen["norm"] == norm]
        table = statistics.by_run(rows, ["step"])
        summary = statistics.summarise(table)
        diverged_at = rows[rows["state"] == "diverged"].drop_duplicates("run").set_index("run")["diverged_at"]
        diverged = []
        for run, step in diverged_at.items():
            finite = table[str(run)][np.isfinite(table[str(run)])]
            diverged.append(Divergence(str(run), float(step), float(finite.iloc[-1]) if len(finite) else np.nan))
        curves.append(
            Curve(
                norm=norm,
                steps=table.index.to_numpy(),
                median=summary["centre"].to_numpy(),
                least=summary["low"].to_numpy(),
                greatest=summary["high"].to_numpy(),
                runs=tuple(table.columns),
                each=table.to_numpy().T,
                diverged=tuple(diverged),
            )
        )
    number = runs["run"].nunique()
    where = "in this run" if number == 1 else f"in these {number} runs"
    missing = None
    if not curves:
        missing = f"no {quantity.name} is recorded\n{where}"
    elif not any(_drawable(curve.each, log).any() for curve in curves):
        missing = f"no {'positive, ' if log else ''}finite {quantity.name}\n{where}"
    return Panel(quantity, str(chosen["unit"].iloc[0]) if len(chosen) else "", log, tuple(curves), missing)


def _drawable(values: np.ndarray, log: bool) -> np.ndarray:
    return np.isfinite(values) & ((values > 0) | (not log))


def _plain(value: Any) -> str:
    return re.sub(r"e([+-])0", r"e\1", f"{value:g}") if isinstance(value, float | np.floating) else str(value)


# ----------------------------------------------------------------------------------------------------------------- draw

WIDTH, HEIGHT = 3.1, 5.2  # of a column, inches
COLUMNS = 4  # side by side; more settings go below
ENTRY = 1.03  # of the legend, inches
ROWS = 6  # of the grid: two or three panels fill them


def draw(data: TrainingCurves, figure: Figure) -> None:
    """Draws every setting as a column of panels on an empty figure with constrained layout, whose size is set."""
    if not data.settings:
        figure.set_size_inches(WIDTH * 1.5, HEIGHT / 3)
        _say(figure.subplots(), "no records of the probe 'training'\nin these runs")
        return
    bands = math.ceil(len(data.settings) / COLUMNS)
    columns = math.ceil(len(data.settings) / bands)
    norms = in_order(norm for setting in data.settings for norm in setting.runs)
    width = max(WIDTH * columns, 3.6)
    figure.set_size_inches(width, HEIGHT * bands + 0.6)
    grid = figure.add_gridspec(ROWS * bands, columns)
    for i, setting in enumerate(data.settings):
        _draw_setting(setting, grid, ROWS * (i // columns), i % columns, figure)
    handles = [Line2D([], [], **norm_style(norm).line(), label=norm) for norm in norms]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=math.ceil(len(norms) / math.ceil(len(norms) * ENTRY / width)),
        title=_explained(data),
    )


def _explained(data: TrainingCurves) -> str:
    counts = {count for setting in data.settings for count in setting.runs.values()}
    if counts == {1}:
        return "one run each"
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    thin = "; thin: each seed" if min(counts) < FEW else ""
    return f"{statistics.describe()} ({seeds} seeds){thin}"


def _draw_setting(setting: Setting, grid: GridSpec, top: int, column: int, figure: Figure) -> None:
    axes: list[Axes] = []
    height = ROWS // len(setting.panels)
    for i, panel in enumerate(setting.panels):
        place = grid[top + i * height : top + (i + 1) * height, column]
        axis = figure.add_subplot(place, sharex=axes[0] if axes else None)
        axes.append(axis)
        _draw_panel(panel, axis)
        axis.tick_params(labelbottom=i == len(setting.panels) - 1)
    subtitle = textwrap.fill(setting.subtitle, 44)
    above: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    gap = 6 + 8 * bool(_note(setting.panels[0]))
    axes[0].set_title(setting.title, pad=gap + 12 + 10 * subtitle.count("\n"))
    axes[0].annotate(subtitle, (0.5, 1), (0, gap), ha="center", **above)
    for axis, panel in zip(axes, setting.panels, strict=True):
        axis.annotate(_note(panel), (0, 1), (3, 1), ha="left", color="#777777", fontsize="x-small", **above)
    axes[-1].set_xlabel("training step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    if setting.diverged:
        handles = [
            Line2D([], [], linestyle="", label=_divergence(norm, steps, setting.runs[norm]), **_cross(norm))
            for norm, steps in sorted(setting.diverged.items(), key=lambda item: in_order(setting.runs).index(item[0]))
        ]
        below = axes[-1].legend(handles=handles, loc="upper center", handlelength=1.2, borderaxespad=0)
        # 30 points below the axis, under the ticks' and the axis' labels, whatever the height of the panel.
        below.set_bbox_to_anchor((0.5, 0), axes[-1].transAxes + ScaledTranslation(0, -30 / 72, figure.dpi_scale_trans))


def _note(panel: Panel) -> str:
    """What the unit says after its name, such as over what a loss is a mean; the axis' label has no room for it."""
    return panel.unit.partition(", ")[2]


def _divergence(norm: str, steps: tuple[float, ...], runs: int) -> str:
    first = f"{'first ' if len(steps) > 1 else ''}at step {min(steps):,.0f}"
    return f"{norm}: {len(steps)} of {runs} diverged, {first}"


def _cross(norm: str) -> dict[str, Any]:
    return {"marker": "X", "markersize": 7, "color": norm_style(norm).colour, "markeredgecolor": "white"}


def _draw_panel(panel: Panel, axes: Axes) -> None:
    label, unit = panel.quantity.name, panel.unit.partition(", ")[0]
    axes.set_ylabel(label if panel.quantity.accuracy or not unit else f"{label} ({unit})")
    if panel.missing:
        _say(axes, panel.missing)
        return
    if panel.log:
        axes.set_yscale("log")
    limits = _limits(panel)
    for order, curve in enumerate(panel.curves):
        style = norm_style(curve.norm)
        centre, low, high = (
            np.where(_drawable(v, panel.log), v, np.nan) for v in (curve.median, curve.least, curve.greatest)
        )
        if len(curve.runs) > 1:
            axes.fill_between(curve.steps, low, high, color=style.colour, alpha=0.13, linewidth=0)
            if len(curve.runs) < FEW:
                each = np.where(_drawable(curve.each, panel.log), curve.each, np.nan)
                axes.plot(curve.steps, each.T, color=style.colour, linewidth=0.5, alpha=0.45)
        every = max(1, len(curve.steps) // 6)
        # Markers of different lines stand at different steps, so that none hides another.
        start = order * every // max(1, len(panel.curves)) if len(curve.steps) > 6 else 0
        axes.plot(curve.steps, centre, **style.line(), markevery=(start, every), markeredgecolor="white")
    axes.set_ylim(*limits)
    bottom, top = axes.get_ylim()
    for curve in panel.curves:
        for divergence in curve.diverged:
            fallback = bottom if panel.quantity.accuracy else top
            value = divergence.value if _drawable(np.array(divergence.value), panel.log) else fallback
            axes.plot(divergence.step, min(max(value, bottom), top), **_cross(curve.norm), clip_on=False, zorder=5)
    if panel.quantity.accuracy:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _limits(panel: Panel) -> tuple[float | None, float | None]:
    """Accuracy from 0 to 1. A loss that went off before its run diverged does not squeeze the other lines."""
    if panel.quantity.accuracy:
        return 0.0, 1.02
    tame = [curve.each[[run not in {d.run for d in curve.diverged} for run in curve.runs]] for curve in panel.curves]
    values = np.concatenate([part.ravel() for part in tame])
    values = values[_drawable(values, panel.log)]
    if not len(values):
        return None, None
    if panel.log:
        return None, float(values.max()) * 1.3
    return min(0.0, float(values.min())), float(values.max()) * 1.05 or 1.0


def _say(axes: Axes, text: str) -> None:
    axes.set_facecolor("#f7f7f7")
    axes.set_yticks([])
    axes.tick_params(bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    wrapped = "\n".join(textwrap.fill(line, 40) for line in text.splitlines())
    axes.text(0.5, 0.5, wrapped, transform=axes.transAxes, ha="center", va="center", color="#666666", style="italic")
