"""Figure 11: the change of the gradient against the step length, coloured by training step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from analysis import derived, statistics
from analysis.drawing.axes import MAP, log_ticks, say, shaded
from analysis.drawing.display import PanelDisplay
from analysis.drawing.panel import drawable, of_setting
from analysis.drawing.ridges import shown_steps
from analysis.drawing.rows import unit_of
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import NO_NUMBERS, described
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.santurkar2018.grids import PLAIN
from analysis.style import in_order

TITLE = "Figure 11: gradient change against step length over training"
CAPTION = (
    "‖∇L(θ − ηg) − g‖ against η, one line per training step (median over seeds), early steps dark, late ones light."
)
EXPECTED = (
    "With BN the gradient changes slowly over a broad range of step lengths, also beyond those at which the plain "
    "network fails (S15, S16)."
)
STEPS = 25


@dataclass(frozen=True)
class Fan:
    """One arm in one setting: steps [S]; step lengths eta = c lr_t and medians of the difference over runs [S, E]."""

    setting: Setting
    norm: str
    unit: str
    steps: np.ndarray
    eta: np.ndarray
    median: np.ndarray
    runs: int

    @property
    def missing(self) -> str:
        """Why it cannot be drawn; else nothing."""
        if not drawable(self.median, True).any():
            return f"no gradient difference\nof {self.norm} here"
        return "" if np.isfinite(self.eta).any() else f"no learning rate of {self.norm}\nis recorded at these steps"

    def table(self) -> pd.DataFrame:
        """Long form: setting, norm, step, eta, median over runs, runs."""
        return pd.DataFrame(
            {
                **described(self.setting),
                "quantity": "gradient difference",
                "unit": self.unit,
                "norm": self.norm,
                "step": np.repeat(self.steps, self.eta.shape[1]),
                "eta": self.eta.ravel(),
                "median": self.median.ravel(),
                "runs": self.runs,
            }
        )


@dataclass(frozen=True)
class Fans:
    """All fans; `notes`: below them."""

    fans: tuple[Fan, ...]
    settings: tuple[Setting, ...]
    norms: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def empty(self) -> str:
        """What is missing where there is nothing to draw; else nothing."""
        if not self.settings:
            return "no runs with or without BN are among these"
        missing = [" ".join(fan.missing.split()) for fan in self.fans]
        return "" if not all(missing) else next(iter(missing), "no gradient difference is recorded in these runs")

    def table(self) -> pd.DataFrame:
        """The tables of all."""
        rows = [fan.table() for fan in self.fans]
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=NO_NUMBERS)

    def panels(self) -> list[PanelDisplay]:
        """Every fan, to be had alone."""
        return [PanelDisplay(fan.setting.label, fan.norm, partial(_draw_alone, fan), fan.table) for fan in self.fans]


def compute(runs: Runs) -> Fans:
    """Every setting with and without BN."""
    found = drawn_settings(runs, PLAIN)
    fans = []
    for setting in found.drawn:
        for norm in setting.names:
            frame = derived.along_line(of_setting(runs.records("gradient_difference"), setting, norm))
            if len(frame):
                fans.append(_fan(runs, setting, norm, frame))
    norms = in_order(norm for setting in found.drawn for norm in (*setting.names, *PLAIN))
    return Fans(tuple(fans), found.drawn, tuple(norms), found.notes)


def _fan(runs: Runs, setting: Setting, norm: str, frame: pd.DataFrame) -> Fan:
    frame = frame.assign(eta=derived.step_length(runs, frame))
    each = {x: statistics.between_steps(part[["run", "step", "value"]]) for x, part in frame.groupby("x")}
    table = pd.DataFrame({x: part.median(axis=1) for x, part in each.items()}).sort_index()
    table = table.iloc[shown_steps(table.index.to_numpy(), STEPS)]
    eta = frame.groupby(["step", "x"], observed=True)["eta"].median().unstack("x")  # noqa: PD010
    eta = eta.loc[table.index].to_numpy()
    return Fan(setting, norm, unit_of(frame), table.index.to_numpy(), eta, table.to_numpy(), frame["run"].nunique())


def draw(data: Fans, figure: Figure) -> None:
    """Settings as rows, normalisations as columns, on an empty figure with constrained layout, whose size is set."""
    if not data.settings:
        figure.set_size_inches(4.6, 1.5)
        say(figure.subplots(), "no runs with or without BN\nare among these")
        return
    rows, columns = len(data.settings), len(data.norms)
    figure.set_size_inches(max(4.2, 2.5 * columns + 0.9), 2.1 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False)
    found = {(id(fan.setting), fan.norm): fan for fan in data.fans}
    for i, setting in enumerate(data.settings):
        last = 1.0
        for j, norm in enumerate(data.norms):
            axis, fan = axes[i, j], found.get((id(setting), norm))
            axis.set_title(norm if i == 0 else "")
            if fan is None or fan.missing:
                say(axis, fan.missing if fan else f"no gradient difference\nof {norm} here")
                continue
            last = max(last, float(fan.steps[-1]))
            _draw_fan(fan, axis)
            if i == rows - 1:
                axis.set_xlabel("step length η")
        label = f"{setting.title}\n{setting.subtitle}\n‖g′ − g‖"
        axes[i, 0].set_ylabel(label)
        _bar(figure, list(axes[i]), last)
    if data.notes:
        figure.supxlabel("\n".join(data.notes), fontsize=8)


def _draw_fan(fan: Fan, axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for step, eta, values in zip(fan.steps, fan.eta, fan.median, strict=True):
        shown = np.where(drawable(values, True), values, np.nan)
        colour = shaded(step / max(1.0, float(fan.steps[-1])))
        axes.plot(eta, shown, color=colour, linewidth=0.9, marker="o", markersize=2, markeredgewidth=0)
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)


def _bar(figure: Figure | SubFigure, axes: list[Axes], last: float) -> None:
    mappable = ScalarMappable(Normalize(0, last), cmap=MAP)
    bar = figure.colorbar(mappable, ax=axes, label="training step", aspect=14, pad=0.01)
    bar.outline.set_visible(False)


def _draw_alone(fan: Fan, axes: Axes) -> None:
    axes.set_title(f"{fan.norm}\n{fan.setting.label}")
    if fan.missing:
        say(axes, fan.missing)
        return
    _draw_fan(fan, axes)
    axes.set(xlabel="step length η", ylabel="‖g′ − g‖")
    _bar(axes.figure, [axes], float(fan.steps[-1]))
