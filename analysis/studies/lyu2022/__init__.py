"""Lyu, Li & Arora (2022): with weight decay, normalised networks go on to flatter minima at the edge of stability."""

from analysis.studies import Study

STUDY = Study(
    title="Understanding the Generalization Benefit of Normalization Layers: Sharpness Reduction",
    source="Lyu, Li & Arora 2022, NeurIPS, arXiv:2206.07085",
    says="Weight decay makes scale-invariant weights shorter, so that their effective rate lr / |w|^2 grows until "
    "the spherical sharpness |w|^2 lambda_1 is 2 over it. From there descent oscillates about the minima and "
    "drifts along them to flatter ones: normalisation and weight decay together reduce the sharpness.",
    predicts="lr times sharpness reaches 2; then the spherical sharpness falls by a third and more while the training "
    "loss stays where it is; without weight decay it does not fall.",
    experiments=("lyu2022/sharpness", "lyu2022/great_decay"),
)
