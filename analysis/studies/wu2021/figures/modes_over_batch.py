"""The gap between train mode and testing, the discrepancy of the statistics, and the unsteadiness, over the batch."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.over_key import over_key
from analysis.drawing.panel import Over
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.studies.wu2021.own_measures import TRAIN_MODE, discrepancy, gap, unsteadiness

TITLE = "Training and testing by statistics of different batches"
CAPTION = (
    "Test accuracy by population statistics minus that in train mode; how far running statistics lie from the batch's "
    "at the end; and how much successive test losses differ by running statistics, over the same by a population's. "
    "All over the size of the batch, median over seeds (thin: each seed)."
)
EXPECTED = (
    "The gap falls as one over the batch (WJ2) and with the discrepancies (WJ3); successive test losses differ more by "
    "running statistics, above the line (WJ1)."
)
SIZE = "optim.batch_size"
OVER = Over("batch_size", "samples of a batch", log=True)


def _relative() -> Measure:
    running, precise = unsteadiness("running"), unsteadiness("population")

    def per_run(runs: Runs) -> pd.Series:
        return running.of(runs) / precise.of(runs)

    return Measure("unsteadiness, running / population", running.says, (*running.metrics, *precise.metrics), per_run)


def compute(runs: Runs) -> Sheet:
    """Every setting that was evaluated in train mode; first those with the most sizes of the batch."""
    recorded = runs.recording("accuracy", f"test, {TRAIN_MODE}")
    found = drawn_settings(
        runs,
        free=(SIZE,),
        where=lambda setting: bool(recorded & set(setting.runs.each.index)),
        first=lambda setting: len(grid_of(setting.runs, (SIZE,))[SIZE]) > 1,
    )
    columns = [
        Column(
            setting,
            (
                over_key(setting, "gap of the modes", gap(), SIZE, OVER, unit="fraction"),
                over_key(setting, "discrepancy of the mean", discrepancy("mean"), SIZE, OVER, scale="log", unit="1"),
                over_key(
                    setting, "discrepancy of the deviation", discrepancy("deviation"), SIZE, OVER, scale="log", unit="1"
                ),
                over_key(
                    setting,
                    "unsteadiness, running / population",
                    _relative(),
                    SIZE,
                    OVER,
                    scale="log",
                    unit="1",
                    levels=(("as steady", 1.0),),
                ),
            ),
        )
        for setting in found.drawn
    ]
    return found.sheet(columns, "no test set was evaluated\nin train mode")


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
