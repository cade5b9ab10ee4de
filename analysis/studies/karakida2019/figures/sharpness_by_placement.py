"""The largest eigenvalue of the Hessian at initialisation over depth, by where batch normalisation stands."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.karakida2019.arms import ARMS, PARTS, placed
from analysis.studies.karakida2019.claims import SHARPNESS

TITLE = "The largest eigenvalue at initialisation, by where batch normalisation stands"
CAPTION = (
    "Largest eigenvalue of the Hessian of the training batch's loss at initialisation over the number of hidden "
    "layers, by where batch normalisation stands (above) and by which of its parts is there (below); median over seeds "
    "(thin: each seed)."
)
EXPECTED = (
    "It is lower with the output centred, not with it scaled (KA1), and lower with the output normalised than with the "
    "hidden layers (KA2)."
)
DEPTH = "model.depth"
OVER = Over("depth", "hidden layers")
NONE = ARMS[0].name
ROWS = {
    "largest eigenvalue, by placement": tuple(arm.name for arm in ARMS),
    "largest eigenvalue, by part": (NONE, *(arm.name for arm in PARTS)),
}


def compute(runs: Runs) -> Sheet:
    """Every setting of several depths that records the largest eigenvalue at initialisation."""
    recording = set(SHARPNESS.of(runs).dropna().index)
    found = drawn_settings(
        runs,
        arms=placed(runs),
        free=(DEPTH,),
        where=lambda setting: len({setting.runs.value(run, DEPTH) for run in recording & set(setting.arm_of())}) > 1,
    )
    columns = [Column(s, tuple(_panel(s, name, arms) for name, arms in ROWS.items())) for s in found.drawn]
    return found.sheet(columns, "no eigenvalues at initialisation\nof several depths")


def _panel(setting: Setting, name: str, wanted: tuple[str, ...]) -> Panel:
    part = setting.only([arm for arm in setting.names if arm in wanted] or setting.names)
    curves = []
    for arm in part.names:
        own = part.runs.only(part.of[arm])
        numbers = SHARPNESS.of(own).dropna()
        frame = pd.DataFrame(
            {
                "run": [f"seed {own.each['seed'][run]}" for run in numbers.index],
                "step": [own.value(run, DEPTH) for run in numbers.index],
                "value": numbers.to_numpy(),
            }
        ).dropna(subset="step")
        if len(frame):
            curves.append(curve(arm, frame, part, over=OVER))
    return panel(name, part, unit="loss/parameter²", scale="log", over=OVER, curves=tuple(curves))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
