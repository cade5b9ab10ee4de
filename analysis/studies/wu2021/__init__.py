"""Wu & Johnson (2021): which batch the statistics of batch normalisation are of."""

from analysis.studies import Study

STUDY = Study(
    title='Rethinking "Batch" in BatchNorm',
    source="Wu & Johnson 2021, arXiv:2105.07576; Wang et al. 2022, NeurIPS (training-inference discrepancy)",
    says="Training and testing normalise by statistics of different batches. Moving averages lag behind the weights, "
    "so that statistics taken anew of a population validate more steadily; and the smaller the batch, the further the "
    "function that is tested lies from the one that trained. Training by frozen statistics at the end brings the two "
    "together.",
    predicts="Steadier test losses with precise statistics; a gap between train mode and population statistics that "
    "falls with the batch and goes with how far running statistics are from the batch's; a smaller gap where "
    "statistics are frozen in the last tenth of training.",
    experiments=("wu2021/batches", "wu2021/frozen"),
)
