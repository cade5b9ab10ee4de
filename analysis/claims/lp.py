"""Claims about l_p normalisations: batch normalisation without control of the first two moments."""

from __future__ import annotations

from analysis.claims.landscape import LINEAR, VGG, smoother
from analysis.claims.measures import final, steps_to_learn
from analysis.claims.model import SIMILAR, Claim, Term, less, more
from analysis.claims.shift import SHIFT

_PAPER = "Santurkar et al. 2018"
_NORMS = ("l1", "l2", "linf")
_SPEED = steps_to_learn()
_LOSS = final("data_loss", "train")

CLAIMS = (
    Claim(
        name="S17",
        statement="L1, L2 and Linf normalisation train comparably to batch normalisation, or better.",
        source=f"{_PAPER}, section 3.3 and figure 5",
        rule="Steps to 90 % training accuracy (in regression: final training loss), l_p over batch, below "
        f"{SIMILAR:g} for "
        "each of the three.",
        needs="runs of batch, l1, l2 and linf, three seeds or more",
        comparisons=tuple(
            less(f"steps to 90 % training accuracy, {p} / batch", Term(p, _SPEED), Term("batch", _SPEED), SIMILAR)
            for p in _NORMS
        ),
        linear=tuple(
            less(f"final training loss, {p} / batch", Term(p, _LOSS), Term("batch", _LOSS), SIMILAR) for p in _NORMS
        ),
        figure="fig05_lp_training",
    ),
    Claim(
        name="S18",
        statement="In the deep linear network L1 normalisation trains better than batch normalisation.",
        source=f"{_PAPER}, section 3.3 and figure 5 (b)",
        rule="Final training loss, l1 over batch, below 1.",
        needs="runs of batch and l1 of the deep linear network, three seeds or more",
        comparisons=(less("final training loss, l1 / batch", Term("l1", _LOSS), Term("batch", _LOSS)),),
        figure="fig05_lp_training",
        task="regression",
    ),
    Claim(
        name="S19",
        statement="l_p normalised networks shift their distributions more than the plain network, and yet train "
        "better.",
        source=f"{_PAPER}, section 3.3 and figures 5 and 6",
        rule="For each of the three: drift between probed steps (as in S3), l_p over none, above 1; and steps to 90 % "
        "training accuracy, none over l_p, above 1.",
        needs="classification runs of none, l1, l2 and linf with the probe activations, three seeds or more",
        comparisons=(
            *(more(f"drift in standard deviations, {p} / none", Term(p, SHIFT), Term("none", SHIFT)) for p in _NORMS),
            *(
                more(f"steps to 90 % training accuracy, none / {p}", Term("none", _SPEED), Term(p, _SPEED))
                for p in _NORMS
            ),
        ),
        figure="fig06_lp_histograms",
        task="classification",
    ),
    Claim(
        name="S20",
        statement="l_p normalisations smooth the landscape as batch normalisation does.",
        source=f"{_PAPER}, section 3.3 and figures 12 and 13",
        rule="Loss range, greatest gradient change and greatest effective beta along the gradient (steps of 1/2 to 4 "
        "learning rates, in regression of all probed lengths, median over training): none over l_p above 1, all three "
        "for each of the three.",
        needs="runs of none, l1, l2 and linf with the probe landscape, three seeds or more",
        comparisons=tuple(comparison for p in _NORMS for comparison in smoother(p, VGG)),
        linear=tuple(comparison for p in _NORMS for comparison in smoother(p, LINEAR)),
        figure="fig12_lp_landscape",
    ),
)
