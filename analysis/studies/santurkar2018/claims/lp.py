"""Claims about l_p normalisations: batch normalisation without control of the first two moments."""

from __future__ import annotations

from dataclasses import replace

from analysis.claims import SIMILAR, Claim, Comparison, Term, composite, in_forms, less, more
from analysis.decide import Region
from analysis.measures import Levels, drift, forms
from analysis.standard import LOSS, RANGE, SPEED
from analysis.studies.santurkar2018.claims.landscape import smoother
from analysis.studies.santurkar2018.own_measures import LINEAR_LEVELS

_PAPER = "Santurkar et al. 2018"
_NORMS = ("l1", "l2", "linf")
_CLASSIFICATION, _REGRESSION = {"task": "classification"}, {"task": "regression"}
_SHIFT = forms(drift, "wasserstein", batch="fixed", relative=True, name="drift in standard deviations")
_STEPS_PUBLISHED = {"l1": 1600 / 1600, "l2": 1800 / 1600, "linf": 1600 / 1600}
_LOSS_PUBLISHED = {"l1": 97.4 / 479.3, "l2": 481.2 / 479.3, "linf": 985.7 / 479.3}
_NAMES = {"l1": "L1", "l2": "L2", "linf": "Linf"}


def _trains(letter: str, norm: str) -> Claim:
    exceeds = " In the linear network the statement exceeds its own figure." if norm == "linf" else ""
    return Claim(
        name=f"S17{letter}",
        statement=f"{_NAMES[norm]} normalisation trains comparably to batch normalisation, or better.",
        source=f"{_PAPER}, section 3.3 and figure 5",
        comparisons=(
            less(
                Term.of(norm, SPEED),
                Term.of("batch", SPEED),
                SIMILAR,
                about=_CLASSIFICATION,
                on_published=_STEPS_PUBLISHED[norm],
            ),
            less(
                Term.of(norm, LOSS),
                Term.of("batch", LOSS),
                SIMILAR,
                about=_REGRESSION,
                on_published=_LOSS_PUBLISHED[norm],
            ),
        ),
        remark=f"On the published curve in the linear network, the loss at the end.{exceeds}",
        figure="fig05_lp_training",
        experiment="santurkar2018/vgg",
        intervention=True,
    )


def _shifts_more(norm: str) -> Comparison:
    return in_forms(lambda measure: more(Term.of(norm, measure), Term.of("none", measure)), _SHIFT)


def _as_smooth(grid: tuple[float, float] | None, levels: Levels) -> Comparison:
    """All three of smoothness of all three norms against batch normalisation, as one number within 1.5 of 1."""
    one = composite([c for p in _NORMS for c in smoother(p, "batch", grid=grid, levels=levels)])
    region = Region(1 / SIMILAR, SIMILAR)
    return replace(one, region=region, forms=tuple(replace(form, region=region) for form in one.forms))


CLAIMS = (
    *(_trains(letter, norm) for letter, norm in zip("abc", _NORMS, strict=True)),
    Claim(
        name="S18",
        statement="In the deep linear network L1 normalisation trains better than batch normalisation.",
        source=f"{_PAPER}, section 3.3 and figure 5 (b)",
        about={"model": "deep_linear"},
        comparisons=(less(Term.of("l1", LOSS), Term.of("batch", LOSS), on_published=_LOSS_PUBLISHED["l1"]),),
        figure="fig05_lp_training",
        experiment="santurkar2018/linear",
        core=False,
    ),
    Claim(
        name="S19",
        statement="l_p normalised networks shift their distributions more than the plain network, and yet train "
        "better.",
        source=f"{_PAPER}, section 3.3 and figures 5 and 6",
        about=_CLASSIFICATION,
        comparisons=(
            composite([_shifts_more(norm) for norm in _NORMS]),
            composite([more(Term.of("none", SPEED), Term.of(p, SPEED)) for p in _NORMS], on_published=1.98),
        ),
        figure="fig06_lp_histograms",
        experiment="santurkar2018/vgg",
        intervention=True,
    ),
    Claim(
        name="S20",
        statement="l_p normalisations smooth the landscape as batch normalisation does.",
        source=f"{_PAPER}, section 3.3 and figure 12",
        about=_CLASSIFICATION,
        comparisons=(_as_smooth(RANGE, Levels()),),
        needs_first=("S10", "S11", "S12"),
        figure="fig12_lp_landscape",
        experiment="santurkar2018/vgg",
        intervention=True,
    ),
    Claim(
        name="S20b",
        statement="l_p normalisations smooth the landscape of the deep linear network as batch normalisation does.",
        source=f"{_PAPER}, section 3.3 and figure 13",
        about={"model": "deep_linear"},
        comparisons=(_as_smooth(None, LINEAR_LEVELS),),
        needs_first=("S13",),
        figure="fig13_linear_lp_landscape",
        experiment="santurkar2018/linear",
        intervention=True,
    ),
)
