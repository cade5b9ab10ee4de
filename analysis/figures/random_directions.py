"""Not shown in the paper: the landscape along random directions of the gradient's length, beside that along -g."""

from __future__ import annotations

import re

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures._draw import sized
from analysis.figures._landscapes import BANDS
from analysis.figures._rows import PLAIN, lengths_told, loss_unit, step_lengths, unit_of
from analysis.figures._runs import Runs
from analysis.figures._settings import Setting, settings
from analysis.figures._sheet import Column, Panel, Sheet, bands, panel

TITLE = "The landscape along random directions"
CAPTION = (
    "[least, greatest] loss and gradient change over the step lengths, along −g and along random directions of g's "
    "length (over all of these together)."
)
EXPECTED = "Random directions behave similarly: smoother with BN (S14; the paper says so without data)."
RANDOM = re.compile(r"_along_random_\d+$")


def compute(runs: Runs) -> Sheet:
    """Every setting with and without BN."""
    found = settings(runs, PLAIN)
    columns = tuple(Column(setting, _panels(runs, setting)) for setting in found.drawn)
    told = {setting.label: step_lengths(runs, "landscape_loss", setting)[1] for setting in found.drawn}
    return Sheet(columns, "no runs with or without BN\nare among these", found.left_out, lengths_told(told))


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    made = []
    for name, metric in (("loss", "landscape_loss"), ("‖g′ − g‖", "gradient_difference")):
        along, _ = step_lengths(runs, metric, setting)
        others = [m for m in runs.metrics() if m.startswith(metric) and RANDOM.search(m)]
        randomly = [step_lengths(runs, m, setting)[0] for m in others]
        frame = pd.concat(randomly) if randomly else along[:0]
        for where, part in (("along −g", along), ("along random", frame)):
            unit = loss_unit(runs, setting) if name == "loss" else unit_of(part)
            made.append(panel(f"{name} {where}", setting, PLAIN, unit=unit, scale="log", bands=bands(part, setting)))
    return tuple(made)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, bands=BANDS)
