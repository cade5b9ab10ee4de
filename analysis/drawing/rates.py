"""Runs at several learning rates: what came out over the rate, and each arm at its best one."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.across import PILOTS, grid_of
from analysis.drawing.panel import Curve, Over, Panel, Scale, curve, panel
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import TEST_LOSS
from analysis.usable import ended, usable

RATE = "optim.lr"
OVER_RATE = Over("rate", "learning rate", log=True)


def over_rate(
    setting: Setting,
    name: str,
    measure: Measure,
    scale: Scale,
    wanted: Sequence[str] = (),
    levels: tuple[tuple[str, float], ...] = (),
) -> Panel:
    """The panel of a measure over the learning rate, one curve for each arm of a setting whose rate is free.

    Args:
        setting: whose runs.
        name: of the panel.
        measure: of single runs.
        scale: of the vertical axis.
        wanted: arms that the figure is about.
        levels: horizontal lines: what they are, where.
    """
    curves: list[Curve] = []
    notes: list[str] = []
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), measure, arm)
        notes += left
        numbers = measure.of(own).dropna()
        if len(numbers):
            seeds = [f"seed {own.each['seed'][run]}" for run in numbers.index]
            rates = [own.value(run, RATE) for run in numbers.index]
            frame = pd.DataFrame({"run": seeds, "step": rates, "value": numbers.to_numpy()})
            curves.append(curve(arm, frame, setting, over=OVER_RATE))
    return panel(
        name, setting, wanted, scale=scale, over=OVER_RATE, curves=tuple(curves), levels=levels, notes=tuple(notes)
    )


def at_best_rate(runs: Runs) -> tuple[Runs, float | None]:
    """The runs of one arm at the rate at which the lowest seeds have the least test loss, and that rate.

    As claims choose it (`analysis.across.best`), but that a rate at the grid's end is drawn too; None: no such number.
    """
    own = ended(runs)
    numbers, seeds = TEST_LOSS.of(own), own.each["seed"]
    pilots = set(sorted(set(seeds))[:PILOTS])
    rates = grid_of(own, (RATE,))[RATE]
    of_rate = {rate: own.only([run for run in own.each.index if own.value(run, RATE) == rate]) for rate in rates}
    told = {
        rate: numbers[[r for r in part.each.index if seeds[r] in pilots]].median() for rate, part in of_rate.items()
    }
    told = {rate: loss for rate, loss in told.items() if loss == loss}
    if not told:
        return own, None
    best = min(told, key=lambda rate: told[rate])
    return of_rate[best], float(best)
