"""Claims about outliers of the Hessian's spectrum."""

from __future__ import annotations

from dataclasses import replace

from analysis.claims import Claim, Comparison, Term, difference, in_forms, more
from analysis.select import Arm
from analysis.studies.ghorbani2019.own_measures import EARLY, HELD, WINDOWS, in_span, outliers

_SOURCE = "Ghorbani, Krishnan & Xiao 2019"
_ABOUT = {"task": "classification", "optim": "sgd", "data.standardise": True}
"""Inputs are centred by one mean per channel for all pixels: centred pixel by pixel, another network starts sharper."""
NONE = Arm.norm("none")
BATCH = Arm.of("batch", {"norm": "batch", "norm.statistics": "batch"})
POPULATION = Arm.of("population statistics", {"norm": "batch", "norm.statistics": "population"})
RUNNING = Arm.of("running statistics", {"norm": "batch", "norm.statistics": "running"})
_OUTLIERS = {form: outliers(window) for form, window in WINDOWS.items()}
_IN_SPAN = {form: in_span(window) for form, window in WINDOWS.items()}
RATIO, SHARE, HELD_RATIO = 2.0, 0.2, 1.25
LEAST = 0.1
"""The smallest difference of two shares of the gradient that counts."""


def _held(form: str) -> Comparison:
    """The same networks at the same steps, whose Hessian is taken with their statistics as constants, and as usual."""
    held, usual = outliers(WINDOWS[form], HELD), _OUTLIERS[form]
    return more(Term.of(BATCH, held), Term.of(BATCH, usual), than=HELD_RATIO, form=form)


CLAIMS = (
    Claim(
        name="GH1",
        statement="Without batch normalisation the first eigenvalue of the Hessian stands out: over the tenth it is "
        "more than twice what it is with it.",
        source=f"{_SOURCE}, section 4 and figures 5 and 6",
        about=_ABOUT,
        comparisons=(in_forms(lambda m: more(Term.of(NONE, m), Term.of(BATCH, m), than=RATIO), _OUTLIERS),),
        figure="hessian_outliers",
        experiment="ghorbani2019/outliers",
    ),
    Claim(
        name="GH2",
        statement="Without batch normalisation the gradient lies in the span of the first ten eigenvectors, with it "
        "less of it.",
        source=f"{_SOURCE}, section 4.1 and figure 7",
        about=_ABOUT,
        comparisons=(
            in_forms(lambda m: difference(Term.of(NONE, m), Term.of(BATCH, m), low=SHARE, smallest=LEAST), _IN_SPAN),
        ),
        remark="A share of 1 where the gradient is a combination of these ten vectors.",
        figure="hessian_outliers",
        experiment="ghorbani2019/outliers",
    ),
    Claim(
        name="GH3",
        statement="On the very same networks with batch normalisation the outliers are back where the batch's "
        "statistics are held fixed while the weights move.",
        source=f"{_SOURCE}, section 4.2, which trains by population statistics",
        about=_ABOUT,
        comparisons=(replace(_held("equal loss"), forms=(_held("equal step"),)),),
        figure="hessian_outliers",
        experiment="ghorbani2019/outliers",
        intervention=True,
    ),
    Claim(
        name="GH4",
        statement="Trained by the statistics of the whole training set, the gradient lies in the span of the first ten "
        "eigenvectors too.",
        source=f"{_SOURCE}, section 4.2 and figure 8",
        about=_ABOUT,
        comparisons=(
            difference(
                Term.of(POPULATION, _IN_SPAN["equal loss"]),
                Term.of(BATCH, _IN_SPAN["equal loss"]),
                low=SHARE,
                smallest=LEAST,
                form="equal loss",
            ),
            more(
                Term.of(POPULATION, _OUTLIERS["equal loss"]),
                Term.of(BATCH, _OUTLIERS["equal loss"]),
                than=HELD_RATIO,
                form="equal loss",
                decides=False,
            ),
        ),
        remark="Never by step: networks that learn at different speeds are not at equal progress there. The gradient "
        "goes through these statistics, which are those of the present weights.",
        figure="hessian_outliers",
        experiment="ghorbani2019/outliers",
        intervention=True,
    ),
    Claim(
        name="GH5",
        statement="Trained by running averages, as constants of the gradient, the gradient lies in the span of the "
        "first ten eigenvectors.",
        source=f"{_SOURCE}, section 4.2, read as statistics that the gradient does not know of",
        about=_ABOUT,
        comparisons=(
            difference(
                Term.of(RUNNING, in_span(EARLY)),
                Term.of(BATCH, in_span(EARLY)),
                low=SHARE,
                smallest=LEAST,
                form="equal loss",
            ),
            more(
                Term.of(RUNNING, outliers(EARLY)),
                Term.of(BATCH, outliers(EARLY)),
                than=HELD_RATIO,
                form="equal loss",
                decides=False,
            ),
        ),
        remark="Such a network stalls at this rate: it is compared from just below chance to where it gets, and never "
        "by step.",
        figure="hessian_outliers",
        experiment="ghorbani2019/outliers",
        intervention=True,
    ),
)
