"""Claims about how fast, how well and whether at all a network trains."""

from __future__ import annotations

from analysis.claims import POINT, Claim, Term, count, difference, fraction, more
from analysis.standard import ACCURACY, LEARNT, SPEED, TUNED_ACCURACY, TUNED_SPEED

_PAPER = "Santurkar et al. 2018"
_VGG = {"task": "classification"}

CLAIMS = (
    Claim(
        name="S1",
        statement="A network with batch normalisation trains faster and tests better than the same network without, at "
        "the same learning rate.",
        source=f"{_PAPER}, section 1 and figure 1 (a, b)",
        about=_VGG,
        comparisons=(
            more(Term.of("none", SPEED), Term.of("batch", SPEED), on_published=3300 / 1600),
            difference(
                Term.of("batch", ACCURACY), Term.of("none", ACCURACY), low=0.0, smallest=POINT, on_published=0.0272
            ),
        ),
        figure="fig01_accuracy",
        experiment="santurkar2018/vgg",
        also_predicted_by=("every explanation",),
        core=False,
    ),
    Claim(
        name="S1b",
        statement="A network with batch normalisation trains faster and tests better than the same network without, "
        "each at its own best learning rate.",
        source=f"{_PAPER}, section 1; the paper compares at equal rates",
        about=_VGG,
        comparisons=(
            more(Term.of("none", TUNED_SPEED), Term.of("batch", TUNED_SPEED)),
            difference(Term.of("batch", TUNED_ACCURACY), Term.of("none", TUNED_ACCURACY), low=0.0, smallest=POINT),
        ),
        figure="fig01_accuracy",
        experiment="santurkar2018/vgg_rates",
        also_predicted_by=("every explanation",),
        core=False,
    ),
    Claim(
        name="S2",
        statement="At learning rate 0.5 only the network with batch normalisation trains.",
        source=f"{_PAPER}, section 2 and figure 1 (a, b)",
        about={**_VGG, "optim.lr": 0.5},
        comparisons=(
            count(Term.of("batch", LEARNT), "trains", 0.5, low=0.5, on_published=1.0),
            count(Term.of("none", LEARNT), "trains", 0.5, high=0.5, on_published=0.0),
        ),
        figure="fig01_accuracy",
        experiment="santurkar2018/vgg_controls",
        also_predicted_by=("every explanation",),
        core=False,
    ),
    Claim(
        name="S4",
        statement="With noise after its batch normalisation a network trains almost as fast as with batch "
        "normalisation alone, and much faster than without any.",
        source=f"{_PAPER}, section 2.2 and figure 2",
        about=_VGG,
        comparisons=(
            fraction(
                Term.of("noisy_batch", SPEED),
                Term.of("batch", SPEED),
                Term.of("none", SPEED),
                high=0.5,
                on_published=(2400 - 1600) / (3300 - 1600),
            ),
            more(Term.of("none", SPEED), Term.of("noisy_batch", SPEED), decides=False, on_published=3300 / 2400),
            more(Term.of("noisy_batch", SPEED), Term.of("batch", SPEED), decides=False, on_published=2400 / 1600),
        ),
        remark="Nearer to batch normalisation than to none, in steps. Its steps are counted on noisy batches, which "
        "inflate them.",
        figure="fig02_noisy",
        experiment="santurkar2018/vgg",
        intervention=True,
    ),
    Claim(
        name="S6",
        statement="The same noise stops a network without batch normalisation from training.",
        source=f"{_PAPER}, section 2.2, text only",
        about=_VGG,
        comparisons=(
            count(Term.of("noise", LEARNT), "trains", 0.1, high=0.5),
            count(Term.of("none", LEARNT), "trains", 0.5, low=0.5),
        ),
        remark="At a few layers the noise alone does not stop training: it needs depth.",
        figure="fig02_noisy",
        experiment="santurkar2018/vgg_controls",
        core=False,
        intervention=True,
    ),
)
