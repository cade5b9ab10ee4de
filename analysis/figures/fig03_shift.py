"""Figure 3: internal covariate shift by Definition 2.1, l2 and cosine per layer, with accuracy or loss."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures._draw import sized
from analysis.figures._rows import PLAIN, TRAINING_ACCURACY, TRAINING_LOSS, layers_of, unit_of
from analysis.figures._runs import Runs
from analysis.figures._settings import LAYER_NOTE, Setting, settings
from analysis.figures._sheet import Column, Panel, Sheet, curves, of_setting, panel

TITLE = "Figure 3: internal covariate shift as the change of gradients"
CAPTION = (
    "‖G − G′‖ (ideal 0) and cos(G, G′) (ideal 1) of a layer's weights when the layers before it have moved by the real "
    "update, on the same batch, with training accuracy or loss."
)
EXPECTED = (
    "With BN the shift is similar or larger (S7); in deep linear nets there is almost none without BN, and with BN G "
    "and G′ are almost uncorrelated (S8)."
)
LAYERS = {False: (5, 10), True: (9, 17)}


def compute(runs: Runs) -> Sheet:
    """Every setting; layers 5 and 10 of the VGG, 9 and 17 of the deep linear network, or those at their depth."""
    found = settings(runs, PLAIN)
    columns = tuple(Column(setting, _panels(runs, setting)) for setting in found.drawn)
    return Sheet(
        columns,
        "no runs with or without BN\nare among these",
        found.left_out,
        notes=(LAYER_NOTE,),
    )


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    top = TRAINING_LOSS if setting.regression else TRAINING_ACCURACY
    made = [top.panel(runs, setting, PLAIN)]
    layers = layers_of(runs, "ics_l2", setting, LAYERS[setting.regression])
    for name, metric, scale in (("‖G − G′‖", "ics_l2", "log"), ("cos(G, G′)", "ics_cosine", "cosine")):
        frame = of_setting(runs.records(metric), setting)
        for layer in layers:
            part = frame[frame["layer"] == layer.name]
            label = f"{name}, {layer.label}"
            made.append(panel(label, setting, PLAIN, unit=unit_of(part), scale=scale, curves=curves(part, setting)))
        if not layers:
            made.append(panel(f"{name} of any layer", setting))
    return tuple(made)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
