"""Claims about batch normalisation before and after the activation function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from analysis.claims import POINT, Claim, Comparison, Term, alike, difference, in_forms, less, more
from analysis.measures import Levels, Window, over_training
from analysis.select import Arm
from analysis.standard import LARGEST_RATE, QUICKEST, TUNED_ACCURACY
from analysis.studies.mishkin2016.own_measures import most_predicted

_IOFFE = "Ioffe & Szegedy 2015, section 3.2"
_MISHKIN = "Mishkin et al. 2016; caffenet-benchmark, batchnorm.md"
_FRANCAZI = "Francazi et al. 2026"
BEFORE, AFTER = (
    Arm.of(f"{where} activation", {"norm": "batch", "model.placement": where}) for where in ("before", "after")
)
NONE = Arm.norm("none")
MOST_PREDICTED = most_predicted()
PUBLISHED = 0.493 - 0.478
"""Accuracy on ImageNet (128 pixels) after less before, both with gamma and beta; one run each."""
WINDOWS: Mapping[str, Window] = {"equal loss": Levels(2.0, 0.5), "equal step": "all"}
_ABOUT = {"model": "mlp", "task": "classification"}
_UNTRAINED = {**_ABOUT, "model.depth": 10}
SEEDS = 20


def _shape(metric: str, name: str) -> Comparison:
    """Of what enters the normalisation, in the arm where that is the layer's output, and where the activation's."""
    measures = {
        form: over_training(f"{metric}_before_normalisation", name=f"{name} of what is normalised", window=window)
        for form, window in WINDOWS.items()
    }
    return in_forms(lambda measure: less(Term.of(BEFORE, measure), Term.of(AFTER, measure)), measures)


def _guessed(activation: str, comparison: Comparison) -> Comparison:
    return replace(comparison, about={"model.activation": activation})


_SHARES = Term.of(BEFORE, MOST_PREDICTED), Term.of(AFTER, MOST_PREDICTED)

CLAIMS = (
    Claim(
        name="MK1",
        statement="With batch normalisation after the activation the network tests better than with it before, each at "
        "its own best learning rate.",
        source=_MISHKIN,
        about=_ABOUT,
        comparisons=(
            difference(
                Term.of(AFTER, TUNED_ACCURACY),
                Term.of(BEFORE, TUNED_ACCURACY),
                low=0.0,
                smallest=POINT,
                on_published=PUBLISHED,
            ),
        ),
        remark="On these test images. Published is one run of each on ImageNet, at one rate.",
        figure="placements",
        experiment="mishkin2016/rates",
        intervention=True,
    ),
    Claim(
        name="MK2",
        statement="With batch normalisation after the activation the network learns in fewer steps.",
        source=f"{_MISHKIN}, figure of the test accuracy over training",
        about=_ABOUT,
        comparisons=(more(Term.of(BEFORE, QUICKEST), Term.of(AFTER, QUICKEST)),),
        figure="placements",
        experiment="mishkin2016/rates",
        core=False,
        intervention=True,
    ),
    Claim(
        name="MK3",
        statement="With batch normalisation before the activation higher learning rates train than with it after.",
        source=f"{_IOFFE} and 3.3, taken together",
        about={**_ABOUT, "optim.batch_size": 64},
        comparisons=(more(Term.of(BEFORE, LARGEST_RATE), Term.of(AFTER, LARGEST_RATE)),),
        remark="A rate lies between the last that trains and the next that was run.",
        figure="placements",
        experiment="mishkin2016/rates",
        core=False,
        intervention=True,
    ),
    Claim(
        name="MK4",
        statement="What enters an activation function is more Gaussian than what leaves it.",
        source=_IOFFE,
        about=_ABOUT,
        comparisons=(_shape("skew", "|skew|"), _shape("excess_kurtosis", "|excess kurtosis|")),
        remark="Of each unit over the batch, mean of the sizes over units, median over layers; a normalisation changes "
        "neither. Each activation function is a setting of its own.",
        figure="shapes_normalised",
        experiment="mishkin2016/distributions",
    ),
    Claim(
        name="MK5",
        statement="With batch normalisation before the activation an untrained network takes more of the samples for "
        "one class than with it after.",
        source=_FRANCAZI,
        about=_UNTRAINED,
        comparisons=(
            *(_guessed(activation, more(*_SHARES, than=1.25)) for activation in ("relu", "sigmoid")),
            *(
                _guessed(activation, more(Term.of(NONE, MOST_PREDICTED), _SHARES[1], decides=False))
                for activation in ("relu", "sigmoid")
            ),
        ),
        remark="Ten layers, ten classes; an even guess would give each class a tenth of them.",
        experiment="mishkin2016/guessing",
        seeds=SEEDS,
        intervention=True,
    ),
    Claim(
        name="MK6",
        statement="With an activation function that is odd the place makes no difference to what an untrained network "
        "guesses.",
        source=_FRANCAZI,
        about=_UNTRAINED,
        comparisons=(
            _guessed("tanh", alike(*_SHARES, factor=1.25)),
            _guessed("none", alike(*_SHARES, factor=1.25, decides=False)),
        ),
        remark="At first it was judged without an activation function too, where before and after it are one place, so "
        "that it could not fail there.",
        experiment="mishkin2016/guessing",
        seeds=SEEDS,
        core=False,
        intervention=True,
    ),
)
