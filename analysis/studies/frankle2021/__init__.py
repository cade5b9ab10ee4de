"""Frankle, Schwab & Morcos (2021): what gamma and beta alone can do for random features."""

from analysis.studies import Study

STUDY = Study(
    title="Training BatchNorm and Only BatchNorm: On the Expressive Power of Random Features in CNNs",
    source="Frankle, Schwab & Morcos 2021, ICLR, arXiv:2003.00152",
    says="With all convolutions frozen at their random initialisation, training gamma and beta alone reaches "
    "accuracies far above chance, and above those of training as many weights per channel drawn at random. Many gammas "
    "become 0: the network learns to switch random features off.",
    predicts="Gamma and beta train to a higher test accuracy than two random weights of each channel; more gammas near "
    "0 than where all is trained.",
    experiments=("frankle2021/rates", "frankle2021/parts", "frankle2021/shift"),
)
