"""Claims about how fast, from where and at which learning rates a network trains."""

from __future__ import annotations

from analysis.across import width
from analysis.claims import POINT, Claim, Term, count, difference, more
from analysis.measures import over_training
from analysis.select import Arm
from analysis.standard import LARGEST_RATE, LOSS, TRAINS, TUNED_ACCURACY, TUNED_SPEED
from analysis.studies.ioffe2015.claims import NETWORK, PAPER, RATES
from analysis.studies.ioffe2015.own_measures import least

AT_SOME_RATE = least(LOSS, "optim.lr", RATES)
SCALES = width(AT_SOME_RATE, "model.gain", below=TRAINS)
SATURATED = over_training("saturated", batch="fixed", window="late")
DEEP = {"model": "mlp", "model.depth": 8, "model.activation": "sigmoid"}
ATTACHED = Arm.of("batch, attached", {"norm": "batch", "norm.detach": "none"})
MEAN_DETACHED = Arm.of("batch, mean detached", {"norm": "batch", "norm.detach": "mean"})
DEVIATION_DETACHED = Arm.of("batch, deviation detached", {"norm": "batch", "norm.detach": "std"})

CLAIMS = (
    Claim(
        name="I1",
        statement="With batch normalisation the network learns in fewer steps and tests better, each at its own best "
        "learning rate.",
        source=f"{PAPER}, section 4.1 and figure 1 (a)",
        about=NETWORK,
        comparisons=(
            more(Term.of("none", TUNED_SPEED), Term.of("batch", TUNED_SPEED)),
            difference(Term.of("batch", TUNED_ACCURACY), Term.of("none", TUNED_ACCURACY), low=0.0, smallest=POINT),
        ),
        remark="Each scale of the first weights is a setting of its own: from the smallest the plain network hardly "
        "leaves its plateau. Accuracies are on these test images.",
        figure="learning_rates",
        experiment="ioffe2015/rates",
        also_predicted_by=("every explanation",),
    ),
    Claim(
        name="I3",
        statement="With batch normalisation learning rates train that are more than five times as high.",
        source=f"{PAPER}, sections 3.3, 4.2.1 and 4.2.2 (x5 and x30 in the large network)",
        about=NETWORK,
        comparisons=(more(Term.of("batch", LARGEST_RATE), Term.of("none", LARGEST_RATE), 5.0),),
        remark="A rate lies between the last that trains and the next that was run.",
        figure="learning_rates",
        experiment="ioffe2015/largest_rate",
        also_predicted_by=("every explanation",),
    ),
    Claim(
        name="I4",
        statement="With batch normalisation the network trains from a wider range of initial scales.",
        source=f"{PAPER}, abstract and section 3.3",
        about=NETWORK,
        comparisons=(difference(Term.of("batch", SCALES), Term.of("none", SCALES), low=0.0, smallest=0.5),),
        remark="In decades. A scale counts where some of the rates trains, the same rates for both.",
        figure="initial_scales",
        experiment="ioffe2015/initial_scale",
        also_predicted_by=("every explanation of scale invariance",),
    ),
    Claim(
        name="I5",
        statement="Eight sigmoid layers train with batch normalisation, and without it at no learning rate.",
        source=f"{PAPER}, abstract and section 4.2.2 (x5-sigmoid)",
        about=DEEP,
        comparisons=(
            count(Term.of("batch", AT_SOME_RATE), "fails at every rate", TRAINS, high=0.5),
            count(Term.of("none", AT_SOME_RATE), "fails at every rate", TRAINS, low=0.5),
        ),
        remark="Asked at gain 4 too: a sigmoid's slope is at most 1/4, so that at gain 1 a plain network is only badly "
        "scaled.",
        figure="saturation",
        experiment="ioffe2015/eight_sigmoids",
    ),
    Claim(
        name="I5b",
        statement="With batch normalisation fewer sigmoids are saturated at the end of training.",
        source=f"{PAPER}, section 1 and abstract: saturating non-linearities",
        about=DEEP,
        comparisons=(more(Term.of("none", SATURATED), Term.of("batch", SATURATED)),),
        remark="At equal rates, since no rate is the best one of a network that trains at none.",
        figure="saturation",
        experiment="ioffe2015/eight_sigmoids",
    ),
    Claim(
        name="I7c",
        statement="Where the mean is subtracted outside of the gradient step, only far lower learning rates train.",
        source=f"{PAPER}, section 2",
        about=NETWORK,
        comparisons=(
            more(Term.of(ATTACHED, LARGEST_RATE), Term.of(MEAN_DETACHED, LARGEST_RATE), 3.0),
            more(Term.of(ATTACHED, LARGEST_RATE), Term.of(DEVIATION_DETACHED, LARGEST_RATE), 3.0, decides=False),
        ),
        remark="The deviation alone outside of it is the control.",
        figure="learning_rates",
        experiment="ioffe2015/detached_rates",
        intervention=True,
    ),
)
