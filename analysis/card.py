"""The report card of one normalisation: the report seen from it, against no normalisation and batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.claims import (
    SIMILAR,
    Claim,
    Comparison,
    Region,
    Term,
    final,
    learnt_share,
    less,
    more,
    steps_to_learn,
    value,
)
from analysis.claims.landscape import LINEAR, VGG, Smoothness
from analysis.claims.shift import ICS_COSINE, ICS_L2, SHIFT
from analysis.report import Page, write_report

REFERENCES = ("none", "batch")
NEARLY = 0.01  # accuracy


def write_card(
    norm: str,
    paths: Sequence[Path],
    out: Path,
    *,
    further_claims: Sequence[Claim] = (),
    further_figures: Sequence[Path] = (),
    results_version: int | None = None,
) -> Path:
    """Writes card-NORM.html and its numbers to the folder `out`; gives the page's absolute path.

    Raises WrongInput (no runs of it, nearest name given), DamagedFile, OSError.
    """
    page = Page(
        f"card-{norm}",
        norm,
        "Report card of a normalisation",
        "How it compares",
        f"{norm} against no normalisation and against batch normalisation, by the rules and statistics of the ledger "
        "of "
        "claims: supported means that the answer to the question is yes, contradicted that it is no.",
    )
    return write_report(
        paths,
        out,
        page=page,
        entries=[*questions(norm), *further_claims],
        further_figures=further_figures,
        norms=list(dict.fromkeys((norm, *REFERENCES))),
        also=[norm],
        results_version=results_version,
    )


def questions(norm: str) -> list[Claim]:
    """What a card asks, as claims C1, C2, ...; those that would compare the normalisation with itself are left out."""
    speed, accuracy, loss = steps_to_learn(), final("accuracy", "test"), final("data_loss", "train")
    shifts = (("drift of distributions", SHIFT), ("||G - G'||", ICS_L2))

    def smoother(measures: Smoothness, other: str, than: float) -> tuple[Comparison, ...]:
        return tuple(
            more(f"{name}, {other} / {norm}", Term(other, measure), Term(norm, measure), than)
            for name, measure in measures.named().items()
        )

    def better(other: str, by: float) -> Comparison:
        what = f"final test accuracy, {norm} - {other}"
        return Comparison(what, Term(norm, accuracy), Region(low=by), Term(other, accuracy), "difference")

    asked: list[tuple[str, str, str, tuple[Comparison, ...], tuple[Comparison, ...], str | None]] = []
    asked.append(
        (
            "learn",
            "Does it train at all?",
            "Share learnt, (final - first) / (1 - first) of the training accuracy, above 0.5.",
            (value(f"share learnt, {norm}", Term(norm, learnt_share()), low=0.5),),
            (),
            "fig01_accuracy",
        )
    )
    for other in REFERENCES:
        than, so = (1.0, "faster than") if other == "none" else (1 / SIMILAR, "as fast as")
        asked.append(
            (
                other,
                f"Does it train {so} {_named(other)}?",
                f"Steps to 90 % training accuracy (in regression: final training loss), {other} over {norm}, above "
                f"{than:.2g}.",
                (
                    more(
                        f"steps to 90 % training accuracy, {other} / {norm}",
                        Term(other, speed),
                        Term(norm, speed),
                        than,
                    ),
                ),
                (more(f"final training loss, {other} / {norm}", Term(other, loss), Term(norm, loss), than),),
                "fig05_lp_training",
            )
        )
        by, so = (0.0, "better than") if other == "none" else (-NEARLY, "as well as")
        asked.append(
            (
                other,
                f"Does it test {so} {_named(other)}?",
                f"Final test accuracy, {norm} minus {other}, above {by:g}.",
                (better(other, by),),
                (),
                "fig01_accuracy",
            )
        )
        than, so = (1.0, "smoother than") if other == "none" else (1 / SIMILAR, "as smooth as")
        asked.append(
            (
                other,
                f"Is its landscape along the gradient {so} that of {_named(other)}?",
                "Loss range, greatest gradient change and greatest effective beta along the gradient, median over "
                f"training: {other} over {norm} above {than:.2g}, for all three.",
                smoother(VGG, other, than),
                smoother(LINEAR, other, than),
                "fig12_lp_landscape",
            )
        )
        asked.append(
            (
                other,
                f"Is its internal covariate shift smaller than that of {_named(other)}?",
                f"||G - G'|| and drift of what enters each activation function, {norm} over {other}, below 1, and "
                f"cos(G, G'), {norm} minus {other}, above 0.",
                (
                    *(less(f"{name}, {norm} / {other}", Term(norm, m), Term(other, m)) for name, m in shifts),
                    Comparison(
                        f"cos(G, G'), {norm} - {other}",
                        Term(norm, ICS_COSINE),
                        Region(low=0.0),
                        Term(other, ICS_COSINE),
                        "difference",
                    ),
                ),
                (),
                "fig03_shift",
            )
        )
    claims: list[Claim] = []
    for other, statement, rule, comparisons, linear, figure in asked:
        if other != norm:
            claims.append(
                Claim(
                    name=f"C{len(claims) + 1}",
                    statement=statement,
                    source=f"{norm} against {_named(other)}" if other in REFERENCES else norm,
                    rule=rule,
                    needs=f"runs of {norm}{f' and {other}' if other in REFERENCES else ''}, three seeds or more",
                    comparisons=comparisons,
                    linear=linear,
                    figure=figure,
                    task=None if linear or figure == "fig03_shift" else "classification",
                )
            )
    return claims


def _named(norm: str) -> str:
    return "the plain network" if norm == "none" else "batch normalisation"
