"""Claims about the spherical sharpness of scale-invariant networks, with weight decay and without."""

from __future__ import annotations

from analysis.claims import Claim, Term, alike, count, less, value
from analysis.select import Arm
from analysis.standard import LOSS, TEST_LOSS
from analysis.studies.lyu2022.own_measures import SPHERICAL, TIMES_RATE, fall, late, reached, swing

_LYU = "Lyu, Li & Arora 2022"
_ABOUT = {"optim": "gd", "optim.momentum": 0.0, "optim.schedule": "constant"}
_SMALL = {**_ABOUT, "model.fixed_output": 1.0, "optim.lr": 1.0}
_GREAT = {**_ABOUT, "model.fixed_output": 10.0, "optim.lr": 0.3}
_INVARIANT = {"norm": "batch", "norm.affine": False, "norm.eps": 1e-12}
DECAYED = Arm.of("weight decay 0.001", {**_INVARIANT, "optim.weight_decay": 0.001})
MORE = Arm.of("weight decay 0.01", {**_INVARIANT, "optim.weight_decay": 0.01})
NONE = Arm.of("no weight decay", {**_INVARIANT, "optim.weight_decay": 0.0})
REACHED = 1.9
"""lr x sharpness from which on a run counts as at the edge; in theory 2."""
LEFT = 0.7
"""Of the greatest spherical sharpness."""
WITHIN = 1.1
"""Training losses that count as the same."""
_LATE = late(SPHERICAL, "late spherical sharpness")

CLAIMS = (
    Claim(
        name="LY1",
        statement="With weight decay the spherical sharpness of a scale-invariant network comes to 2 over the "
        "effective rate.",
        source=f"{_LYU}, section 3 and figure 1",
        about=_SMALL,
        comparisons=(
            count(Term.of(DECAYED, reached(REACHED)), "gets to the edge", REACHED, low=0.5),
            value(Term.of(DECAYED, late(TIMES_RATE, "late lr x sharpness")), low=REACHED, decides=False),
        ),
        remark="It is there where lr x sharpness is 2.",
        figure="spherical_sharpness",
        experiment="lyu2022/sharpness",
    ),
    Claim(
        name="LY2",
        statement="From there it falls by 30 % and more, while the training loss stays where it is.",
        source=f"{_LYU}, theorem 4.5 and figure 1: the flow along the minima reduces the spherical sharpness",
        about=_SMALL,
        comparisons=(
            value(Term.of(DECAYED, fall()), high=LEFT),
            value(Term.of(DECAYED, swing()), high=WITHIN, decides=False),
        ),
        remark="Within a stretch of training throughout which the loss is within 1.1 times of its final one. The rate "
        "of 1, the decay and the output's norm of 1 were chosen on seed 20, whose sharpness was seen to fall.",
        figure="spherical_sharpness",
        experiment="lyu2022/sharpness",
        needs_first=("LY1",),
    ),
    Claim(
        name="LY3",
        statement="Without weight decay it does not fall so, and is greater in the end at the same training loss.",
        source=f"{_LYU}, section 3: without weight decay the effective rate does not grow",
        about=_SMALL,
        comparisons=(
            value(Term.of(NONE, fall()), low=LEFT),
            less(Term.of(DECAYED, _LATE), Term.of(NONE, _LATE), LEFT),
            alike(Term.of(DECAYED, LOSS), Term.of(NONE, LOSS), WITHIN),
            count(Term.of(NONE, reached(REACHED)), "gets to the edge", REACHED, high=0.5, decides=False),
        ),
        remark="Without decay that of seed 20 was seen to rise for as long as it trained.",
        figure="spherical_sharpness",
        experiment="lyu2022/sharpness",
        needs_first=("LY1",),
        intervention=True,
    ),
    Claim(
        name="LY4",
        statement="At a rate of 0.3 and a decay of 0.01, with an output that learns labels without a rest, the network "
        "gets to the edge and the training loss stays where it is.",
        source=f"what seems to follow from {_LYU}, whose theorems take lr x decay to 0",
        about=_GREAT,
        comparisons=(
            count(Term.of(MORE, reached(REACHED)), "gets to the edge", REACHED, low=0.5),
            value(Term.of(MORE, swing()), high=WITHIN),
        ),
        remark="The setting that this study began from. Of seed 20 the loss was seen to jump by ten times and more "
        "each time, as in Lobacheva et al. 2021, so that there is no stretch of one loss to judge over.",
        figure="spherical_sharpness",
        experiment="lyu2022/great_decay",
        core=False,
    ),
    Claim(
        name="LY5",
        statement="The network of the lower spherical sharpness has the lower test loss.",
        source=f"{_LYU}, section 1: the benefit in generalisation that the title speaks of",
        about=_SMALL,
        comparisons=(less(Term.of(DECAYED, TEST_LOSS), Term.of(NONE, TEST_LOSS)),),
        remark="On these images, by running statistics. Of an output of norm 1 losses can differ little; of seed "
        "20 they were seen to be alike.",
        figure="spherical_sharpness",
        experiment="lyu2022/sharpness",
        needs_first=("LY3",),
        core=False,
    ),
)
