"""The loss of all training samples over training, by normalisation and by the order of the data."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import curves, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import NORM, Arm, plain

TITLE = "The loss of all training samples, by the order of the data"
CAPTION = (
    "Data loss of the fixed batch, by its own statistics, before the update; median over seeds (thin: each seed). In "
    "this study the fixed batch is all training samples, looked at after every epoch."
)
EXPECTED = "With BN the data that were shuffled once end higher than those shuffled in every epoch (W1), else not (W2)."
ORDER, USUAL = "data.order", "reshuffled"


def compute(runs: Runs) -> Sheet:
    """Every setting that records the loss of the fixed batch; the usual order has no name of its own."""
    recorded = runs.recording("data_loss", "fixed")
    found = drawn_settings(runs, arms=_arms(runs), where=lambda setting: bool(recorded & set(setting.runs.each.index)))
    columns = []
    for setting in found.drawn:
        own = curves(runs.records("data_loss", "fixed"), setting)
        columns.append(Column(setting, (panel("loss of the fixed batch", setting, scale="log", curves=own),)))
    return found.sheet(columns, "no loss of a fixed batch\n(probes=losses)")


def _arms(runs: Runs) -> list[Arm]:
    found: dict[str, Arm] = {}
    for run in runs.each.index:
        norm, order = runs.label_of(run), runs.value(run, ORDER)
        where = {NORM: norm} if order is None else {NORM: norm, ORDER: order}
        name = norm if order in (None, USUAL) else f"{norm} ({plain(order).replace('_', ' ')})"
        found.setdefault(name, Arm.of(name, where))
    return list(found.values())


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
