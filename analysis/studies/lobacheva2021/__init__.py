"""Lobacheva et al. (2021), Kodryan et al. (2022): periodic behaviour, and three regimes at a fixed effective rate."""

from analysis.studies import Study

STUDY = Study(
    title="On the Periodic Behavior of Neural Network Training with Batch Normalization and Weight Decay",
    source="Lobacheva, Kodryan, Chirkova, Malinin & Vetrov 2021, NeurIPS, arXiv:2106.15739; Kodryan, Lobacheva, "
    "Nakhodnov & Vetrov 2022, NeurIPS, arXiv:2209.03695",
    says="Weight decay shortens scale-invariant weights, so that their effective rate grows until a step destabilises "
    "training; the great gradients of the jump make the weights long again, and it starts anew. Held on a sphere, a "
    "network at a fixed effective rate is in one of three regimes: convergence, chaotic equilibrium, divergence.",
    predicts="Jumps of the training loss with a period of about 1 / (2 lr decay), each after a minimum of the weights' "
    "norm; none without weight decay, none without normalisation. Over effective rates, two breaks.",
    experiments=("lobacheva2021/jumps", "lobacheva2021/controls", "lobacheva2021/sphere"),
)
