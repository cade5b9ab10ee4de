"""Ioffe & Szegedy (2015): batch normalisation reduces internal covariate shift."""

from analysis.studies import Beside, Study

STUDY = Study(
    title="Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
    source="Ioffe & Szegedy 2015, ICML, arXiv:1502.03167",
    says="Training is slow because the distribution of each layer's inputs drifts while the layers before it learn. "
    "Normalising them removes the drift, and so allows higher rates, careless initialisation and saturating "
    "non-linearities, and regularises.",
    predicts="Steadier distributions of what enters the non-linearity, faster training, higher rates that still train.",
    experiments=(
        "ioffe2015/rates",
        "ioffe2015/largest_rate",
        "ioffe2015/initial_scale",
        "ioffe2015/percentiles",
        "ioffe2015/eight_sigmoids",
        "ioffe2015/biases",
        "ioffe2015/biases_alone",
        "ioffe2015/detached_rates",
        "ioffe2015/scale_invariance",
        "ioffe2015/inference",
        "ioffe2015/singular_values",
        "ioffe2015/few_samples",
        "ioffe2015/shift",
    ),
    published=({"model": "mlp_ioffe_szegedy", "data": "mnist", "optim.batch_size": 60, "steps": 50000},),
    beside=(
        Beside(
            ("I1",),
            "Its large network: Inception on ImageNet (figures 2 and 3)",
            "To 72.2 % it takes 31.0 million steps without, 13.3 with batch normalisation at the same rate; with other "
            "changes too (no dropout, weaker decay and more) 2.1 at five times the rate and 2.7 at thirty times, where "
            "it comes to 74.8 %.",
        ),
        Beside(
            ("I3",),
            "Its large network: Inception on ImageNet (section 4.2.2)",
            "With batch normalisation and other changes it trains at five and at thirty times the rate; without, five "
            "times the rate overflows.",
        ),
        Beside(
            ("I5",),
            "Its large network: Inception on ImageNet (section 4.2.2)",
            "With sigmoids it reaches 69.8 % with batch normalisation, at five times the rate, and without stays at "
            "chance.",
        ),
        Beside(
            ("I1",),
            "A student's replication with published code, on MNIST",
            "It tests at 94.9 % without and 98.2 % with batch normalisation at one rate; as the rate grows, the gap "
            "falls from 85 points to 4.",
        ),
    ),
)
