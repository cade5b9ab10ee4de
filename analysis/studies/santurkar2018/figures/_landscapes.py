"""Figures 4, 10, 12 and 13 are one figure of four sets of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import derived
from analysis.drawing.compared import at_equal_loss
from analysis.drawing.draw import sized
from analysis.drawing.layers import ShownLayer, layers_at
from analysis.drawing.panel import Panel, bands, curves, of_setting, panel
from analysis.drawing.rows import lengths_told, loss_unit, unit_of
from analysis.drawing.rows import step_lengths as _step_lengths
from analysis.drawing.settings import by_task, drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Levels
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import smoothness
from analysis.studies.santurkar2018.grids import DEPTH, STEP_LENGTHS
from analysis.studies.santurkar2018.published_curves import beside, is_published

CAPTION = (
    "Along −g on the step's own batch: [least, greatest] loss and gradient change ‖g′ − g‖ over the step lengths, and "
    "the largest ‖g′ − g‖ / ‖ηg‖ (effective β)."
)
_ENDS = (STEP_LENGTHS["classification"][0], STEP_LENGTHS["classification"][-1])
BANDS = "band: least to greatest over the step lengths"


def step_lengths(runs: Runs, metric: str, setting: Setting) -> tuple[pd.DataFrame, str]:
    """The rows of a landscape metric on the paper's grid, or else on all of the recorded one; and which it is."""
    return _step_lengths(runs, metric, setting, by_task(STEP_LENGTHS, setting))


def paper_layers(names: Sequence[str], numbers: Sequence[int], setting: Setting) -> list[ShownLayer]:
    """Our layers at the depths of the paper's `numbers`."""
    return layers_at(names, numbers, by_task(DEPTH, setting))


def layers_of(runs: Runs, metric: str, setting: Setting, numbers: Sequence[int]) -> list[ShownLayer]:
    """Our layers for the paper's numbers, among those that a metric is recorded for."""
    frame = of_setting(runs.records(metric), setting)
    return paper_layers(list(frame["layer"].dropna().unique()), numbers, setting)


def loss_along(runs: Runs, setting: Setting) -> tuple[str, str]:
    """Name and metric of the loss along the step: without the penalty, but beside the published one, which has it."""
    recorded = len(of_setting(runs.records("landscape_data_loss"), setting)) > 0
    if recorded and not is_published(setting):
        return "data loss along −g", "landscape_data_loss"
    return "loss along −g", "landscape_loss"


def landscape_panels(
    runs: Runs, setting: Setting, wanted: Sequence[str], published: Sequence[str]
) -> tuple[tuple[Panel, ...], str]:
    """Loss band, gradient-predictiveness band, effective beta: figures 4, 10, 12 and 13; and the step lengths.

    published: names of the published panels that stand beside these three; empty: there are none.
    """
    panels = []
    told = ""
    for name, metric in (loss_along(runs, setting), ("difference ‖g′ − g‖", "gradient_difference")):
        frame, words = step_lengths(runs, metric, setting)
        frame, told = derived.failing_is_infinite(frame), told or words
        unit = unit_of(frame) if metric == "gradient_difference" else loss_unit(runs, setting)
        panels.append(panel(name, setting, wanted, unit=unit, scale="log", bands=bands(frame, setting)))
    frame, _ = step_lengths(runs, "effective_beta", setting)
    largest = derived.over_line(frame, "max")
    panels.append(
        panel("effective β", setting, wanted, unit=unit_of(frame), scale="log", curves=curves(largest, setting))
    )
    if setting.task == "classification":
        measures = smoothness(grid=_ENDS, window=Levels())
        panels = [at_equal_loss(made, setting, measure) for made, measure in zip(panels, measures, strict=True)]
    if published:
        panels = [beside(made, setting, key) for made, key in zip(panels, published, strict=True)]
    return tuple(panels), told


def landscape(runs: Runs, norms: Sequence[str], about: Mapping[str, Any], published: Sequence[str] = ()) -> Sheet:
    """Loss band, gradient-predictiveness band and effective beta of these normalisations in every setting."""
    found = drawn_settings(runs, norms, about=about, first=is_published)
    columns, told = [], {}
    for setting in found.drawn:
        panels, words = landscape_panels(runs, setting, norms, published)
        columns.append(Column(setting, panels))
        told[setting.label] = words
    nothing = f"no {about['task']} runs of {', '.join(norms)}\nare among these"
    return found.sheet(columns, nothing, lengths_told(told), BANDS)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
