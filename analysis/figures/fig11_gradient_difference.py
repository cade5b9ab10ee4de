"""Figure 11: the change of the gradient against the step length, coloured by training step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.figures._draw import MAP, log_ticks, say, shaded
from analysis.figures._ridges import shown_steps
from analysis.figures._rows import PLAIN, unit_of
from analysis.figures._runs import Runs
from analysis.figures._settings import Setting, settings
from analysis.figures._sheet import drawable, of_setting
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
    """One normalisation in one setting: steps [S], eta [E], median over its runs of the difference [S, E]."""

    setting: Setting
    norm: str
    unit: str
    steps: np.ndarray
    eta: np.ndarray
    median: np.ndarray
    runs: int


@dataclass(frozen=True)
class Fans:
    fans: tuple[Fan, ...]
    settings: tuple[Setting, ...]
    norms: tuple[str, ...]
    left_out: int

    def table(self) -> pd.DataFrame:
        """Long form: setting, norm, step, eta, median over runs, runs."""
        rows = [
            pd.DataFrame(
                {
                    **fan.setting.values,
                    "quantity": "gradient difference",
                    "unit": fan.unit,
                    "norm": fan.norm,
                    "step": np.repeat(fan.steps, len(fan.eta)),
                    "eta": np.tile(fan.eta, len(fan.steps)),
                    "median": fan.median.ravel(),
                    "runs": fan.runs,
                }
            )
            for fan in self.fans
        ]
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["quantity", "norm", "step"])


def compute(runs: Runs) -> Fans:
    """Every setting with and without BN."""
    found = settings(runs, PLAIN)
    fans = []
    for setting in found.drawn:
        for norm in setting.norms:
            frame = of_setting(runs.records("gradient_difference"), setting, norm)
            frame = frame[frame["x"] > 0]
            if len(frame):
                fans.append(_fan(setting, norm, frame))
    norms = in_order(norm for setting in found.drawn for norm in (*setting.norms, *PLAIN))
    return Fans(tuple(fans), found.drawn, tuple(norms), found.left_out)


def _fan(setting: Setting, norm: str, frame: pd.DataFrame) -> Fan:
    table = frame.groupby(["step", "x"], observed=True)["value"].median().unstack("x")  # noqa: PD010
    table = table.iloc[shown_steps(table.index.to_numpy(), STEPS)]
    eta = table.columns.to_numpy(dtype=float) * setting.values["lr"]
    runs = frame["run"].nunique()
    return Fan(setting, norm, unit_of(frame), table.index.to_numpy(), eta, table.to_numpy(), runs)


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
            if fan is None or not drawable(fan.median, True).any():
                say(axis, f"no gradient difference\nof {norm} here")
                continue
            last = max(last, float(fan.steps[-1]))
            axis.set_xscale("log")
            axis.set_yscale("log")
            for step, values in zip(fan.steps, fan.median, strict=True):
                shown = np.where(drawable(values, True), values, np.nan)
                colour = shaded(step / max(1.0, float(fan.steps[-1])))
                axis.plot(fan.eta, shown, color=colour, linewidth=0.9, marker="o", markersize=2, markeredgewidth=0)
            log_ticks(axis.xaxis)
            log_ticks(axis.yaxis)
            if i == rows - 1:
                axis.set_xlabel("step length η")
        label = f"{setting.title}\n{setting.subtitle}\n‖g′ − g‖"
        axes[i, 0].set_ylabel(label)
        mappable = ScalarMappable(Normalize(0, last), cmap=MAP)
        bar = figure.colorbar(mappable, ax=list(axes[i]), label="training step", aspect=14, pad=0.01)
        bar.outline.set_visible(False)
    if data.left_out:
        figure.supxlabel(f"{data.left_out} more settings are not drawn", fontsize=7)
