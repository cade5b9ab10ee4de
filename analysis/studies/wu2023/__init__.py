"""Wu, Yun & Sra (2023): batch normalisation and the order of the data."""

from analysis.studies import Study

STUDY = Study(
    title="On the Training Instability of Shuffling SGD with Batch Normalization",
    source="Wu, Yun & Sra 2023, ICML, arXiv:2302.12444",
    says="With batch normalisation the loss that training descends depends on which samples share a batch. Shuffled "
    "once, the batches stay what they are, and training ends at the optimum of a distorted loss; shuffled in every "
    "epoch, the distortions average out.",
    predicts="With batch normalisation a greater loss over all training samples where the data are shuffled once; "
    "without it no difference.",
    experiments=("wu2023/linear", "wu2023/shift"),
)
