"""Luo et al. (2019): batch normalisation is population normalisation and a decay of gamma."""

from analysis.studies import Study

STUDY = Study(
    title="Towards Understanding Regularization in Batch Normalization",
    source="Luo, Wang, Shao & Peng 2019, ICLR, arXiv:1809.00846",
    says="What the statistics of a batch of M samples do beyond those of the population is noise, and its expectation "
    "is a penalty on gamma whose strength falls as 1/M. So normalising by the population and decaying gamma by a "
    "constant over M should generalise as batch normalisation does.",
    predicts="With few samples a lower test loss by batch statistics than by the population's, and one constant over M "
    "that makes up for half of the gap or more at every M.",
    experiments=("luo2019/population", "luo2019/detached"),
)
