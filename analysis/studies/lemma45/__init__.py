"""Dannemann & Junike (2025): a counterexample to Lemma 4.5 of Santurkar et al. (2018)."""

from analysis.studies import Study

STUDY = Study(
    title="Does batch normalisation bring the optima nearer to the initialisation?",
    source="Dannemann & Junike 2025, arXiv:2502.17913, on Lemma 4.5 of Santurkar et al. 2018",
    says="The lemma takes the ray of the plain optimum to be optimal with batch normalisation too. That is so where "
    "the inputs are centred, or the neuron has a bias; elsewhere the normalised optimum lies in another direction, "
    "which can be farther from the initialisation.",
    predicts="No violation with centred inputs or with a bias; without either, violations that are not rare.",
    experiments=("lemma45/centred", "lemma45/bias", "lemma45/neither", "lemma45/wide"),
)
