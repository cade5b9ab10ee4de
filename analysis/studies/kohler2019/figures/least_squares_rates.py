"""Over learning rates what is left of the loss, or the steps to a low loss, and training at each arm's best rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curve, panel
from analysis.drawing.rates import RATE, at_best_rate, over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Arm, Setting, known_and_norms, plain
from analysis.studies.kohler2019.claims import APART, BATCH, LEFT, LEVEL, NONE, ONE_RATE, OWN_RATE, SHARE, STEPS

TITLE = "Least squares over learning rates (Kohler et al. 2019, Cai et al. 2019)"
CAPTION = (
    "Where a run comes down to a loss of 1e-10: training loss, each arm at the learning rate at which its lowest two "
    "seeds are quickest (beside it: which), and the steps to that loss over the rate, a run that never came there at "
    "its length. Elsewhere training loss at the end over that of the start; dotted: a tenth, below which a rate counts "
    "as one that trains. Median over seeds (thin: each seed)."
)
EXPECTED = (
    "Two lines of one slope, and as many steps at the best rate of each (KO1); with gamma at a rate of its own the "
    "loss lies below a tenth over decades more than without BN (KO2)."
)
FEWEST = 3
"""Learning rates, of a range."""


def _arm(of: Arm, optim: str, groups: Sequence[object] = ()) -> Arm:
    return Arm.of(of.name, {**dict(of.where), "optim": optim, "optim.groups": plain(list(groups))})


DRAWN = (_arm(NONE, "gd"), _arm(BATCH, "gd", OWN_RATE), _arm(ONE_RATE, "gd"), _arm(APART, "length_direction"))
"""The claims' arms, each by all the keys that any of them names, so that no run is of two."""


def compute(runs: Runs) -> Sheet:
    """Every setting of several learning rates."""
    found = drawn_settings(
        runs,
        arms=known_and_norms(runs, DRAWN),
        free=(RATE,),
        where=lambda setting: len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST,
    )
    columns = [column for setting in found.drawn for column in _columns(setting)]
    return found.sheet(columns, "no runs of several\nlearning rates")


def _columns(setting: Setting) -> list[Column]:
    if STEPS.bound(setting.runs).all():
        level = (f"{LEFT:g} of the start's", LEFT)
        left = over_rate(setting, "share of the loss left", SHARE, "log", levels=(level,))
        return [Column(setting, (left,), "over the learning rate")]
    steps = over_rate(setting, f"steps to a loss of {LEVEL:g}", STEPS, "log")
    return [
        Column(setting, (_training(setting),), "at the best rate of each"),
        Column(setting, (steps,), "over the learning rate"),
    ]


def _training(setting: Setting) -> Panel:
    curves, rates = [], []
    for arm in setting.names:
        own, rate = at_best_rate(setting, arm, by=STEPS)
        if rate is not None:
            curves.append(curve(arm, own.records("data_loss", "train"), setting))
            rates.append(f"{arm} at {rate:g}")
    made = panel("training loss", setting, scale="log", curves=tuple(curves), levels=((f"{LEVEL:g}", LEVEL),))
    return replace(made, notes=(*made.notes, "; ".join(rates))) if rates else made


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting, or two, on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.4)
