"""What figures over learning rates share: the arms of this paper, and each arm's best rate."""

from __future__ import annotations

from analysis.across import PILOTS, grid_of
from analysis.measures import Measure
from analysis.runs import Runs
from analysis.select import Arm, known_and_norms
from analysis.standard import TEST_LOSS
from analysis.studies.ioffe2015.claims.training import DEVIATION_DETACHED, MEAN_DETACHED
from analysis.usable import ended

RATE = "optim.lr"
PLAIN = ("none", "batch")
DETACHED = (MEAN_DETACHED, DEVIATION_DETACHED)
WANTED = (*PLAIN, *(arm.name for arm in DETACHED))


def arms(runs: Runs) -> list[Arm]:
    """Every normalisation of these runs, those with detached statistics under the names that claims give them."""
    return known_and_norms(runs, DETACHED)


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
