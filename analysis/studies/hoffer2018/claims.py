"""Claims about weight decay of normalised weights: a gain, and its being had by norms alone."""

from __future__ import annotations

from analysis.claims import Claim, Term, difference, fraction, less, more
from analysis.measures import over_training
from analysis.select import Arm, plain
from analysis.standard import ACCURACY, TEST_LOSS

_SOURCE = "Hoffer, Banner, Golan & Soudry 2018"
_ABOUT = {"task": "classification", "optim.schedule": "constant"}
WITHOUT = plain([{"match": "scale_invariant", "decay": 0}])


def _arm(name: str, optim: str, groups: str, rescale: str | None) -> Arm:
    return Arm.of(name, {"norm": "batch", "optim": optim, "optim.groups": groups, "optim.rescale": rescale})


ON = _arm("decay on", "sgd", "[]", None)
OFF = _arm("decay off", "sgd", WITHOUT, None)
CORRECTED = _arm("off, steps corrected", "norm_mimicry", WITHOUT, "step")
SCHEDULE = _arm("off, norms scheduled", "norm_mimicry", WITHOUT, "weights")
ARMS = (ON, OFF, CORRECTED, SCHEDULE)
"""Off: of the weights whose size changes nothing; those of the output layer decay in each arm."""

COUNTS = 1.1
"""The smallest ratio of test losses that counts."""
HALF_A_POINT = 0.005
HALF = 0.5
"""Of the way from decay on to decay off."""
NORM = over_training("weight_norm", name="norm of the weights", window="late")


def _recovers(name: str, arm: Arm, how: str) -> Claim:
    return Claim(
        name=name,
        statement=f"Without decay, {how}, more than half of what decay gains in test loss is there.",
        source=f"{_SOURCE}, section 3 and figure 2; half is ours",
        about=_ABOUT,
        comparisons=(fraction(Term.of(arm, TEST_LOSS), Term.of(ON, TEST_LOSS), Term.of(OFF, TEST_LOSS), high=HALF),),
        remark="By the loss, in which there is a gap to recover. Where decay gains nothing it is not asked.",
        figure="decay_and_norms",
        experiment="hoffer2018/mimicry",
        needs_first=("HO1",),
        intervention=True,
    )


CLAIMS = (
    Claim(
        name="HO1",
        statement="Weight decay of the normalised weights lowers the test loss on these images.",
        source=f"{_SOURCE}, section 3 and figure 2",
        about=_ABOUT,
        comparisons=(
            more(Term.of(OFF, TEST_LOSS), Term.of(ON, TEST_LOSS), smallest=COUNTS),
            difference(Term.of(ON, ACCURACY), Term.of(OFF, ACCURACY), low=0.0, smallest=HALF_A_POINT, decides=False),
            more(Term.of(OFF, NORM), Term.of(ON, NORM), decides=False),
        ),
        remark="By the loss, since on few test images accuracy moves in steps and is soon at its ceiling; the paper's "
        "measure, accuracy, stands beside it. At one learning rate for all arms, as in the paper: whether a greater "
        "rate does what decay does is not asked here.",
        figure="decay_and_norms",
        experiment="hoffer2018/decay",
        intervention=True,
    ),
    Claim(
        name="HO2",
        statement="Without decay, steps that are scaled to the effective rate of the run with it test within half a "
        "point of it.",
        source=f"{_SOURCE}, section 3 and figure 2",
        about=_ABOUT,
        comparisons=(
            difference(Term.of(CORRECTED, ACCURACY), Term.of(ON, ACCURACY), low=-HALF_A_POINT, high=HALF_A_POINT),
            difference(
                Term.of(SCHEDULE, ACCURACY),
                Term.of(ON, ACCURACY),
                low=-HALF_A_POINT,
                high=HALF_A_POINT,
                decides=False,
            ),
        ),
        remark="Each channel's step, its momentum included, times |w|^2 over that of the run with decay of the same "
        "seed, whose norms are stored once an epoch. It is asked only where decay gains, in the loss.",
        figure="decay_and_norms",
        experiment="hoffer2018/mimicry",
        needs_first=("HO1",),
        intervention=True,
    ),
    _recovers("HO3", CORRECTED, "with steps scaled to its effective rate"),
    _recovers("HO4", SCHEDULE, "with weights brought to its norms"),
    Claim(
        name="HO5",
        statement="With steps scaled to its effective rate the weights themselves are as large as where nothing decays "
        "them, not as where they decay.",
        source="ours: what was made equal is the rate, not the norm",
        about=_ABOUT,
        comparisons=(less(Term.of(ON, NORM), Term.of(CORRECTED, NORM), smallest=1.25),),
        remark="If it fails, the run without decay has the other's norms of its own accord, and nothing was tried.",
        figure="decay_and_norms",
        experiment="hoffer2018/mimicry",
        core=False,
    ),
)
