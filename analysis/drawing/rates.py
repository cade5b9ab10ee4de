"""Runs at several learning rates: what came out over the rate, and each arm at its best one."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.across import PILOTS, grid_of
from analysis.drawing.over_key import over_key
from analysis.drawing.panel import Over, Panel, Scale
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Setting
from analysis.standard import TEST_LOSS
from analysis.usable import ended

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
    return over_key(setting, name, measure, RATE, OVER_RATE, wanted=tuple(wanted), scale=scale, levels=levels)


def at_best_rate(runs: Runs, by: Measure = TEST_LOSS) -> tuple[Runs, float | None]:
    """The runs of one arm at the rate at which the lowest seeds have the least test loss, or what else, and that rate.

    As claims choose it (`analysis.across.best`), but that a rate at the grid's end is drawn too; None: no such number.
    """
    own = ended(runs)
    numbers, seeds = by.of(own), own.each["seed"]
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
