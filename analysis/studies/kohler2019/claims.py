"""Claims about least squares by one neuron: as many steps at the best rate, over a wider range of rates."""

from __future__ import annotations

from analysis.across import width
from analysis.best import best
from analysis.claims import Claim, Term, alike, difference
from analysis.select import Arm, plain
from analysis.studies.kohler2019.own_measures import loss_left, steps_to_loss

_NEURON = {"model": "linear_neuron", "data": "least_squares"}
LEVEL = 1e-10
"""Training loss, half the squared error; the targets have a variance of about 3."""
LEFT = 0.1
"""Of the loss at the start: below it a rate counts as one that trains."""
WIDER = 1.5
"""Decades."""
STEPS = steps_to_loss(LEVEL)
SHARE = loss_left()
_EXACT = {"norm": "batch", "norm.eps": 1e-12}
DESCENT = Arm.of("gradient descent", {"norm": "none", "optim": "gd"})
APART = Arm.of("length and direction", {**_EXACT, "optim": "length_direction"})
OWN_RATE = [{"match": "gamma", "lr": 1.0}, {"match": "beta", "lr": 1.0}]
"""Of half a squared error the curvature in gamma and in beta is 1: at a rate of 1 each is at its best after a step."""
NONE = Arm.of("none", {"norm": "none", "optim.groups": "[]"})
BATCH = Arm.of("batch, gamma at a rate of 1", {**_EXACT, "optim.groups": plain(OWN_RATE)})
ONE_RATE = Arm.of("batch, one rate for all", {**_EXACT, "optim.groups": "[]"})
_DECADES = width(SHARE, "optim.lr", below=LEFT)
_SPEED = best(STEPS, "optim.lr", by=STEPS)

CLAIMS = (
    Claim(
        name="KO1",
        statement="On least squares, descending length and direction apart takes as many steps as gradient descent, "
        "each at its best rate.",
        source="Kohler et al. 2019, theorem 1: the rate is (1 - mu / L)^2 a step, as that of gradient descent",
        about=_NEURON,
        comparisons=(alike(Term.of(DESCENT, _SPEED), Term.of(APART, _SPEED)),),
        remark="In steps; a step of length and direction costs five passes. What is gained by taking them apart, the "
        "paper says of other problems.",
        figure="least_squares_rates",
        experiment="kohler2019/speed",
        intervention=True,
    ),
    Claim(
        name="KO2",
        statement="With batch normalisation, whose gamma has a rate of its own, least squares train over a range of "
        "learning rates of the weights that is more than 1.5 decades wider than without.",
        source="Cai, Li & Shen 2019, section 3: any rate of the weights converges, if that of gamma is at most 1",
        about={**_NEURON, "optim": "gd", "optim.criterion": "half_squared_error", "optim.momentum": 0.0},
        comparisons=(
            difference(Term.of(BATCH, _DECADES), Term.of(NONE, _DECADES), low=WIDER),
            difference(Term.of(ONE_RATE, _DECADES), Term.of(NONE, _DECADES), low=WIDER, decides=False),
        ),
        remark="Beside it gamma and beta at the rate of the weights, which no theorem covers.",
        figure="least_squares_rates",
        experiment="kohler2019/rates",
        intervention=True,
    ),
)
