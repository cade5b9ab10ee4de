"""Test accuracy and training loss of mixed batches, of batches of one domain each, and of samples sorted by class."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, Scale, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Arm, Setting, plain
from analysis.standard import ACCURACY, LOSS
from analysis.studies.irpan2017.arms import IN_TURN, MIXED, ORDER
from analysis.studies.irpan2017.figures.accuracy_by_statistics import GROUPED
from analysis.usable import ended

TITLE = "Batches of one domain or class each: accuracy by the order of the samples"
CAPTION = (
    "Test accuracy by running statistics, and training loss, at the end: with mixed batches (1), with batches of one "
    "domain (or class) each, in turn (2), and with samples sorted by class (3); median over seeds (thin: each seed)."
)
EXPECTED = (
    "From 1 to 2 the accuracy falls with BN (PB8), with layer and group normalisation it does not (PB9), with others "
    "less (PB10), while the training loss stays; a discriminator with BN does not train in turns (PB12); sorting harms "
    "without BN too."
)
PLACES = {MIXED: 1, IN_TURN: 2, "sorted": 3}
OVER = Over("order", "1 mixed, 2 in turn, 3 sorted")
SHOWN: tuple[tuple[str, Measure, Scale], ...] = (
    ("final test accuracy", ACCURACY, "accuracy"),
    ("final training loss", LOSS, "log"),
)


def compute(runs: Runs) -> Sheet:
    """Every setting with batches in turn or sorted samples, beside mixed batches."""
    found = drawn_settings(
        runs,
        arms=[Arm.norm(label) for label in dict.fromkeys(runs.label_of(run) for run in runs.each.index)],
        free=(ORDER, GROUPED),
        about={"task": "classification"},
        where=lambda setting: len({place for run in setting.runs.each.index if (place := _place(setting, run))}) > 1,
    )
    columns = [Column(setting, tuple(_panel(setting, *shown) for shown in SHOWN)) for setting in found.drawn]
    return found.sheet(columns, "no batches of one domain or class each\nin these runs")


def _place(setting: Setting, run: str) -> int | None:
    return PLACES.get(plain(setting.runs.value(run, ORDER)))


def _panel(setting: Setting, name: str, measure: Measure, scale: Scale) -> Panel:
    curves: list[Curve] = []
    for arm in setting.names:
        own = ended(setting.runs.only(setting.of[arm]))
        numbers = measure.of(own).dropna()
        rows = [(f"seed {own.each['seed'][run]}", _place(setting, run), x) for run, x in numbers.items()]
        frame = pd.DataFrame([row for row in rows if row[1]], columns=["run", "step", "value"])
        frame = frame.drop_duplicates(["run", "step"], keep=False)  # sorted by class and by domain: neither
        if len(frame):
            curves.append(curve(arm, frame, setting, over=OVER))
    return panel(name, setting, scale=scale, over=OVER, curves=tuple(curves))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
