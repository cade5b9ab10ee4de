"""Mishkin, Sergievskiy & Matas (2016), Francazi et al. (2026): batch normalisation before or after the activation."""

from analysis.studies import Study

STUDY = Study(
    title="Batch normalisation before or after the activation function",
    source="Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.2; Mishkin, Sergievskiy & Matas 2016, arXiv:1606.02228 "
    "(caffenet-benchmark); Francazi et al. 2026",
    says="Ioffe & Szegedy normalise what enters the activation function, for it is more Gaussian than what leaves it. "
    "Mishkin et al. find that their ImageNet network tests better the other way round. Before the activation an "
    "untrained network takes most samples for one class, after it not.",
    predicts="What enters an activation has less skew and excess kurtosis than what leaves it; normalised after the "
    "activation, the network tests better; before it, the share of the most predicted class is greater.",
    experiments=("mishkin2016/rates", "mishkin2016/distributions", "mishkin2016/guessing"),
)
