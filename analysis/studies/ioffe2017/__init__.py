"""Ioffe (2017): batch renormalisation, for batches that are small or no fair draw."""

from analysis.studies import Beside, Study

STUDY = Study(
    title="Batch Renormalization: Towards Reducing Minibatch Dependence in Batch-Normalized Models",
    source="Ioffe 2017, NIPS, arXiv:1702.03275",
    says="With batch normalisation an activation depends on the other samples of its batch in training and not at test "
    "time. The two functions drift apart where batches are small, or hold few classes. Corrected by the running "
    "statistics, and the correction taken as a constant in the gradient, training computes what testing computes.",
    predicts="Where batches are normalised in parts of 2 or 4 samples, or hold few classes, renormalisation tests "
    "better than batch normalisation.",
    experiments=("ioffe2017/micro_batches", "ioffe2017/few_classes"),
    beside=(
        Beside(
            ("BR1",),
            "A replication on CIFAR-100, parts of two samples",
            "There the curves do not meet as the published ones do (17 to 19 % against 26 %).",
        ),
    ),
)
