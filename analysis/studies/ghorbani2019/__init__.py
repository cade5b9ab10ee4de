"""Ghorbani, Krishnan & Xiao (2019): batch normalisation takes away the outliers of the Hessian's spectrum."""

from analysis.studies import Study

STUDY = Study(
    title="An Investigation into Neural Net Optimization via Hessian Eigenvalue Density",
    source="Ghorbani, Krishnan & Xiao 2019, ICML, arXiv:1901.10159",
    says="Without batch normalisation a few eigenvalues of the Hessian stand far above all others, and the gradient "
    "lies mostly in their eigenvectors, in which descent makes no progress. Batch normalisation takes these outliers "
    "away; with the statistics of the population in the batch's place they are back, and training slows down.",
    predicts="A smaller ratio of the first to the tenth eigenvalue with batch normalisation, less of the gradient in "
    "the first ten eigenvectors; outliers again where the statistics of the same network are held fixed, and a "
    "gradient among them again where training normalises by the population.",
    experiments=("ghorbani2019/outliers",),
)
