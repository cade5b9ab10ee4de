"""Claims of the theory: Theorems 4.1 and 4.2, Lemma 4.5, and what their remarks say of practice."""

from __future__ import annotations

import math

from analysis.claims import Claim, Term, difference, identity, value
from analysis.measures import over_training
from analysis.select import Arm
from analysis.studies.santurkar2018.optima import angle, random_within, violations
from analysis.studies.santurkar2018.own_measures import bend_share, identity_error, median_over_layers_of, swing

_PAPER = "Santurkar et al. 2018"
_TERMS = ("scaling_term", "mean_term", "correlation_term")
_ADDITIVE = median_over_layers_of(
    "additive fall, share of the scaling term", _TERMS, "(mean_term + correlation_term) / scaling_term"
)
_SIGMA = over_training("sigma_median", name="sigma of the median unit")
_GAMMA_OVER_SIGMA = over_training("gamma_over_sigma_mean", name="gamma / sigma")
_SCALE_FREE = median_over_layers_of(
    "gamma ||W|| / sigma", ("gamma_over_sigma_mean", "weight_norm"), "gamma_over_sigma_mean * weight_norm"
)
_BOTH = Arm.of("both", {"model": "linear_neuron"})
_FIVE_DEGREES = math.radians(5)

CLAIMS = (
    Claim(
        name="S21",
        statement="The norm of the gradient with respect to a layer's activations falls by an additive term too, even "
        "where gamma = sigma.",
        source=f"{_PAPER}, section 4, Theorem 4.1 (with its constant corrected)",
        comparisons=(
            identity(Term.of("batch", identity_error("theorem_4_1_relative_error")), 1e-3),
            value(Term.of("batch", _ADDITIVE), low=0.0, decides=False),
        ),
        remark="An equation holds or fails, in float32 to a thousandth; how great its additive term is has no verdict.",
        figure="theory_terms",
        experiment="santurkar2018/vgg",
    ),
    Claim(
        name="S22",
        statement="The second-order term along the gradient falls, as <g, yhat> is positive.",
        source=f"{_PAPER}, section 4, Theorem 4.2",
        comparisons=(value(Term.of("batch", bend_share()), low=0.0),),
        remark="Needs probes.use.theory.curvature=true.",
        figure="theory_terms",
        experiment="santurkar2018/vgg_lines",
        core=False,
    ),
    Claim(
        name="S23",
        statement="In practice sigma of a layer's outputs is large and uncontrolled.",
        source=f"{_PAPER}, section 4, on Theorem 4.1",
        comparisons=(
            value(
                Term.of("batch", _SIGMA),
                low=1.0,
                form="sigma",
                forms=(value(Term.of("batch", _GAMMA_OVER_SIGMA), high=1.0, form="gamma / sigma"),),
            ),
            value(Term.of("batch", swing()), low=2.0),
            value(Term.of("batch", _SCALE_FREE), high=1.0, decides=False),
        ),
        remark="Sigma grows with the scale of W, gamma / sigma falls with it; only gamma ||W|| / sigma is free of it.",
        figure="theory_terms",
        experiment="santurkar2018/vgg",
        core=False,
    ),
    Claim(
        name="S24",
        statement="The nearest optimum is nearer to the initialisation with batch normalisation.",
        source=f"{_PAPER}, section 4, Lemma 4.5",
        about={"model": "linear_neuron"},
        comparisons=(
            difference(Term(_BOTH, angle(True)), Term(_BOTH, angle(False)), high=0.0, smallest=_FIVE_DEGREES),
            value(Term(_BOTH, violations()), high=0.5, decides=False),
            value(Term(_BOTH, random_within(False)), high=0.5, decides=False),
        ),
        remark="The loss with batch normalisation knows no length, so that its optima are rays and the lemma's bound "
        "is one on angles. In one linear neuron the optima are known; in a deep network a run's end need not be one. "
        "Beside it: how often the lemma is violated, and how often a random ray meets its bound.",
        figure="optima",
        experiment="lemma45/neither",
        core=False,
    ),
)
