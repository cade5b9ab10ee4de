"""Claims about noisy and adversarial inputs, with batch normalisation and without."""

from __future__ import annotations

from analysis.across import Across
from analysis.best import best
from analysis.claims import POINT, Claim, Comparison, Term, difference, fraction, in_forms
from analysis.measures import Measure
from analysis.standard import TEST_LOSS
from analysis.studies.galloway2019.own_measures import at_the_end, matched

_SOURCE = "Galloway et al. 2019"
_ABOUT = {"task": "classification"}
BELOW = -0.05
"""Points by which the accuracy with batch normalisation must be lower."""
SHARE = 0.1
"""Of the gap, which the statistics of the noisy batch must make up for."""


def _tuned(measure: Measure) -> Across:
    return best(measure, "optim.lr", by=TEST_LOSS)


def forms(evaluation: str, what: str) -> dict[str, Across]:
    """At equal clean accuracy, which decides, and at the end of training."""
    return {
        "equal clean accuracy": _tuned(matched(evaluation, what)),
        "end of training": _tuned(at_the_end(evaluation, what)),
    }


def lower(evaluation: str, what: str, published: float | None = None, decides: bool = True) -> Comparison:
    """Batch normalisation's accuracy minus that of the plain network."""
    return in_forms(
        lambda measure: difference(Term.of("batch", measure), Term.of("none", measure), high=BELOW, smallest=POINT),
        forms(evaluation, what),
        on_published=published,
        decides=decides,
    )


NOISY, ATTACKED = "noisy inputs", "attacked inputs"
_BATCH = _tuned(matched("noise_batch", f"{NOISY} by their batch's statistics"))
_RUNNING = _tuned(matched("noise", NOISY))

CLAIMS = (
    Claim(
        name="GA1",
        statement="On inputs with Gaussian noise, batch normalisation has an accuracy that is lower by five points "
        "or more.",
        source=f"{_SOURCE}, the numbers of its code (ResNet-110, CIFAR-10: 59.0 against 76.3 %)",
        about=_ABOUT,
        comparisons=(lower("noise", NOISY, 0.590 - 0.763),),
        remark="At full size VGG-11 stands for the published ResNet-110, which without normalisation trains by Fixup "
        "only, that is by another initialisation and other blocks. Each arm at its own best rate. Arms differ in how "
        "far they come: so at equal accuracy on clean inputs, as if training were stopped early; the published "
        "networks have nearly the same.",
        figure="robustness",
        experiment="galloway2019/robustness",
        intervention=True,
    ),
    Claim(
        name="GA2",
        statement="After projected gradient ascent, batch normalisation has an accuracy that is lower by five points "
        "or more.",
        source=f"{_SOURCE}, the numbers of its code (ResNet-110, CIFAR-10: 8.5 against 38.1 %)",
        about=_ABOUT,
        comparisons=(
            lower("pgd", ATTACKED, 0.085 - 0.381),
            lower("pgd_half", "inputs attacked in half the radius", decides=False),
            lower("pgd_wide", "inputs attacked in one and a half times the radius", decides=False),
        ),
        remark="20 steps from a random start in the ball in which the plain network keeps about half of its clean "
        "accuracy, by the largest change of a pixel. Gradients could be masked; whether more steps, or other attacks, "
        "find more is not asked.",
        figure="robustness",
        experiment="galloway2019/robustness",
        intervention=True,
    ),
    Claim(
        name="GA3",
        statement="Statistics of the noisy batch, in place of those of clean training batches, make up for a tenth or "
        "more of what batch normalisation loses on noisy inputs.",
        source="Benz, Zhang, Karjauv & Kweon 2021, arXiv:2010.03630",
        about=_ABOUT,
        comparisons=(
            fraction(Term.of("batch", _BATCH), Term.of("batch", _RUNNING), Term.of("none", _RUNNING), low=SHARE),
        ),
        figure="robustness",
        experiment="galloway2019/robustness",
        core=False,
        intervention=True,
    ),
)
