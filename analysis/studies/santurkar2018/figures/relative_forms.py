"""Not in the paper: its absolute quantities divided by the gradient's norm, by which they scale."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis import derived
from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, bands, curves, of_setting, panel
from analysis.drawing.rows import lengths_told, unit_of
from analysis.drawing.settings import by_task, drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.santurkar2018.figures._landscapes import BANDS, layers_of, step_lengths
from analysis.studies.santurkar2018.grids import FOLLOWED, NOISY

TITLE = "Relative forms: predictiveness and covariate shift per gradient norm"
CAPTION = (
    "‖g‖; the gradient's change divided by it and its cosine, over the step lengths; internal covariate shift divided "
    "by ‖G‖ in two layers."
)
EXPECTED = (
    "l2 differences scale with the gradient's norm: where the absolute forms and these disagree, its size is what was "
    "seen. A relative change above 1 means that the gradient predicts nothing."
)


def compute(runs: Runs) -> Sheet:
    """Every setting."""
    found = drawn_settings(runs, NOISY)
    columns, told = [], {}
    for setting in found.drawn:
        panels, words = _panels(runs, setting)
        columns.append(Column(setting, panels))
        told[setting.label] = words
    nothing = "no runs of none, BN or noisy BN\nare among these"
    return found.sheet(columns, nothing, lengths_told(told), BANDS)


def _panels(runs: Runs, setting: Setting) -> tuple[tuple[Panel, ...], str]:
    norms = of_setting(runs.records("gradient_norm", "train"), setting)
    norms = norms[norms["layer"].isna()]
    made = [panel("gradient norm ‖g‖", setting, unit=unit_of(norms), scale="log", curves=curves(norms, setting))]
    difference, told = step_lengths(runs, "gradient_difference", setting)
    relative = derived.relative(derived.failing_is_infinite(difference), norms)
    made.append(panel("‖g′ − g‖ / ‖g‖", setting, scale="log", bands=bands(relative, setting)))
    cosine, _ = step_lengths(runs, "gradient_cosine", setting)
    made.append(panel("cos(g′, g)", setting, scale="cosine", bands=bands(cosine, setting)))
    shift = of_setting(runs.records("ics_relative"), setting)
    for layer in layers_of(runs, "ics_relative", setting, by_task(FOLLOWED, setting)):
        part = shift[shift["layer"] == layer.name]
        name = f"‖G − G′‖ / ‖G‖, {layer.label}"
        made.append(panel(name, setting, scale="log", curves=curves(part, setting)))
    return tuple(made), told


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
