"""Yang et al. (2019) and Meterez et al. (2024): what batch normalisation does to gradients over depth."""

from analysis.studies import Study

STUDY = Study(
    title="A Mean Field Theory of Batch Normalization",
    source="Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz 2019, ICLR, arXiv:1902.08129; "
    "Meterez, Joudaki, Orabona, Immer, Rätsch & Daneshmand 2024, ICLR",
    says="At initialisation, batch normalisation makes gradients grow exponentially towards the input, whatever the "
    "variance of the weights, so that very deep plain networks with it cannot be trained; one step levels them out. "
    "Without a non-linearity and with orthogonal weights they do not grow.",
    predicts="A growth of pi / (pi - 1) = 1.467 per layer with relu; more layers cost steps with batch normalisation "
    "that they do not cost without.",
    experiments=(
        "yang2019/initialisation",
        "yang2019/one_step",
        "yang2019/depth",
        "yang2019/linear",
        "yang2019/linear_batches",
        "yang2019/shift",
    ),
)
