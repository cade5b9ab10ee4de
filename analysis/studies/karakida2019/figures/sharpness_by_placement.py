"""The largest eigenvalue of the Hessian at initialisation over depth, by where batch normalisation stands."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.over_key import over_key
from analysis.drawing.panel import Over, Panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.karakida2019.arms import NONE, PARTS, placed
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
OF_PARTS = {arm.name for arm in PARTS}


def compute(runs: Runs) -> Sheet:
    """Every setting of several depths that records the largest eigenvalue at initialisation."""
    recording = set(SHARPNESS.of(runs).dropna().index)
    found = drawn_settings(
        runs,
        arms=placed(runs),
        free=(DEPTH,),
        where=lambda setting: len({setting.runs.value(run, DEPTH) for run in recording & set(setting.arm_of())}) > 1,
    )
    columns = [Column(setting, _panels(setting)) for setting in found.drawn]
    return found.sheet(columns, "no eigenvalues at initialisation\nof several depths")


def _panels(setting: Setting) -> tuple[Panel, ...]:
    """All arms but those of one part of it; and these, where there are any, beside none."""
    parts = [arm for arm in setting.names if arm in OF_PARTS]
    shown = {
        "largest eigenvalue, by placement": [arm for arm in setting.names if arm not in parts],
        "largest eigenvalue, by part": [arm for arm in setting.names if arm in (NONE.name, *parts)] if parts else [],
    }
    return tuple(
        over_key(setting.only(arms), name, SHARPNESS, DEPTH, OVER, unit="loss/parameter²", scale="log")
        for name, arms in shown.items()
        if arms
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
