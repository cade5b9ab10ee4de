"""Claims about small and great learning rates, and about how far a step can go before the loss explodes."""

from __future__ import annotations

from analysis.best import best
from analysis.claims import SIMILAR, Claim, Term, alike, in_forms, less, more, value
from analysis.measures import Levels
from analysis.select import Arm
from analysis.shifts import both_shifts
from analysis.standard import LARGEST_RATE, TEST_LOSS
from analysis.studies.bjorck2018.own_measures import at_least, growth_at_divergence, tenfold

_BJORCK = "Bjorck et al. 2018"
_ABOUT = {"task": "classification", "optim.schedule": "constant"}
_SMALL, _BEST = at_least(TEST_LOSS, "optim.lr"), best(TEST_LOSS, "optim.lr", by=TEST_LOSS)
_GROWTH = growth_at_divergence()
RATES, STEPS = 3.0, 10.0
"""How many times as great a rate, and how many times as long a step, the claims ask for."""

CLAIMS = (
    Claim(
        name="BJ1",
        statement="At a small learning rate, the same for both, batch normalisation makes no difference to the test "
        "loss.",
        source=f"{_BJORCK}, section 2 and figure 1",
        about=_ABOUT,
        comparisons=(alike(Term.of("batch", _SMALL), Term.of("none", _SMALL), SIMILAR),),
        remark="By losses: on few test images accuracy cannot tell a point. Equal steps, which is part of what is "
        "claimed.",
        experiment="bjorck2018/rates",
    ),
    Claim(
        name="BJ2",
        statement="With batch normalisation learning rates train that are more than three times as great.",
        source=f"{_BJORCK}, section 3",
        about=_ABOUT,
        comparisons=(more(Term.of("batch", LARGEST_RATE), Term.of("none", LARGEST_RATE), RATES),),
        remark="A rate lies between the last that trains and the next that was run, by the finer rates of "
        "bjorck2018/largest_rate_none and largest_rate_batch a factor of 1.1.",
        experiment="bjorck2018/rates",
        also_predicted_by=("every explanation",),
    ),
    Claim(
        name="BJ3",
        statement="In the first steps of training a network with batch normalisation bears steps more than ten times "
        "as long before its loss is tenfold.",
        source=f"{_BJORCK}, section 3.1 and figure 2",
        about=_ABOUT,
        comparisons=(
            in_forms(
                lambda measure: more(Term.of("batch", measure), Term.of("none", measure), STEPS),
                {"multiple of the gradient": tenfold("gradients"), "distance": tenfold("distance")},
            ),
        ),
        remark="As a multiple of the gradient it is a learning rate; where gradients differ in length, a distance is "
        "another thing.",
        figure="early_landscape",
        experiment="bjorck2018/landscape",
    ),
    Claim(
        name="BJ4",
        statement="With batch normalisation the best rate tests better than the smallest one.",
        source=f"{_BJORCK}, section 2 and figure 1",
        about=_ABOUT,
        comparisons=(less(Term.of("batch", _BEST), Term.of("batch", _SMALL)),),
        remark="Within batch normalisation, at equal steps; a network that is not yet trained at the smallest rate "
        "gains by any greater one.",
        experiment="bjorck2018/rates",
        also_predicted_by=("every explanation",),
        core=False,
    ),
    Claim(
        name="BJ5",
        statement="Where a network without normalisation diverges, the variance of what enters its activations grows "
        "from layer to layer.",
        source=f"{_BJORCK}, section 3.2 and figure 3",
        about={**_ABOUT, "model": "mlp"},
        comparisons=(
            value(Term.of("none", _GROWTH), low=0.0),
            value(Term.of("batch", _GROWTH), high=0.0, decides=False),
        ),
        remark="In the last probed step before it diverged, without the logits. Beside it: with batch normalisation, "
        "at a rate at which that diverges too.",
        figure="variance_at_divergence",
        experiment="bjorck2018/divergence",
        core=False,
    ),
    both_shifts(
        "BJ6",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        Arm.norm("batch"),
        Arm.norm("none"),
        levels=Levels(1.0, 0.1),
        about=_ABOUT,
        experiment="bjorck2018/shift",
    ),
)
