"""Claims about what the gradient knows of the normalisation."""

from __future__ import annotations

from analysis.claims import Claim, Term, identity, more, value
from analysis.measures import over_training
from analysis.studies.ioffe2015.claims import NETWORK, PAPER
from analysis.studies.ioffe2015.claims.training import MEAN_DETACHED
from analysis.studies.ioffe2015.own_measures import greatest, growth_exponent, loss_left, loss_moved

EARLY, LATE = (over_training("bias_norm", window=part) for part in ("early", "late"))
_FULL_BATCH = {**NETWORK, "optim": "gd"}

CLAIMS = (
    Claim(
        name="I7a",
        statement="Where the mean is subtracted outside of the gradient step, a bias before it grows without bound "
        "while the loss stays.",
        source=f"{PAPER}, section 2",
        about=_FULL_BATCH,
        comparisons=(
            value(Term.of(MEAN_DETACHED, growth_exponent()), low=0.95, high=1.05),
            value(Term.of(MEAN_DETACHED, loss_moved()), high=1e-5),
        ),
        remark="Nothing but the biases before the normalisations is trained, on the whole training set: then the "
        "gradient stays as it is, and the growth is linear.",
        figure="bias_growth",
        experiment="ioffe2015/biases_alone",
        intervention=True,
    ),
    Claim(
        name="I7b",
        statement="It grows on where everything is trained, while the loss falls.",
        source=f"{PAPER}, section 2",
        about={**NETWORK, "optim": "sgd", "optim.lr": 0.1},
        comparisons=(
            more(Term.of(MEAN_DETACHED, LATE), Term.of(MEAN_DETACHED, EARLY)),
            value(Term.of(MEAN_DETACHED, loss_left()), high=0.5),
        ),
        remark="At a rate at which it trains. At first it was asked at every rate, and a rate at which the network "
        "does not train, where nothing falls, spoke against it.",
        figure="bias_growth",
        experiment="ioffe2015/biases",
        intervention=True,
    ),
    Claim(
        name="I11",
        statement="A bias before a batch normalisation is idle: the loss does not depend on it.",
        source=f"{PAPER}, section 3.2",
        about={**NETWORK, "optim": "sgd"},
        comparisons=(identity(Term.of("batch", greatest("bias_gradient_share", "pull at the bias")), 1e-4),),
        remark="Its gradient over that of the layer's weights, in float32.",
        figure="bias_growth",
        experiment="ioffe2015/biases",
        core=False,
    ),
)
