"""Claims about the loss along the gradient: its range, its gradient's change, effective smoothness."""

from __future__ import annotations

from analysis.claims import MUCH, Claim, Comparison, Term, composite, in_forms, more, value
from analysis.measures import FORMS, Levels, Window, forms, over_training
from analysis.standard import RANGE, smoothness
from analysis.studies.santurkar2018.own_measures import (
    LINEAR_LEVELS,
    first_rise,
    last_predicted,
    random_directions,
    sharpness_in_rates,
)

_PAPER = "Santurkar et al. 2018"
_VGG = {"task": "classification"}
_LINE = {"grid": RANGE}
_LOSS_RANGE = forms(over_training, "landscape_data_loss", name="loss range", along="range", **_LINE)
_DIFFERENCE = forms(over_training, "gradient_difference", name="||g' - g||", along="max", **_LINE)
_BETA = forms(over_training, "effective_beta", name="effective beta", along="max", **_LINE)
_RELATIVE = forms(
    over_training, "gradient_difference", name="||g' - g|| / ||g||", along="max", over="gradient_norm", **_LINE
)
_EARLY, _LATE = (
    over_training("landscape_data_loss", name="loss range", along="range", grid=RANGE, window=window)
    for window in ("early", "late")
)


def windows(levels: Levels) -> dict[str, Window]:
    """The forms of what probes measured, at equal loss by these levels."""
    return {form: levels if isinstance(window, Levels) else window for form, window in FORMS.items()}


def smoother(norm: str, than: str = "none", *, grid: tuple[float, float] | None, levels: Levels) -> list[Comparison]:
    """`norm` has less than `than` of each of range, change of the gradient and effective beta, in every form."""
    by_form = {form: smoothness(grid=grid, window=window) for form, window in windows(levels).items()}
    return [
        in_forms(
            lambda m: more(Term.of(than, m), Term.of(norm, m)), {form: own[place] for form, own in by_form.items()}
        )
        for place in range(len(by_form["equal loss"]))
    ]


def _along_random(window: Window) -> Comparison:
    measures = (
        random_directions("landscape_data_loss", "loss range", "range", window),
        random_directions("gradient_difference", "||g' - g||", "max", window),
        random_directions("effective_beta", "effective beta", "max", window),
    )
    return composite([more(Term.of("none", measure), Term.of("batch", measure)) for measure in measures])


CLAIMS = (
    Claim(
        name="S10",
        statement="Along the gradient the loss varies over a much wider range without batch normalisation, mostly "
        "early in training.",
        source=f"{_PAPER}, section 3.1 and figure 4 (a)",
        about=_VGG,
        comparisons=(
            in_forms(
                lambda m: more(Term.of("none", m), Term.of("batch", m), MUCH), _LOSS_RANGE, on_published=0.943 / 0.199
            ),
            more(Term.of("none", _EARLY), Term.of("none", _LATE), on_published=1.99 / 0.124),
        ),
        remark="On the published curve over all steps.",
        figure="fig04_landscape",
        experiment="santurkar2018/vgg",
    ),
    Claim(
        name="S11",
        statement="Gradients are more predictive with batch normalisation.",
        source=f"{_PAPER}, section 3.1, as figure 4 (b) shows it",
        about=_VGG,
        comparisons=(
            in_forms(lambda m: more(Term.of("none", m), Term.of("batch", m)), _RELATIVE),
            in_forms(
                lambda m: more(Term.of("none", m), Term.of("batch", m)), _DIFFERENCE, decides=False, on_published=2.17
            ),
        ),
        remark="Relative to the gradient, whose length the change grows with; as published beside it.",
        figure="fig04_landscape",
        experiment="santurkar2018/vgg",
    ),
    Claim(
        name="S11b",
        statement="Gradients are more predictive with batch normalisation by close to two orders of magnitude.",
        source=f"{_PAPER}, section 3.1, as its text says it",
        about=_VGG,
        comparisons=(
            in_forms(lambda m: more(Term.of("none", m), Term.of("batch", m), 30.0), _DIFFERENCE, on_published=2.17),
        ),
        remark="The statement exceeds its own figure.",
        figure="fig04_landscape",
        experiment="santurkar2018/vgg",
        core=False,
    ),
    Claim(
        name="S12",
        statement="Effective smoothness is consistently better with batch normalisation.",
        source=f"{_PAPER}, section 3.1 and figure 4 (c)",
        about=_VGG,
        comparisons=(
            in_forms(lambda m: more(Term.of("none", m), Term.of("batch", m)), _BETA, on_published=20.01 / 19.95),
            *(
                value(Term.of(norm, sharpness_in_rates("late")), low=1.9, high=2.2, decides=False, on_published=2.0)
                for norm in ("none", "batch")
            ),
        ),
        remark="The statement exceeds its own figure, on which there is no difference: both settle at 20 = 2 / lr, the "
        "edge of stability.",
        figure="fig04_landscape",
        experiment="santurkar2018/vgg",
    ),
    Claim(
        name="S13",
        statement="Batch normalisation smooths the landscape of deep linear networks in the same way.",
        source=f"{_PAPER}, section 3.1 and figure 10",
        about={"model": "deep_linear"},
        comparisons=(composite(smoother("batch", grid=None, levels=LINEAR_LEVELS)),),
        figure="fig10_linear_landscape",
        experiment="santurkar2018/linear",
    ),
    Claim(
        name="S14",
        statement="Along random directions the picture is similar: smoother with batch normalisation.",
        source=f"{_PAPER}, section 3.1, text only (no data in the paper)",
        about=_VGG,
        comparisons=(_along_random(FORMS["equal loss"]),),
        remark="Eight random directions of the gradient's length.",
        figure="random_directions",
        experiment="santurkar2018/vgg_random",
        core=False,
    ),
    Claim(
        name="S15",
        statement="Batch normalisation goes on smoothing at step lengths at which the plain network already fails.",
        source=f"{_PAPER}, section 3.1 and figure 11",
        about=_VGG,
        comparisons=(in_forms(lambda m: more(Term.of("batch", m), Term.of("none", m)), forms(first_rise)),),
        figure="fig11_gradient_difference",
        experiment="santurkar2018/vgg",
    ),
    Claim(
        name="S16",
        statement="With batch normalisation the gradient changes slowly over a broad range of step lengths.",
        source=f"{_PAPER}, section 3.1 and figure 11",
        about=_VGG,
        comparisons=(in_forms(lambda m: more(Term.of("batch", m), Term.of("none", m)), forms(last_predicted)),),
        figure="fig11_gradient_difference",
        experiment="santurkar2018/vgg",
    ),
)
