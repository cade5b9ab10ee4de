"""Claims about how fast, how well and whether at all a network trains."""

from __future__ import annotations

from analysis.claims.measures import final, learnt_share, steps_to_learn
from analysis.claims.model import MUCH, SIMILAR, Claim, Comparison, Region, Term, less, more, value

_PAPER = "Santurkar et al. 2018"
_SPEED = steps_to_learn()
_ACCURACY = final("accuracy", "test")
_LEARNT = learnt_share()

CLAIMS = (
    Claim(
        name="S1",
        statement="A network with batch normalisation trains faster and tests better than the same network without.",
        source=f"{_PAPER}, section 1 and figure 1 (a, b)",
        rule="Steps to 90 % training accuracy, none over batch, above 1; and final test accuracy, batch minus none, "
        "above 0.",
        needs="classification runs of none and batch, three seeds or more",
        comparisons=(
            more("steps to 90 % training accuracy, none / batch", Term("none", _SPEED), Term("batch", _SPEED)),
            Comparison(
                "final test accuracy, batch - none",
                Term("batch", _ACCURACY),
                Region(low=0.0),
                Term("none", _ACCURACY),
                "difference",
            ),
        ),
        figure="fig01_accuracy",
        task="classification",
    ),
    Claim(
        name="S2",
        statement="At learning rate 0.5 only the network with batch normalisation trains.",
        source=f"{_PAPER}, section 2 and figure 1 (a, b)",
        rule="Share learnt, (final - first) / (1 - first) of the training accuracy: above 0.5 for batch, below 0.5 for "
        "none. Judged at learning rate 0.5 only.",
        needs="classification runs of none and batch at learning rate 0.5, three seeds or more",
        comparisons=(
            value("share learnt, batch", Term("batch", _LEARNT), low=0.5),
            value("share learnt, none", Term("none", _LEARNT), high=0.5),
        ),
        figure="fig01_accuracy",
        task="classification",
        lr=0.5,
    ),
    Claim(
        name="S4",
        statement="With noise after its batch normalisation a network trains almost as fast as with batch "
        "normalisation alone, and much faster than without any.",
        source=f"{_PAPER}, section 2.2 and figure 2",
        rule=f"Steps to 90 % training accuracy: noisy_batch over batch below {SIMILAR:g}; none over noisy_batch above "
        f"{MUCH:g}.",
        needs="classification runs of none, batch and noisy_batch, three seeds or more",
        comparisons=(
            less(
                "steps to 90 % training accuracy, noisy_batch / batch",
                Term("noisy_batch", _SPEED),
                Term("batch", _SPEED),
                SIMILAR,
            ),
            more(
                "steps to 90 % training accuracy, none / noisy_batch",
                Term("none", _SPEED),
                Term("noisy_batch", _SPEED),
                MUCH,
            ),
        ),
        figure="fig02_noisy",
        task="classification",
    ),
    Claim(
        name="S6",
        statement="The same noise stops a network without batch normalisation from training.",
        source=f"{_PAPER}, section 2.2, text only",
        rule="Share learnt, (final - first) / (1 - first) of the training accuracy: below 0.1 for noise, while it is "
        "above 0.5 for none.",
        needs="classification runs of none and noise (the noise without the normalisation), three seeds or more",
        comparisons=(
            value("share learnt, noise alone", Term("noise", _LEARNT), high=0.1),
            value("share learnt, none", Term("none", _LEARNT), low=0.5),
        ),
        figure="fig02_noisy",
        task="classification",
    ),
)
