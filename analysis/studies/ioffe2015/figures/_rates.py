"""What figures over learning rates share: the arms of this paper, and each arm's best rate."""

from __future__ import annotations

from analysis.across import PILOTS, grid_of
from analysis.runs import Runs
from analysis.select import Arm
from analysis.standard import TEST_LOSS
from analysis.studies.ioffe2015.claims.training import DEVIATION_DETACHED, MEAN_DETACHED
from analysis.usable import ended

RATE = "optim.lr"
PLAIN = ("none", "batch")
DETACHED = (MEAN_DETACHED, DEVIATION_DETACHED)
WANTED = (*PLAIN, *(arm.name for arm in DETACHED))


def arms(runs: Runs) -> list[Arm]:
    """Every normalisation of these runs, those with detached statistics under the names that claims give them."""
    known = {run: arm for arm in DETACHED for run in arm.runs(runs)}
    found: dict[str, Arm] = {}
    for run in runs.each.index:
        label = runs.label_of(run)
        found.setdefault(label, known.get(run, Arm.norm(label)))
    return list(found.values())


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
