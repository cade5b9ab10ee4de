"""The loss along the gradient in the first steps of training, as far as it grows tenfold, over either length."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import derived
from analysis.drawing.draw import sized
from analysis.drawing.panel import Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.bjorck2018.own_measures import FIRST_STEPS, TENFOLD

TITLE = "How far a step can go in the first steps of training (Bjorck et al. 2018, figure 2)"
CAPTION = (
    "Data loss after a step against the gradient over that before it, median over the first eight steps of training, "
    "over the step's length as a multiple of the gradient; median over seeds (thin: each seed). Dotted: ten times the "
    "loss."
)
EXPECTED = "With BN the loss is tenfold only after steps more than ten times as long (BJ3)."
WANTED = ("none", "batch")
LENGTHS = Over("length", "step length, as a multiple of the gradient", log=True)
FAR = 10.0
"""Learning rates to which a line must reach, to be about steps that fail."""


def compute(runs: Runs) -> Sheet:
    """Every setting whose landscape reaches far beyond a step."""
    rows = derived.failing_is_infinite(derived.along_line(runs.records("landscape_data_loss", "train")))
    far = set(rows.loc[rows["x"] > FAR, "run"].astype(str))
    found = drawn_settings(runs, WANTED, where=lambda setting: bool(far & set(setting.runs.each.index)))
    rows = rows[rows["step"].isin(FIRST_STEPS)]
    columns = [Column(setting, (_panel(runs, rows, setting),)) for setting in found.drawn]
    return found.sheet(columns, "no landscape reaches\nfar beyond a step")


def _panel(runs: Runs, rows: pd.DataFrame, setting: Setting) -> Panel:
    own = rows[rows["run"].astype(str).isin(setting.arm_of())]
    own = derived.relative(own, runs.records("data_loss", "train"))
    own = own.assign(run=own["run"].astype(str), length=derived.step_length(runs, own))
    frame = own.groupby(["run", "length"])["value"].median().reset_index().rename(columns={"length": "step"})
    arms = frame["run"].map(setting.arm_of())
    # by seed, not by run: the step at which a run diverged has no place on an axis of lengths
    seeds = "seed " + frame["run"].map(setting.runs.each["seed"]).astype(str)
    frame = frame.assign(run=seeds, value=frame["value"].replace(np.inf, np.nan))
    drawn = [(name, frame[arms == name]) for name in setting.names]
    curves = tuple(curve(name, part, setting, over=LENGTHS) for name, part in drawn if len(part))
    level = (("ten times the loss", TENFOLD),)
    return panel(
        "loss / loss before", setting, WANTED, unit="1", scale="log", over=LENGTHS, curves=curves, levels=level
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
