"""Claims about internal covariate shift: of distributions, and of gradients (Definition 2.1)."""

from __future__ import annotations

from analysis.claims.measures import drift, over_training
from analysis.claims.model import SIMILAR, Claim, Comparison, Region, Term, alike, less, more, value

_PAPER = "Santurkar et al. 2018"
SHIFT = drift("wasserstein", batch="fixed", relative=True, window="learning")
_SHIFT_ABSOLUTE = drift("wasserstein", batch="fixed", window="learning")
_MEAN = drift("mean", batch="train")
_VARIANCE = drift("variance", batch="train")
ICS_L2 = over_training("ics_l2", skip_first_layer=True, window="learning")
ICS_COSINE = over_training("ics_cosine", skip_first_layer=True, window="learning")
_ICS_RELATIVE = over_training("ics_relative", skip_first_layer=True, window="learning")
_COSINE_ALL = over_training("ics_cosine", skip_first_layer=True)
_BEFORE, _AFTER = ICS_L2, over_training("ics_l2", skip_first_layer=True, window="learnt")
_RELATIVE_AFTER = over_training("ics_relative", skip_first_layer=True, window="learnt")

CLAIMS = (
    Claim(
        name="S3",
        statement="How much the distributions of layer inputs drift during training differs only marginally between "
        "networks with and without batch normalisation.",
        source=f"{_PAPER}, section 2.1 and figure 1 (c)",
        rule="Wasserstein-1 distance between probed steps of what enters each activation function, on a fixed batch, "
        "in standard deviations of the layer, median over layers and over the steps until the run has 90 % training "
        f"accuracy: batch over none within a factor {SIMILAR:g}.",
        needs="classification runs of none and batch with the probe activations, three seeds or more",
        comparisons=(
            alike("drift in standard deviations, batch / none", Term("batch", SHIFT), Term("none", SHIFT)),
            alike(
                "absolute drift, batch / none",
                Term("batch", _SHIFT_ABSOLUTE),
                Term("none", _SHIFT_ABSOLUTE),
                decides=False,
            ),
        ),
        figure="fig01_accuracy",
        task="classification",
    ),
    Claim(
        name="S5",
        statement="With noise after its batch normalisation, a network's moments are less stable than even the plain "
        "network's.",
        source=f"{_PAPER}, section 2.2 and figure 8",
        rule="Change between probed steps, each with its own batch and noise, of each unit's mean and variance where "
        "it enters the activation function, median over layers and training: noisy_batch over none above 1, for both.",
        needs="classification runs of none and noisy_batch with the probe activations, three seeds or more",
        comparisons=(
            more("change of means, noisy_batch / none", Term("noisy_batch", _MEAN), Term("none", _MEAN)),
            more("change of variances, noisy_batch / none", Term("noisy_batch", _VARIANCE), Term("none", _VARIANCE)),
        ),
        figure="fig08_moments",
        task="classification",
    ),
    Claim(
        name="S7",
        statement="Internal covariate shift of gradients in networks with batch normalisation is similar to that "
        "without, or larger.",
        source=f"{_PAPER}, section 2.2 and figure 3 (a)",
        rule="Median over layers (without the first, where it is 0) and over the steps until the run has 90 % training "
        f"accuracy: ||G - G'||, batch over none, above 1/{SIMILAR:g}; and cos(G, G'), batch minus none, below 0.1.",
        needs="classification runs of none and batch with the probe ics, three seeds or more",
        comparisons=(
            more("||G - G'||, batch / none", Term("batch", ICS_L2), Term("none", ICS_L2), 1 / SIMILAR),
            Comparison(
                "cos(G, G'), batch - none",
                Term("batch", ICS_COSINE),
                Region(high=0.1),
                Term("none", ICS_COSINE),
                "difference",
            ),
            more(
                "||G - G'|| / ||G||, batch / none",
                Term("batch", _ICS_RELATIVE),
                Term("none", _ICS_RELATIVE),
                1 / SIMILAR,
                decides=False,
            ),
        ),
        figure="fig03_shift",
        task="classification",
    ),
    Claim(
        name="S8",
        statement="In the deep linear network there is almost no internal covariate shift without batch normalisation, "
        "while with it G and G' are almost uncorrelated.",
        source=f"{_PAPER}, section 2.2 and figure 3 (b)",
        rule="cos(G, G'), median over layers (without the first) and training: above 0.9 for none; between -0.3 and "
        "0.3 for batch.",
        needs="runs of none and batch of the deep linear network with the probe ics, three seeds or more",
        comparisons=(
            value("cos(G, G'), none", Term("none", _COSINE_ALL), low=0.9),
            value("cos(G, G'), batch", Term("batch", _COSINE_ALL), low=-0.3, high=0.3),
        ),
        figure="fig03_shift",
        task="regression",
    ),
    Claim(
        name="S9",
        statement="Where internal covariate shift of the network with batch normalisation settles late in training, "
        "that is because training has converged.",
        source=f"{_PAPER}, section 2.2, on figure 3 (a)",
        rule="batch, median over layers after the run has 90 % training accuracy, over that before: of ||G - G'|| "
        "below "
        f"1 (it settles), of ||G - G'|| / ||G|| above 1/{SIMILAR:g} (it does so with the gradient, not beyond it).",
        needs="classification runs of batch with the probe ics that reach 90 % training accuracy, three seeds or more",
        comparisons=(
            less("||G - G'||, after / before 90 %", Term("batch", _AFTER), Term("batch", _BEFORE)),
            more(
                "||G - G'|| / ||G||, after / before 90 %",
                Term("batch", _RELATIVE_AFTER),
                Term("batch", _ICS_RELATIVE),
                1 / SIMILAR,
            ),
        ),
        figure="fig03_shift",
        task="classification",
    ),
)
