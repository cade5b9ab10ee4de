"""Does drift matter? Algorithm 1's noise, drawn anew, remembered, or without any drift; our own experiment."""

from analysis.studies import Study

STUDY = Study(
    title="Does drift matter? Noise that is remembered, and noise without drift",
    source="our own, on Algorithm 1 of Santurkar et al. 2018, arXiv:1805.11604, and the question of Awais, Bin Iqbal & "
    "Bae 2020, TNNLS 32(11), of which we know the abstract only and repeat nothing",
    says="If batch normalisation helps because layers' inputs drift less, then drift that is put back after it must "
    "cost what it gained. Algorithm 1 of Santurkar et al. puts back noise that jumps at every step; how fast it "
    "drifts, and whether it drifts at all, can be varied while what a value looks like at each step stays the same.",
    predicts="With the noise off where progress is measured: where drift matters, noise that jumps costs more than "
    "half of what batch normalisation gained, and more than the same noise drawn for each sample; where it does not, "
    "nothing beyond a factor of 1.25.",
    experiments=("correlated_noise/rates", "correlated_noise/shift"),
)
