"""Summers & Dinneen (2020): ghost batches, and examples that are weighed in at test time."""

from analysis.studies import Beside, Study

STUDY = Study(
    title="Four Things Everyone Should Know to Improve Batch Normalization",
    source="Summers & Dinneen 2020, ICLR, arXiv:1906.03548; Hoffer, Hubara & Soudry 2017, NIPS, arXiv:1705.08741",
    says="Normalising small parts of a batch by themselves regularises, also where there is no need to make batches "
    "small. In training an example is part of its own statistics and at test time it is not: mixed into them with a "
    "weight that is chosen after training, it narrows that difference.",
    predicts="Ghost batches test better on few samples; weighing the example in lowers the test loss of networks "
    "trained with small batches.",
    experiments=("summers2020/ghost_batches", "summers2020/weighing"),
    beside=(
        Beside(
            ("SD1", "SD2"),
            "The code that was released with it",
            "Its decay of gamma and beta, of gamma towards 1, is an option that is never on in the released file.",
        ),
    ),
)
