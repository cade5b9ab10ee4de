"""Figures 4, 10, 12 and 13 are one figure of four sets of runs."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis.figures._draw import sized
from analysis.figures._rows import landscape_panels, lengths_told
from analysis.figures._runs import Runs
from analysis.figures._settings import settings
from analysis.figures._sheet import Column, Sheet

CAPTION = (
    "Along −g on the step's own batch: [least, greatest] loss and gradient change ‖g′ − g‖ over the step lengths, and "
    "the largest ‖g′ − g‖ / ‖ηg‖ (effective β)."
)
BANDS = "band: least to greatest over the step lengths"


def landscape(runs: Runs, norms: Sequence[str], *, regression: bool) -> Sheet:
    """Loss band, gradient-predictiveness band and effective beta of these normalisations in every setting."""
    found = settings(runs, norms, regression=regression)
    columns, told = [], {}
    for setting in found.drawn:
        panels, words = landscape_panels(runs, setting, norms)
        columns.append(Column(setting, panels))
        told[setting.label] = words
    kind = "regression" if regression else "classification"
    nothing = f"no {kind} runs of {', '.join(norms)}\nare among these"
    return Sheet(tuple(columns), nothing, found.left_out, lengths_told(told))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, bands=BANDS)
