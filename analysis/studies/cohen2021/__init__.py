"""Cohen et al. (2021): full-batch gradient descent at the edge of stability, with batch normalisation and without."""

from analysis.studies import Study

STUDY = Study(
    title="Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability",
    source="Cohen, Kaur, Li, Kolter & Talwalkar 2021, ICLR, arXiv:2103.00065",
    says="Under full-batch gradient descent of rate lr the sharpness, the largest eigenvalue of the Hessian, rises "
    "until it is 2 / lr, and stays there, with batch normalisation as without. So the effective beta that is "
    "measured along the gradient is about 2 / lr in either network, and says nothing of batch normalisation.",
    predicts="lr times sharpness between 1.9 and 2.2 once it got there, in both networks.",
    experiments=("cohen2021/edge",),
)
