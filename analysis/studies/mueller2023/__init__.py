"""Mueller et al. (2023): sharpness-aware minimisation needs to perturb gamma and beta alone."""

from analysis.studies import Study

STUDY = Study(
    title="Normalization Layers Are All That Sharpness-Aware Minimization Needs",
    source="Mueller, Vlaar, Rolnick & Hein 2023, NeurIPS, arXiv:2306.04226",
    says="Sharpness-aware minimisation descends by the gradient at the worst point nearby. Perturbing gamma and beta "
    "of the normalisations alone, a thousandth of all parameters, generalises as well as perturbing everything or "
    "better, and perturbing everything but them worse: gamma and beta matter in ways of their own.",
    predicts="With gamma and beta alone perturbed a lower test loss than gradient descent's, no higher than that of "
    "perturbing all parameters.",
    experiments=("mueller2023/radii",),
    published=({"model": "resnet", "data": "cifar10"},),
)
