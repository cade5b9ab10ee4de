"""Ioffe & Szegedy (2015), figure 1: test accuracy, and what enters a sigmoid, over training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Band, Panel, curve, of_setting, panel
from analysis.drawing.rates import RATE, at_best_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.ioffe2015.figures._rates import PLAIN, arms
from analysis.studies.ioffe2015.own_measures import percentiles

TITLE = "Test accuracy and percentiles of a sigmoid's input over training (Ioffe & Szegedy 2015, figure 1)"
CAPTION = (
    "Each arm at its best learning rate. Above: test accuracy. Below, as in the paper's (b) and (c): 15th to 85th "
    "percentile (band) and median (line) of what enters a sigmoid of the last hidden layer, on a batch that stays the "
    "same; the first drawn unit of the lowest seed."
)
EXPECTED = "With BN the accuracy rises sooner and higher (I1), and the percentiles drift and jump less (I2)."


def compute(runs: Runs) -> Sheet:
    """Every setting with and without BN that records percentiles of what enters a sigmoid or tanh."""
    known = percentiles(runs)
    found = drawn_settings(
        runs,
        PLAIN,
        arms=arms(runs),
        free=(RATE,),
        where=lambda setting: bool(set(known) & set(setting.runs.each.index)),
        most=4,
    )
    columns = []
    for setting in found.drawn:
        best = {arm: at_best_rate(setting, arm) for arm in setting.names}
        columns.append(Column(setting, (_accuracy(runs, setting, best), *_bands(known, setting, best))))
    return found.sheet(
        columns, "no percentiles of what enters\na sigmoid are among these", bands="15th to 85th percentile"
    )


def _accuracy(runs: Runs, setting: Setting, best: dict[str, tuple[Runs, float | None]]) -> Panel:
    rows = of_setting(runs.records("accuracy", "test"), setting)
    curves, notes = [], []
    for arm, (own, rate) in best.items():
        frame = rows[rows["run"].isin(own.each.index)]
        if len(frame):
            curves.append(curve(arm, frame, setting))
            notes.append(f"{arm} at learning rate {rate:g}" if rate is not None else "")
    return panel(
        "test accuracy", setting, PLAIN, scale="accuracy", curves=tuple(curves), notes=tuple(filter(None, notes)),
        context=True,
    )  # fmt: skip


def _bands(
    known: Mapping[str, tuple[np.ndarray, np.ndarray]], setting: Setting, best: Mapping[str, tuple[Runs, float | None]]
) -> list[Panel]:
    made = []
    recorded = {arm: some for arm, some in best.items() if set(some[0].each.index) & set(known)}
    for arm, (own, _) in (recorded or best).items():
        seeds = own.each["seed"].sort_values(kind="stable")
        run = next((run for run in seeds.index if run in known), None)
        lines, spans = [], []
        if run is not None:
            steps, values = known[run]
            low, middle, high = (
                curve(arm, pd.DataFrame({"run": run, "step": steps, "value": values[:, 0, place]}), setting, label)
                for place, label in ((0, ""), (values.shape[2] // 2, "50th percentile"), (-1, ""))
            )
            lines, spans = [middle], [Band(low, high)]
        name = f"a sigmoid's input, {arm}"
        made.append(panel(name, setting.only([arm]), unit="activation", curves=tuple(lines), bands=tuple(spans)))
    return made


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
