"""Claims about perturbing gamma and beta alone in sharpness-aware minimisation."""

from __future__ import annotations

from analysis.across import at
from analysis.best import best
from analysis.claims import Claim, Comparison, Term, difference, less, more
from analysis.select import Arm, plain
from analysis.standard import ACCURACY, TEST_LOSS

_SOURCE = "Mueller, Vlaar, Rolnick & Hein 2023"
RADIUS = "optim.rho"
_ABOUT = {"task": "classification", "data.label_noise": 0.2, "optim.adaptive": False}


def _arm(name: str, perturb: str) -> Arm:
    return Arm.of(name, {"norm": "batch", "optim": "sam", "optim.perturb": perturb})


ALL = _arm("all perturbed", "all")
NORM = _arm("gamma and beta perturbed", plain(["gamma", "beta"]))
REST = _arm("all but gamma and beta perturbed", plain(["weights", "biases"]))
ARMS = (ALL, NORM, REST)

WITHIN = 1.1
"""Test losses that count as the same."""
TUNED = best(TEST_LOSS, RADIUS, by=TEST_LOSS)
_ACCURACY = best(ACCURACY, RADIUS, by=TEST_LOSS)
DESCENT = at(TEST_LOSS, RADIUS, 0.0)
"""A perturbation of length 0 is none: gradient descent, whatever is perturbed."""
_DESCENT_ACCURACY = at(ACCURACY, RADIUS, 0.0)


def _gains(arm: Arm) -> tuple[Comparison, ...]:
    return (
        more(Term.of(arm, DESCENT), Term.of(arm, TUNED), smallest=WITHIN),
        difference(Term.of(arm, _ACCURACY), Term.of(arm, _DESCENT_ACCURACY), low=0.0, decides=False),
    )


_RATE = "Each arm at its own best length of the perturbation, by the test loss of two pilot seeds, on the same images; "
_RATE += "at one learning rate for all arms, without momentum and weight decay."

CLAIMS = (
    Claim(
        name="SN1",
        statement="Perturbing all parameters lowers the test loss on these images against gradient descent.",
        source="Foret et al. 2021, arXiv:2010.01412, section 3.3",
        about=_ABOUT,
        comparisons=_gains(ALL),
        remark=f"Asked first: where it does not, nothing can be as good by a part of the parameters. {_RATE}",
        figure="perturbed_parts",
        experiment="mueller2023/radii",
        core=False,
        intervention=True,
    ),
    Claim(
        name="SN2",
        statement="Perturbing gamma and beta alone lowers the test loss on these images against gradient descent.",
        source=f"{_SOURCE}, section 4 and table 1",
        about=_ABOUT,
        comparisons=_gains(NORM),
        remark=_RATE,
        figure="perturbed_parts",
        experiment="mueller2023/radii",
        intervention=True,
    ),
    Claim(
        name="SN3",
        statement="Perturbing gamma and beta alone has a test loss within 1.1 times that of perturbing all parameters.",
        source=f"{_SOURCE}, section 4 and table 1; the factor is ours",
        about=_ABOUT,
        comparisons=(
            less(Term.of(NORM, TUNED), Term.of(ALL, TUNED), than=WITHIN),
            difference(Term.of(NORM, _ACCURACY), Term.of(ALL, _ACCURACY), low=0.0, decides=False),
        ),
        remark=f"A lower one is within it. {_RATE}",
        figure="perturbed_parts",
        experiment="mueller2023/radii",
        needs_first=("SN1",),
        intervention=True,
    ),
    Claim(
        name="SN4",
        statement="Perturbing all but gamma and beta has a higher test loss than perturbing them alone.",
        source=f"{_SOURCE}, section 4 and figure 1",
        about=_ABOUT,
        comparisons=(more(Term.of(REST, TUNED), Term.of(NORM, TUNED), smallest=WITHIN),),
        remark=_RATE,
        figure="perturbed_parts",
        experiment="mueller2023/radii",
        needs_first=("SN1",),
        core=False,
        intervention=True,
    ),
)
