"""Test loss, test accuracy and training loss over the length of the perturbation, by what is perturbed."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, Scale, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.standard import ACCURACY, LOSS, TEST_LOSS
from analysis.studies.mueller2023.claims import ARMS, RADIUS
from analysis.usable import usable

TITLE = "Sharpness-aware minimisation over the length of the perturbation (Mueller et al. 2023)"
CAPTION = (
    "Test loss, test accuracy and training loss (the noise of labels in it), median of the last tenth, over the length "
    "of the perturbation of all parameters, of gamma and beta, or of all others; median over seeds (thin: each seed), "
    "not drawn where runs diverged. Dotted: length 0, gradient descent, median over the seeds of all arms."
)
EXPECTED = (
    "Somewhere the loss with gamma and beta perturbed lies below the dotted line (SN2), about as far as with all "
    "perturbed (SN3), and farther than with all others perturbed (SN4)."
)
OVER = Over("length", "length of the perturbation", log=True)
FEWEST = 3
"""Lengths that a line goes over."""


def compute(runs: Runs) -> Sheet:
    """Every setting of several lengths."""
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, ARMS),
        free=(RADIUS,),
        about={"task": "classification", "optim": "sam"},
        where=lambda setting: len(grid_of(setting.runs, (RADIUS,))[RADIUS]) >= FEWEST,
    )
    columns = [Column(setting, _panels(setting)) for setting in found.drawn]
    return found.sheet(columns, "no sharpness-aware minimisation\nwith several lengths")


def _panels(setting: Setting) -> tuple[Panel, ...]:
    return (
        _panel(setting, "final test loss", TEST_LOSS, "log"),
        _panel(setting, "final test accuracy", ACCURACY, "accuracy"),
        _panel(setting, "final training loss", LOSS, "log"),
    )


def _panel(setting: Setting, name: str, measure: Measure, scale: Scale) -> Panel:
    drawn: list[Curve] = []
    notes: list[str] = []
    descent: list[float] = []
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), measure, arm)
        notes += left
        numbers = measure.of(own).dropna()
        lengths = {run: float(own.value(run, RADIUS)) for run in numbers.index}
        descent += [numbers[run] for run, length in lengths.items() if length == 0]
        there = [run for run, length in lengths.items() if length > 0]
        if there:
            frame = pd.DataFrame(
                {
                    "run": [f"seed {own.each['seed'][run]}" for run in there],
                    "step": [lengths[run] for run in there],
                    "value": numbers[there].to_numpy(),
                }
            )
            drawn.append(curve(arm, frame, setting, over=OVER))
    levels = (("gradient descent", float(pd.Series(descent).median())),) if descent else ()
    return panel(name, setting, scale=scale, over=OVER, curves=tuple(drawn), levels=levels, notes=tuple(notes))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
