"""Figure 3: internal covariate shift by Definition 2.1, l2 and cosine per layer, with accuracy or loss."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from analysis.drawing.compared import at_equal_loss
from analysis.drawing.draw import sized
from analysis.drawing.layers import LAYER_NOTE
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import TRAINING_ACCURACY, TRAINING_LOSS, unit_of
from analysis.drawing.settings import by_task, drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Levels, over_training
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.santurkar2018.figures._landscapes import layers_of
from analysis.studies.santurkar2018.grids import FOLLOWED, PLAIN

TITLE = "Figure 3: internal covariate shift as the change of gradients"
CAPTION = (
    "‖G − G′‖ (ideal 0) and cos(G, G′) (ideal 1) of a layer's weights when the layers before it have moved by the real "
    "update, on the same batch, with training accuracy or loss."
)
EXPECTED = (
    "With BN the shift is similar or larger (S7); in deep linear nets there is almost none without BN, and with BN G "
    "and G′ are almost uncorrelated (S8)."
)
ALL_LAYERS = over_training("ics_l2", name="‖G − G′‖ over layers", skip_first_layer=True, window=Levels())
"""What decides: the median over all layers but the first, at equal data loss."""
TOP = {"classification": TRAINING_ACCURACY, "regression": TRAINING_LOSS}


def compute(runs: Runs) -> Sheet:
    """Every setting; layers 5 and 10 of the VGG, 9 and 17 of the deep linear network, or those at their depth."""
    found = drawn_settings(runs, PLAIN)
    columns = tuple(Column(setting, _panels(runs, setting)) for setting in found.drawn)
    return found.sheet(columns, "no runs with or without BN\nare among these", [LAYER_NOTE])


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    made = [replace(by_task(TOP, setting).panel(runs, setting, PLAIN), context=True)]
    layers = layers_of(runs, "ics_l2", setting, by_task(FOLLOWED, setting))
    for name, metric, scale in (("‖G − G′‖", "ics_l2", "log"), ("cos(G, G′)", "ics_cosine", "cosine")):
        frame = of_setting(runs.records(metric), setting)
        for layer in layers:
            part = frame[frame["layer"] == layer.name]
            label = f"{name}, {layer.label}"
            made.append(panel(label, setting, PLAIN, unit=unit_of(part), scale=scale, curves=curves(part, setting)))
            if metric == "ics_l2" and setting.task == "classification":
                made[-1] = at_equal_loss(made[-1], setting, ALL_LAYERS)
        if not layers:
            made.append(panel(f"{name} of any layer", setting))
    return tuple(made)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
