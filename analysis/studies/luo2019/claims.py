"""Claims about statistics of the batch and of the population, and about a decay of gamma in place of the noise."""

from __future__ import annotations

from analysis.best import best
from analysis.claims import POINT, Claim, Term, difference, fraction, less, more
from analysis.measures import final
from analysis.studies.luo2019.arms import BATCH, DECAYED, DETACHED, POPULATION, STRENGTH

_SOURCE = "Luo et al. 2019"
_ABOUT = {"task": "classification"}
_LOSS, _ACCURACY = (final(metric, "test", statistics="whole_set") for metric in ("data_loss", "accuracy"))
LOSS, ACCURACY = (best(measure, "optim.lr", by=_LOSS) for measure in (_LOSS, _ACCURACY))
"""Of every arm by the statistics of the whole training set, so that all are the same kind of function."""
HALF = 0.5

CLAIMS = (
    Claim(
        name="PN1",
        statement="With few samples, training by the batch's statistics ends at a lower test loss than training by "
        "those of the whole training set.",
        source=f"{_SOURCE}, abstract and experiments with population normalisation",
        about=_ABOUT,
        comparisons=(
            less(Term.of(BATCH, LOSS), Term.of(POPULATION, LOSS)),
            difference(Term.of(BATCH, ACCURACY), Term.of(POPULATION, ACCURACY), low=0.0, smallest=POINT, decides=False),
        ),
        remark="The gradient goes through the statistics in both. Each arm at its own best rate, each size of batches "
        "apart.",
        figure="whose_statistics",
        experiment="luo2019/population",
        intervention=True,
    ),
    Claim(
        name="PN2",
        statement="A decay of gamma by one constant over M, added to the population's statistics, makes up for half or "
        "more of what the batch's statistics gain.",
        source=f"{_SOURCE}, abstract and its penalty on gamma",
        about=_ABOUT,
        comparisons=tuple(
            fraction(
                Term.of(decayed, LOSS),
                Term.of(BATCH, LOSS),
                Term.of(POPULATION, LOSS),
                high=HALF,
                about={"optim.batch_size": m},
            )
            for m, decayed in DECAYED.items()
        ),
        needs_first=("PN1",),
        remark=f"The decay (decay / 2) gamma^2, {STRENGTH:g}/M at every M, of the size that the theory gives; how much "
        "of the gap is left is judged. Where there is none there is nothing to make up for.",
        figure="whose_statistics",
        experiment="luo2019/population",
        intervention=True,
    ),
    Claim(
        name="PN3",
        statement="Where no gradient goes through the population's statistics, the test loss is higher than where it "
        "does.",
        source="for comparison: statistics that are constants, as moving averages are",
        about=_ABOUT,
        comparisons=(more(Term.of(DETACHED, LOSS), Term.of(POPULATION, LOSS)),),
        figure="whose_statistics",
        experiment="luo2019/detached",
        core=False,
        intervention=True,
    ),
)
