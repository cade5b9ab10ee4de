"""Karakida, Akaho & Amari (2019): it is normalisation of the last layer that lowers the sharpness."""

from analysis.studies import Study

STUDY = Study(
    title="The Normalization Method for Alleviating Pathological Sharpness in Wide Neural Networks",
    source="Karakida, Akaho & Amari 2019, NeurIPS, arXiv:1906.02926",
    says="At initialisation the largest eigenvalue of the Fisher information of a wide network grows with its width, "
    "and bounds the learning rate. Batch normalisation of the last layer, the network's output, takes that away, by "
    "subtracting the mean; normalising the layers before it does not.",
    predicts="A smaller largest eigenvalue with the output centred, not with it scaled; greater rates train with the "
    "output normalised.",
    experiments=(
        "karakida2019/initialisation",
        "karakida2019/rates",
        "karakida2019/largest_rate_hidden",
        "karakida2019/shift",
    ),
)
