"""Claims about internal covariate shift: of distributions, and of gradients (Definition 2.1)."""

from __future__ import annotations

import math

from analysis.claims import SIMILAR, Claim, Term, alike, difference, in_forms, more, value
from analysis.measures import Levels, drift, forms, over_training
from analysis.select import Arm
from analysis.shifts import both_shifts
from analysis.studies.santurkar2018.own_measures import followed_cosine, ics_exponent

_PAPER = "Santurkar et al. 2018"
_VGG = {"task": "classification"}
_SHIFT = forms(drift, "wasserstein", batch="fixed", relative=True, name="drift in standard deviations")
_SHIFT_ABSOLUTE = forms(drift, "wasserstein", batch="fixed", name="absolute drift")
_SINCE_START = forms(
    drift, "wasserstein", batch="fixed", relative=True, since="start", name="drift since the start, in deviations"
)
_MEAN = drift("mean", batch="train", since="step", relative=True, name="change of means in deviations")
_VARIANCE = drift("variance", batch="train", since="step", relative=True, name="relative change of variances")
_RELATIVE = forms(over_training, "ics_relative", name="||G - G'|| / ||G||", skip_first_layer=True)
_L2 = forms(over_training, "ics_l2", name="||G - G'||", skip_first_layer=True)
_COSINE = forms(over_training, "ics_cosine", name="cos(G, G')", skip_first_layer=True)

CLAIMS = (
    Claim(
        name="S3",
        statement="How much the distributions of layer inputs drift during training differs only marginally between "
        "networks with and without batch normalisation.",
        source=f"{_PAPER}, section 2.1 and figure 1 (c)",
        about=_VGG,
        comparisons=(
            in_forms(lambda m: alike(Term.of("batch", m), Term.of("none", m)), _SHIFT),
            in_forms(lambda m: alike(Term.of("batch", m), Term.of("none", m)), _SINCE_START, decides=False),
            in_forms(lambda m: alike(Term.of("batch", m), Term.of("none", m)), _SHIFT_ABSOLUTE, decides=False),
        ),
        remark="Per update, never per gap between probed steps.",
        figure="fig01_accuracy",
        experiment="santurkar2018/vgg",
    ),
    Claim(
        name="S5",
        statement="With noise after its batch normalisation, a network's moments are less stable than even the plain "
        "network's.",
        source=f"{_PAPER}, section 2.2 and figure 8",
        about=_VGG,
        comparisons=(
            more(Term.of("noisy_batch", _MEAN), Term.of("none", _MEAN)),
            more(Term.of("noisy_batch", _VARIANCE), Term.of("none", _VARIANCE)),
        ),
        remark="Each step has its own batch and noise.",
        figure="fig08_moments",
        experiment="santurkar2018/vgg",
        intervention=True,
    ),
    Claim(
        name="S7",
        statement="Internal covariate shift of gradients in networks with batch normalisation is similar to that "
        "without, or larger.",
        source=f"{_PAPER}, section 2.2 and figure 3 (a)",
        about=_VGG,
        comparisons=(
            in_forms(lambda m: more(Term.of("batch", m), Term.of("none", m), 1 / SIMILAR), _RELATIVE),
            in_forms(lambda m: more(Term.of("batch", m), Term.of("none", m), 1 / SIMILAR), _L2, decides=False),
            in_forms(lambda m: difference(Term.of("batch", m), Term.of("none", m), high=0.1), _COSINE, decides=False),
        ),
        remark="In the first layer the shift is 0.",
        figure="fig03_shift",
        experiment="santurkar2018/vgg",
    ),
    Claim(
        name="S8",
        statement="In the deep linear network there is almost no internal covariate shift without batch normalisation, "
        "while with it G and G' are almost uncorrelated.",
        source=f"{_PAPER}, section 2.2 and figure 3 (b)",
        about={"model": "deep_linear"},
        comparisons=tuple(
            comparison
            for cosine in map(followed_cosine, (9, 17))
            for comparison in (
                value(Term.of("none", cosine), low=math.atanh(0.9)),
                value(Term.of("batch", cosine), low=-math.atanh(0.3), high=math.atanh(0.3)),
            )
        ),
        remark="A cosine above 0.9, and one between -0.3 and 0.3.",
        figure="fig03_shift",
        experiment="santurkar2018/linear",
        core=False,
    ),
    Claim(
        name="S9",
        statement="Where internal covariate shift of the network with batch normalisation settles late in training, "
        "that is because training has converged.",
        source=f"{_PAPER}, section 2.2, on figure 3 (a)",
        about=_VGG,
        comparisons=(value(Term.of("batch", ics_exponent()), low=0.8, high=1.2),),
        remark="It falls with the gradient itself, in proportion.",
        figure="fig03_shift",
        experiment="santurkar2018/vgg",
        core=False,
    ),
    both_shifts(
        "S25",
        f"{_PAPER}, Definition 2.1, against another measure of that name; Haas et al. 2025",
        Arm.norm("batch"),
        Arm.norm("none"),
        levels=Levels(2.0, 0.3),
        about=_VGG,
        experiment="santurkar2018/vgg_shift",
    ),
)
