"""Claims of the theory: Theorems 4.1 and 4.2, Lemma 4.5, and what their remarks say of practice."""

from __future__ import annotations

import pandas as pd

from analysis.claims.measures import Records, over_training
from analysis.claims.model import Claim, Measure, Term, value

_PAPER = "Santurkar et al. 2018"
_THEORY = "runs of batch with the probe theory, three seeds or more"


def _together(records: Records, *metrics: str) -> pd.DataFrame:
    """run, step, layer and one column per metric."""
    frames = [records.rows(metric, "train").set_index(["run", "step", "layer"])["value"] for metric in metrics]
    return pd.concat(frames, axis=1, keys=metrics).reset_index()


def _additive_share() -> Measure:
    def per_run(records: Records) -> pd.Series:
        frame = _together(records, "scaling_term", "mean_term", "correlation_term")
        share = (frame["mean_term"] + frame["correlation_term"]) / frame["scaling_term"]
        by_step = share.groupby([frame["run"], frame["step"]], observed=True).median()
        return by_step.groupby("run", observed=True).median().reindex(records.runs.index)

    says = "(mean term + correlation term) / scaling term of Theorem 4.1, median over layers and training"
    return Measure(says, tuple((name, "train") for name in ("scaling_term", "mean_term", "correlation_term")), per_run)


def _falls() -> Measure:
    def per_run(records: Records) -> pd.Series:
        rows = records.rows("theorem_4_2_bend_term", "train")
        rows = rows[rows["value"].notna()]
        return (rows["value"] > 0).groupby(rows["run"], observed=True).mean().reindex(records.runs.index)

    says = "share of layers and probed steps at which the term with <g, yhat> lowers the curvature (Theorem 4.2)"
    return Measure(says, (("theorem_4_2_bend_term", "train"),), per_run)


def _swing() -> Measure:
    def per_run(records: Records) -> pd.Series:
        rows = records.rows("sigma_median", "train")
        layers = rows.groupby(["run", "layer"], observed=True)["value"]
        return (layers.max() / layers.min()).groupby("run", observed=True).median().reindex(records.runs.index)

    says = "greatest over least sigma of a layer (its median unit) during training, median over layers"
    return Measure(says, (("sigma_median", "train"),), per_run)


CLAIMS = (
    Claim(
        name="S21",
        statement="The norm of the gradient with respect to a layer's activations falls by an additive term too, even "
        "where gamma = sigma.",
        source=f"{_PAPER}, section 4, Theorem 4.1 (with its constant corrected)",
        rule="Mean and correlation term together, as a share of the scaling term, which gamma and sigma cancel from: "
        "median over layers and training above 0.01. (It is never negative; below 1 % counts as no fall.)",
        needs=_THEORY,
        comparisons=(
            value("additive fall, share of the scaling term, batch", Term("batch", _additive_share()), low=0.01),
        ),
        figure="theory_terms",
    ),
    Claim(
        name="S22",
        statement="The second-order term along the gradient falls, as <g, yhat> is positive.",
        source=f"{_PAPER}, section 4, Theorem 4.2",
        rule="Share of layers and probed steps at which the term with <g, yhat> lowers the second-order term: above "
        "0.5.",
        needs="runs of batch with the probe theory and its option curvature=true, three seeds or more",
        comparisons=(value("share of points where it falls, batch", Term("batch", _falls()), low=0.5),),
        figure="theory_terms",
    ),
    Claim(
        name="S23",
        statement="In practice sigma of a layer's outputs is large and uncontrolled.",
        source=f"{_PAPER}, section 4, on Theorem 4.1",
        rule="sigma of the median unit, median over layers and training, above 1; and its greatest over its least "
        "value during training, median over layers, above 2.",
        needs=_THEORY,
        comparisons=(
            value("sigma, batch", Term("batch", over_training("sigma_median")), low=1.0),
            value("greatest / least sigma during training, batch", Term("batch", _swing()), low=2.0),
        ),
        figure="theory_terms",
    ),
    Claim(
        name="S24",
        statement="The nearest optimum is nearer to the initialisation with batch normalisation.",
        source=f"{_PAPER}, section 4, Lemma 4.5",
        rule="None: the lemma compares the nearest of all optima.",
        needs="nothing that a run could give",
        untestable="the lemma is about the nearest of all optima with and without rescaling; a run ends at one point, "
        "which need not be an optimum, so that its distance to the start decides nothing",
    ),
)
