"""Claims about statistics of the batch, of running averages, and of a population."""

from __future__ import annotations

from analysis.across import slope
from analysis.claims import POINT, Claim, Comparison, Term, difference, more, value
from analysis.decide import Region
from analysis.decide.ranks import RankOverFamilies
from analysis.select import Arm
from analysis.studies.wu2021.own_measures import accuracy, discrepancy, gap, left_over, unsteadiness

_WU = "Wu & Johnson 2021"
_ABOUT = {"task": "classification"}
SIZES = (2, 4, 8, 16, 32)
OF_SIZE = {size: Arm.of(f"batches of {size}", {"norm": "batch", "optim.batch_size": size}) for size in SIZES}
OWN = Arm.of("the batch's to the end", {"norm": "batch", "norm.frozen_after": None})
FROZEN = {
    steps: Arm.of("frozen in the last tenth", {"norm": "batch", "norm.frozen_after": steps - steps // 10})
    for steps in (400, 40000)
}
"""By the length of the run: of the demo, and at full size."""
RANKED = 0.7
"""Rank correlation over sizes of the batch above which one measure goes with the other."""
SMALL = {**_ABOUT, "optim.batch_size": 4}


def _together(of: str) -> Comparison:
    measures = (discrepancy("mean" if of == "mean" else "deviation"), gap())
    terms = tuple(Term.of(arm, measure) for arm in OF_SIZE.values() for measure in measures)
    return Comparison(terms, Region(low=RANKED), RankOverFamilies(tuple(arm.name for arm in OF_SIZE.values())))


def _frozen(steps: int, frozen: Arm) -> tuple[Claim, Claim]:
    """Both claims about freezing, for training of so many steps."""
    about = {**SMALL, "steps": steps}
    of_size = "" if steps == min(FROZEN) else "b"
    return (
        Claim(
            name=f"WJ4{of_size}",
            statement="Where statistics are frozen in the last tenth, the function that trains is the one that is "
            f"tested: no gap is left to population statistics ({steps:,} steps).",
            source=f"{_WU}, section 4.2 (FrozenBN)",
            about=about,
            comparisons=(value(Term.of(frozen, left_over()), low=-POINT, high=POINT),),
            remark="A frozen network trains by its running statistics. The weights move on under them, so that they "
            "might have fallen behind.",
            experiment="wu2021/frozen",
        ),
        Claim(
            name=f"WJ5{of_size}",
            statement=f"A network whose statistics are frozen in the last tenth tests better ({steps:,} steps).",
            source=f"{_WU}, section 4.2 (FrozenBN)",
            about=about,
            comparisons=(
                difference(
                    Term.of(frozen, accuracy("running")), Term.of(OWN, accuracy("running")), low=0.0, smallest=POINT
                ),
            ),
            remark="On these test images.",
            experiment="wu2021/frozen",
            intervention=True,
        ),
    )


CLAIMS = (
    Claim(
        name="WJ1",
        statement="By precise statistics of a population the test loss is steadier from one evaluation to the next "
        "than by running averages.",
        source=f"{_WU}, section 3.2 and figure 2",
        about=_ABOUT,
        comparisons=(more(Term.of("batch", unsteadiness("running")), Term.of("batch", unsteadiness("population"))),),
        remark="Asked at each size of the batch apart. Both losses move with the weights, too. The weight of the "
        "newest batch in the averages is 0.1 throughout; how much steadier a smaller one is is not asked.",
        figure="modes_over_batch",
        experiment="wu2021/batches",
        intervention=True,
    ),
    Claim(
        name="WJ2",
        statement="The gap between the test accuracies by population statistics and in train mode is inversely "
        "proportional to the size of the batch.",
        source=f"{_WU}, section 4 and figure 4, which show that it falls; the power is ours",
        about=_ABOUT,
        comparisons=(value(Term.of("batch", slope(gap(), "optim.batch_size")), low=-1.3, high=-0.7),),
        remark="The training batch is the one that normalises, at one rate and number of steps; published is a fixed "
        "training batch, normalised in parts. A gap of none has no logarithm, and its seed no number.",
        figure="modes_over_batch",
        experiment="wu2021/batches",
        intervention=True,
    ),
    Claim(
        name="WJ3",
        statement="The gap goes with how far running statistics lie from those of the batch.",
        source="Wang et al. 2022, training-inference discrepancy",
        about=_ABOUT,
        comparisons=(_together("mean"), _together("deviation")),
        remark="Over sizes of the batch, which move both: no evidence of a cause.",
        figure="modes_over_batch",
        experiment="wu2021/batches",
        core=False,
    ),
    *(claim for steps, frozen in FROZEN.items() for claim in _frozen(steps, frozen)),
)
