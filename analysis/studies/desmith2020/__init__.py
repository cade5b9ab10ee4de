"""De & Smith (2020): in residual networks batch normalisation makes each branch small beside its shortcut."""

from analysis.studies import Study

STUDY = Study(
    title="Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks",
    source="De & Smith 2020, NeurIPS, arXiv:2002.10444",
    says="At initialisation what leaves the residual blocks doubles its second moment with each block without "
    "normalisation, and grows linearly with batch normalisation in the branches: a normalised branch is small beside "
    "the shortcut, so that deep networks begin near the identity, and train. A learnt factor on each branch that "
    "starts at 0 (SkipInit), or at one over the root of the depth, does the same without normalisation.",
    predicts="Growth by ln 2 a block without normalisation, a power of 1 of the depth with it; SkipInit trains a "
    "hundred blocks as well; normalised branches that are not small beside the stream train few blocks, not many.",
    experiments=("desmith2020/initialisation", "desmith2020/deep", "desmith2020/undone"),
    published=({"model": "resnet", "data": "cifar10"},),
)
