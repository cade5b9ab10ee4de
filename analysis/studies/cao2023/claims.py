"""Claims about uniform margins."""

from __future__ import annotations

from dataclasses import replace

from analysis.claims import Claim, Term, value
from analysis.measures import final
from analysis.select import Arm, plain
from analysis.studies.cao2023.own_measures import log_trend

_CAO = "Cao, Zou, Li & Gu 2023"
_ABOUT = {
    "model": "linear_neuron",
    "data": "gaussian_signs",
    "optim": "gd",
    "optim.criterion": "logistic",
    "optim.momentum": 0.0,
    "steps": 3000,
}
METRIC = "margin_variation"
VARIATION = replace(
    final(METRIC, "train"),
    name="final coefficient of variation of margins",
    says="median of the last tenth of probed steps",
    diverged_count=False,  # infinite would count as unequal
)
START = 300
"""Steps, from which on the trend is looked at: the samples are separated by then."""
TREND = log_trend(METRIC, "coefficient of variation of margins", START)
UNIFORM, UNEQUAL = 0.05, 0.3
NO_BETA = [{"match": "beta", "train": False}]
BATCH = Arm.of("batch, scaling alone", {"norm": "batch", "norm.center": False, "optim.groups": plain(NO_BETA)})
"""As in the paper: gamma <w, x> / sqrt(mean of <w, x_i>^2), without a mean and without a beta."""
USUAL = Arm.of("batch", {"norm": "batch", "optim.groups": "[]"})
NONE = Arm.of("none", {"norm": "none", "optim.groups": "[]"})

CLAIMS = (
    Claim(
        name="UM1",
        statement="With batch normalisation the margins of a linear model come to be alike.",
        source=f"{_CAO}, theorem 2.2",
        about=_ABOUT,
        comparisons=(
            value(Term.of(BATCH, VARIATION), high=UNIFORM),
            value(Term.of(USUAL, VARIATION), high=UNIFORM, decides=False),
        ),
        remark="All 45 samples are one batch, in 50 dimensions. The paper's normalisation divides by the root mean "
        "square; beside it the usual one, with mean and beta. Each learning rate is a setting of its own.",
        figure="margins_over_training",
        experiment="cao2023/margins",
        intervention=True,
    ),
    Claim(
        name="UM2",
        statement="Without normalisation they stay unequal.",
        source=f"{_CAO}, section 1 and figure 1; Soudry et al. 2018, arXiv:1710.10345: the greatest margin",
        about=_ABOUT,
        comparisons=(value(Term.of(NONE, VARIATION), low=UNEQUAL),),
        figure="margins_over_training",
        experiment="cao2023/margins",
    ),
    Claim(
        name="UM3",
        statement="With batch normalisation the coefficient of variation of the margins goes on falling.",
        source=f"{_CAO}, theorem 2.2",
        about=_ABOUT,
        comparisons=(
            value(Term.of(BATCH, TREND), high=0.0),
            value(Term.of(USUAL, TREND), high=0.0, decides=False),
            value(Term.of(NONE, TREND), high=0.0, decides=False),
        ),
        remark="That it falls, not how fast: the plain model's falls too, towards another number than 0, so that this "
        "does not tell the two apart.",
        figure="margins_over_training",
        experiment="cao2023/margins",
        intervention=True,
    ),
)
