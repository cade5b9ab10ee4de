"""Biases before a normalisation, whose statistics are inside of the gradient step or outside, and the loss."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, Scale, curves, of_setting, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import median_over_layers
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.ioffe2015.figures._rates import WANTED, arms

TITLE = "Growth of the bias where statistics lie outside of the gradient step (Ioffe & Szegedy 2015, section 2)"
CAPTION = (
    "‖b‖ of the layers before a normalisation (median over layers), ‖∂L/∂b‖ over ‖∂L/∂W‖ of the same layers, and the "
    "training loss; median over seeds (thin: each seed)."
)
EXPECTED = (
    "With the mean outside of the gradient step the bias grows without bound, linearly where nothing else is trained "
    "(I7a), and on while the loss falls where all is (I7b); inside, the bias is idle and nothing pulls at it (I11)."
)
SHOWN: tuple[tuple[str, str, Scale], ...] = (
    ("‖b‖", "bias_norm", "linear"),
    ("‖∂L/∂b‖ / ‖∂L/∂W‖", "bias_gradient_share", "log"),
)


def compute(runs: Runs) -> Sheet:
    """Every setting that records biases."""
    there = set(runs.records("bias_norm", "train")["run"].astype(str))
    found = drawn_settings(
        runs, WANTED, arms=arms(runs), where=lambda setting: bool(there & set(setting.runs.each.index)), most=4
    )
    return found.sheet([Column(s, _panels(runs, s)) for s in found.drawn], "no biases are recorded\namong these")


def _panels(runs: Runs, setting: Setting) -> tuple[Panel, ...]:
    made = []
    there = set(runs.records("bias_norm", "train")["run"].astype(str))
    setting = setting.only([arm for arm in setting.names if there & set(setting.of[arm])])
    for name, metric, scale in SHOWN:
        rows = median_over_layers(of_setting(runs.records(metric, "train"), setting))
        made.append(panel(name, setting, scale=scale, curves=curves(rows, setting)))
    loss = of_setting(runs.records("data_loss", "train"), setting)
    made.append(panel("training loss", setting, scale="log", curves=curves(loss, setting), context=True))
    return tuple(made)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
