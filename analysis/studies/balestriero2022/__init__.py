"""Balestriero & Baraniuk (2022): batch normalisation moves the units' hyperplanes to the data."""

from analysis.studies import Study

STUDY = Study(
    title="Batch Normalization Explained",
    source="Balestriero & Baraniuk 2022, arXiv:2209.14778",
    says="A relu network cuts its input space into pieces, along surfaces where a unit's input is 0. Batch "
    "normalisation, by its centring, brings these surfaces to the samples, without a label and before any training, so "
    "that the pieces are small where the data are.",
    predicts="On the way from one sample to another a unit's sign changes more often with batch normalisation and with "
    "centring alone, no more often with layer normalisation; fewer units never change theirs.",
    experiments=("balestriero2022/segments",),
)
