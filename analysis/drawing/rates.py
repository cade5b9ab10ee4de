"""Runs at several learning rates: what came out over the rate, and each arm at its best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.across import grid_of
from analysis.best import chosen_value
from analysis.drawing.over_key import over_key
from analysis.drawing.panel import Over, Panel, Scale
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Ambiguous, Setting
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
    unit: str = "",
) -> Panel:
    """The panel of a measure over the learning rate, one curve for each arm of a setting whose rate is free.

    Args:
        setting: whose runs.
        name: of the panel.
        measure: of single runs.
        scale: of the vertical axis.
        wanted: arms that the figure is about.
        levels: horizontal lines: what they are, where.
        unit: of the panel.
    """
    return over_key(
        setting, name, measure, RATE, OVER_RATE, wanted=tuple(wanted), scale=scale, levels=levels, unit=unit
    )


def at_best_rate(setting: Setting, arm: str, by: Measure = TEST_LOSS) -> tuple[Runs, float | None]:
    """The ended runs of one arm at its best rate, and that rate; all of them and None where no rate can be chosen.

    The rate is the one that claims choose (`analysis.best.best`), on the grid of all arms of the setting, but that
    one at the grid's end is drawn too; and where no pilot seed has the whole grid, of which a claim says nothing, the
    arm's own rates are the grid.

    Args:
        setting: in which the rate is free.
        arm: one of its arms.
        by: what is least at the best rate.
    """
    own = ended(setting.runs.only(setting.of[arm]))
    counted, _ = usable(own, by, arm)
    if not len(counted.each):  # none has ended, or recorded it
        return own, None
    rule = replace(chosen_value(by, RATE), fewest=1)  # of one rate there is nothing to judge, but something to draw
    for grid in (grid_of(setting.runs, (RATE,)), grid_of(counted, (RATE,))):
        try:
            found = rule.by_seed(counted, grid)["number"].dropna()
        except Ambiguous:
            return own, None
        if len(found):
            rate = float(found.iloc[0])
            return own.only([run for run in own.each.index if own.value(run, RATE) == rate]), rate
    return own, None
