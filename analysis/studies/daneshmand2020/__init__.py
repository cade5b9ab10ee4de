"""Daneshmand et al. (2020, 2021) and Nachum et al. (2024): what becomes of a batch's samples over depth."""

from analysis.studies import Beside, Study

STUDY = Study(
    title="Batch normalization provably avoids rank collapse for randomly initialised deep networks",
    source="Daneshmand, Kohler, Bach, Hofmann & Lucchi 2020, NeurIPS, arXiv:2003.01652; Daneshmand, Joudaki & Bach "
    "2021, NeurIPS, arXiv:2106.03970; Nachum, Hązła, Gastpar & Khina 2024, arXiv:2412.02843",
    says="Without normalisation all samples of a batch come to point in one direction as depth grows; batch "
    "normalisation keeps the rank of a batch at the order of the root of the width, brings samples nearer to "
    "orthogonal, and that is why deep networks with it can be trained. With relu and "
    "centring alone, all samples but one cluster.",
    predicts="A rank of at least .7 of the root of the width with batch normalisation, of nearly 1 without; a distance "
    "from orthogonality that falls as the root of the width; an advantage in training wherever the rank collapses.",
    experiments=(
        "daneshmand2020/linear",
        "daneshmand2020/orthogonality",
        "daneshmand2020/relu",
        "daneshmand2020/tanh",
        "daneshmand2020/trained",
        "daneshmand2020/shift",
    ),
    beside=(
        Beside(
            ("DN2",),
            "The published code of 2020",
            "Its ablation of centring and scaling is inactive in training: it passes statistics of its own to a batch "
            "normalisation in training mode, which ignores them. Here the arms centre only, or scale only.",
        ),
    ),
)
