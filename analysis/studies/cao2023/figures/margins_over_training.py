"""How unequal the margins of the training samples are over training, and how large."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, Scale, curves, of_setting, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Arm, Setting, known_and_others
from analysis.studies.cao2023.claims import BATCH, METRIC, NONE, UNIFORM, USUAL

TITLE = "How unequal the margins are, over training (Cao et al. 2023)"
CAPTION = (
    "Coefficient of variation of the training batch's margins (in this study the batch is the whole training set), "
    "dotted: 0.05; and their mean. Median over seeds (thin: each seed)."
)
EXPECTED = "With BN the upper curve goes on falling towards 0 (UM1, UM3); without, it stays (UM2)."
MEAN = "margin_mean"
CENTRE = {NONE: None, USUAL: True, BATCH: False}
DRAWN = tuple(Arm.of(arm.name, {"norm.center": centre, **dict(arm.where)}) for arm, centre in CENTRE.items())
"""The claims' arms, each by all the keys that any of them names."""


def compute(runs: Runs) -> Sheet:
    """Every setting that records margins."""
    recording = runs.recording(METRIC, "train")
    found = drawn_settings(
        runs, arms=known_and_others(runs, DRAWN), where=lambda setting: bool(recording & set(setting.runs.each.index))
    )
    level = (f"{UNIFORM:g}", UNIFORM)
    columns = [
        Column(
            setting,
            (
                _panel(runs, setting, METRIC, "variation of the margins", "log", (level,)),
                _panel(runs, setting, MEAN, "mean margin", "linear"),
            ),
        )
        for setting in found.drawn
    ]
    return found.sheet(columns, "no margins are recorded\n(probes=margins)")


def _panel(
    runs: Runs, setting: Setting, metric: str, name: str, scale: Scale, levels: tuple[tuple[str, float], ...] = ()
) -> Panel:
    frame = of_setting(runs.records(metric, "train"), setting)
    return panel(name, setting, scale=scale, curves=curves(frame, setting), levels=levels)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.3)
