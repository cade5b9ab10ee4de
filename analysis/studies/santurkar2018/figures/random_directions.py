"""Not shown in the paper: the landscape along random directions of the gradient's length, beside that along -g."""

from __future__ import annotations

import re

import pandas as pd
from matplotlib.figure import Figure

from analysis import derived
from analysis.drawing.compared import at_equal_loss
from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, bands, panel
from analysis.drawing.rows import lengths_told, loss_unit, unit_of
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Levels
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import smoothness
from analysis.studies.santurkar2018.figures._landscapes import BANDS, loss_along, step_lengths
from analysis.studies.santurkar2018.grids import PLAIN

TITLE = "The landscape along random directions"
CAPTION = (
    "[least, greatest] loss and gradient change over the step lengths, along −g and along random directions of g's "
    "length (over all of these together)."
)
EXPECTED = "Random directions behave similarly: smoother with BN (S14; the paper says so without data)."
AT_EQUAL_LOSS = smoothness("_along_random_0", window=Levels())
RANDOM = re.compile(r"_along_random_\d+$")


def compute(runs: Runs) -> Sheet:
    """Every setting with and without BN."""
    found = drawn_settings(runs, PLAIN)
    columns = tuple(Column(setting, _panels(runs, setting)) for setting in found.drawn)
    told = {setting.label: step_lengths(runs, "landscape_loss", setting)[1] for setting in found.drawn}
    return found.sheet(columns, "no runs with or without BN\nare among these", lengths_told(told), BANDS)


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    made = []
    name_of_loss, loss = loss_along(runs, setting)
    for name, metric in ((name_of_loss.partition(" along")[0], loss), ("‖g′ − g‖", "gradient_difference")):
        along, _ = step_lengths(runs, metric, setting)
        others = [m for m in runs.metrics() if m.startswith(metric) and RANDOM.search(m)]
        randomly = [step_lengths(runs, m, setting)[0] for m in others]
        frame = pd.concat(randomly) if randomly else along[:0]
        for where, part in (("along −g", along), ("along random", frame)):
            unit = loss_unit(runs, setting) if metric == loss else unit_of(part)
            ends = bands(derived.failing_is_infinite(part), setting)
            made.append(panel(f"{name} {where}", setting, PLAIN, unit=unit, scale="log", bands=ends))
            if where == "along random" and setting.task == "classification":
                made[-1] = at_equal_loss(made[-1], setting, AT_EQUAL_LOSS[metric == "gradient_difference"])
    return tuple(made)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
