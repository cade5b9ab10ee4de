"""Not in the paper: its absolute quantities divided by the gradient's norm, by which they scale."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures._draw import sized
from analysis.figures._landscapes import BANDS
from analysis.figures._rows import layers_of, lengths_told, step_lengths, unit_of
from analysis.figures._runs import Runs
from analysis.figures._settings import Setting, settings
from analysis.figures._sheet import Column, Panel, Sheet, bands, curves, of_setting, panel

TITLE = "Relative forms: predictiveness and covariate shift per gradient norm"
CAPTION = (
    "‖g‖; the gradient's change divided by it and its cosine, over the step lengths; internal covariate shift divided "
    "by ‖G‖ in two layers."
)
EXPECTED = (
    "l2 differences scale with the gradient's norm: where the absolute forms and these disagree, its size is what was "
    "seen. A relative change above 1 means that the gradient predicts nothing."
)
LAYERS = {False: (5, 10), True: (9, 17)}
SHOWN = ("none", "batch", "noisy_batch")


def compute(runs: Runs) -> Sheet:
    """Every setting."""
    found = settings(runs, SHOWN)
    columns, told = [], {}
    for setting in found.drawn:
        panels, words = _panels(runs, setting)
        columns.append(Column(setting, panels))
        told[setting.label] = words
    nothing = "no runs of none, BN or noisy BN\nare among these"
    return Sheet(tuple(columns), nothing, found.left_out, lengths_told(told))


def _panels(runs: Runs, setting: Setting) -> tuple[tuple[Panel, ...], str]:
    norms = of_setting(runs.records("gradient_norm"), setting)
    norms = norms[norms["layer"].isna()]
    made = [panel("gradient norm ‖g‖", setting, unit=unit_of(norms), scale="log", curves=curves(norms, setting))]
    difference, told = step_lengths(runs, "gradient_difference", setting)
    relative = divided(difference, norms)
    made.append(panel("‖g′ − g‖ / ‖g‖", setting, scale="log", bands=bands(relative, setting)))
    cosine, _ = step_lengths(runs, "gradient_cosine", setting)
    made.append(panel("cos(g′, g)", setting, scale="cosine", bands=bands(cosine, setting)))
    shift = of_setting(runs.records("ics_relative"), setting)
    for layer in layers_of(runs, "ics_relative", setting, LAYERS[setting.regression]):
        part = shift[shift["layer"] == layer.name]
        name = f"‖G − G′‖ / ‖G‖, {layer.label}"
        made.append(panel(name, setting, scale="log", curves=curves(part, setting)))
    return tuple(made), told


def divided(frame: pd.DataFrame, norms: pd.DataFrame) -> pd.DataFrame:
    """The values of `frame` (run, step, x, value) over the norm of their run and step."""
    norms = norms[["run", "step", "value"]].drop_duplicates(["run", "step"]).rename(columns={"value": "norm"})
    joined = frame.assign(run=frame["run"].astype(str)).merge(
        norms.assign(run=norms["run"].astype(str)), on=["run", "step"]
    )
    return joined.assign(value=joined["value"] / joined["norm"])


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, bands=BANDS)
