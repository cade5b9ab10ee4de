"""Kohler et al. (2019), Cai et al. (2019): length and direction, and any learning rate, on least squares."""

from analysis.studies import Study

STUDY = Study(
    title="Exponential convergence rates for Batch Normalization: length and direction apart",
    source="Kohler, Daneshmand, Lucchi, Hofmann, Zhou & Neymeyr 2019, AISTATS, arXiv:1805.10694; Cai, Li & Shen 2019, "
    "ICML, A quantitative analysis of the effect of batch normalization on gradient descent",
    says="Batch normalisation descends the length of a neuron's weights apart from their direction. On least squares "
    "that converges linearly, at a rate that the condition number governs as it does without; but the weights' own "
    "length tunes the step, so that any learning rate converges.",
    predicts="As many steps at the best rate with length and direction apart as without; a range of learning rates "
    "that is decades wider, where gamma has a rate of its own, at most 1.",
    experiments=("kohler2019/speed", "kohler2019/rates"),
)
