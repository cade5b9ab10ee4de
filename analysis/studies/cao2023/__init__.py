"""Cao et al. (2023): batch normalisation biases a linear model towards margins that are all alike."""

from analysis.studies import Study

STUDY = Study(
    title="The Implicit Bias of Batch Normalization in Linear Models: uniform margins",
    source="Cao, Zou, Li & Gu 2023, COLT, arXiv:2306.11680",
    says="Gradient descent of a linear model under the logistic loss goes towards the greatest margin, where few "
    "samples decide and the others lie farther away. With batch normalisation it goes towards uniform margins, alike "
    "for all samples, and far faster than the greatest margin is approached.",
    predicts="Margins whose coefficient of variation goes to 0 with batch normalisation, and does not without.",
    experiments=("cao2023/margins",),
)
