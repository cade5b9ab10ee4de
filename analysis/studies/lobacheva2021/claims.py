"""Claims about periodic behaviour with normalisation and weight decay, and about regimes on the sphere."""

from __future__ import annotations

from dataclasses import replace

from analysis.claims import Claim, Comparison, Term, count, value
from analysis.select import Arm
from analysis.studies.lobacheva2021.own_measures import FEWEST, at_minimum, jumps, period

_LOBACHEVA, _KODRYAN = "Lobacheva et al. 2021", "Kodryan et al. 2022"
RATE, DECAY = "optim.lr", "optim.weight_decay"
PAIRS = ((0.25, 0.002), (0.5, 0.001), (0.5, 0.002))
"""Learning rate, weight decay."""
FIXED = "model.fixed_output"
INVARIANT = Arm.of("scale-invariant", {"norm": "batch", "norm.affine": False, "norm.eps": 1e-12, FIXED: 10.0})
PLAIN = Arm.of("plain", {"norm": "none", FIXED: None})
_DESCENT = {"optim": "sgd", "optim.momentum": 0.0, "optim.schedule": "constant", "optim.batch_size": 64}
PERIOD = (0.8, 2.0)
"""Over 1 / (2 lr decay)."""
AT_MINIMUM = 0.7
"""Of a run's jumps."""
_JUMPS = jumps()


def _in_each(made: Comparison) -> tuple[Comparison, ...]:
    """Asked at each pair of rate and decay, a setting of its own."""
    return tuple(replace(made, about={RATE: rate, DECAY: decay}) for rate, decay in PAIRS)


CLAIMS = (
    Claim(
        name="LB1",
        statement="With batch normalisation and weight decay the training loss of a scale-invariant network jumps, "
        "again and again.",
        source=f"{_LOBACHEVA}, section 4 and figure 1",
        about=_DESCENT,
        comparisons=_in_each(count(Term.of(INVARIANT, _JUMPS), "jumps thrice", FEWEST - 0.5, low=0.5)),
        remark="In ten time scales 1 / (2 lr decay). Beyond a product of rate and decay of about 0.01 nothing "
        "could jump so. At 0.5 and 0.002 seed 20 was seen to jump eight times.",
        figure="periodic_jumps",
        experiment="lobacheva2021/jumps",
    ),
    Claim(
        name="LB2",
        statement="From jump to jump it takes about the time 1 / (2 lr decay), by which weights are shortened e-fold.",
        source=f"{_LOBACHEVA}, section 4 and appendix: the period falls as lr and decay grow",
        about=_DESCENT,
        comparisons=_in_each(value(Term.of(INVARIANT, period()), low=PERIOD[0], high=PERIOD[1])),
        remark="Between 0.8 and 2 times, as plain scripts had seen; of seed 20 1.05 was seen.",
        figure="periodic_jumps",
        experiment="lobacheva2021/jumps",
        needs_first=("LB1",),
    ),
    Claim(
        name="LB3",
        statement="Each jump comes where the weights are shortest.",
        source=f"{_LOBACHEVA}, section 4: phases A, B and C of a period",
        about=_DESCENT,
        comparisons=_in_each(value(Term.of(INVARIANT, at_minimum()), low=AT_MINIMUM)),
        remark="Of seven in ten of a run's jumps at the least: of all three, or of three in four. Of seed 20 all did.",
        figure="periodic_jumps",
        experiment="lobacheva2021/jumps",
        needs_first=("LB1",),
    ),
    Claim(
        name="LB4",
        statement="Without weight decay the same network never jumps.",
        source=f"{_LOBACHEVA}, section 4",
        about={**_DESCENT, RATE: 0.5, DECAY: 0.0},
        comparisons=(count(Term.of(INVARIANT, _JUMPS), "jumps", 0.5, high=0.5),),
        figure="periodic_jumps",
        experiment="lobacheva2021/controls",
        intervention=True,
    ),
    Claim(
        name="LB5",
        statement="With the same rate and decay a plain network, without normalisation, never jumps.",
        source=f"{_LOBACHEVA}, section 1: the interplay of normalisation and weight decay",
        about={**_DESCENT, RATE: 0.5, DECAY: 0.002},
        comparisons=(count(Term.of(PLAIN, _JUMPS), "jumps", 0.5, high=0.5),),
        remark="Its output layer is trained.",
        figure="periodic_jumps",
        experiment="lobacheva2021/controls",
        intervention=True,
    ),
    Claim(
        name="LB6",
        statement="On the sphere, over fixed effective rates, training is in one of three regimes, with a break "
        "between each two.",
        source=f"{_KODRYAN}, section 4 and figure 1",
        untestable="no measure of breaks is fixed that a smooth curve over twelve rates would fail: three pieces, "
        "fitted on some seeds, score better than two on others wherever seeds are alike",
        remark="The runs are those of lobacheva2021/sphere.",
        experiment="lobacheva2021/sphere",
    ),
)
