"""What trains at which learning rate: loss, test accuracy and steps to learn over the rate."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, Scale
from analysis.drawing.rates import RATE, over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import ACCURACY, LOSS, SPEED, TRAINS
from analysis.studies.ioffe2015.figures._rates import WANTED, arms

TITLE = "Training over the learning rate (Ioffe & Szegedy 2015, section 3.3)"
CAPTION = (
    "Training loss, test accuracy (both of the last tenth) and steps to 90 % training accuracy over the learning rate; "
    "median over seeds (thin: each seed). Dotted: the loss below which a run counts as trained."
)
EXPECTED = (
    "With BN the loss stays low up to far higher rates (I3), and the best rate learns faster and better (I1); with the "
    "mean outside of the gradient step only far lower rates train (I7c)."
)
SHOWN: tuple[tuple[str, Measure, Scale, tuple[tuple[str, float], ...]], ...] = (
    ("final training loss", LOSS, "log", (("trained", TRAINS),)),
    ("final test accuracy", ACCURACY, "accuracy", ()),
    ("steps to 90 % training accuracy", SPEED, "log", ()),
)


def compute(runs: Runs) -> Sheet:
    """Every setting with several learning rates."""
    found = drawn_settings(
        runs,
        WANTED,
        arms=arms(runs),
        free=(RATE,),
        about={"task": "classification"},
        where=lambda setting: len({setting.runs.value(run, RATE) for run in setting.runs.each.index}) > 2,
    )
    columns = [Column(setting, over_rates(setting, WANTED)) for setting in found.drawn]
    return found.sheet(columns, "no runs at several learning rates")


def over_rates(setting: Setting, wanted: tuple[str, ...] = ()) -> tuple[Panel, ...]:
    """The panels of `SHOWN`, over the learning rate."""
    return tuple(over_rate(setting, name, measure, scale, wanted, levels) for name, measure, scale, levels in SHOWN)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
