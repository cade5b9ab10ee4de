"""Bjorck et al. (2018): batch normalisation helps because greater learning rates train."""

from analysis.studies import Study

STUDY = Study(
    title="Understanding Batch Normalization",
    source="Bjorck, Gomes, Selman & Weinberger 2018, NeurIPS, arXiv:1806.02375",
    says="What batch normalisation gives is that greater learning rates train, and these generalise better. Without "
    "it, activations grow with depth, and a step that is a little too long makes the loss explode; at the small rate "
    "that a plain network needs, batch normalisation hardly helps.",
    predicts="Rates train that are several times as great, steps of ten times the length before the loss is tenfold; "
    "no difference at a small rate.",
    experiments=(
        "bjorck2018/rates",
        "bjorck2018/largest_rate_none",
        "bjorck2018/largest_rate_batch",
        "bjorck2018/landscape",
        "bjorck2018/divergence",
        "bjorck2018/shift",
    ),
)
