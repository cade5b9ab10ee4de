"""Lubana et al. (2021): one predictor of training speed for all normalisations."""

from analysis.studies import Study

STUDY = Study(
    title="Beyond BatchNorm: Towards a Unified Understanding of Normalization in Deep Learning",
    source="Lubana, Dick & Tanaka 2021, NeurIPS, arXiv:2106.05956",
    says="What a network does to its samples at initialisation foretells how fast it trains, whichever normalisation "
    "it has: those that make samples alike leave little to tell them apart by, and train slowly.",
    predicts="The more alike samples are after the last hidden layer at initialisation (mean cosine), the more steps "
    "training takes; also within one family, where a share of the mean is removed before scaling.",
    experiments=("lubana2021/centring", "lubana2021/shift", "lubana2021/norms"),
)
