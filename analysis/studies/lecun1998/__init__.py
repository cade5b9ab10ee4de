"""LeCun, Bottou, Orr & Müller (1998): inputs and layers that are centred, scaled, decorrelated."""

from analysis.studies import Study

STUDY = Study(
    title="Efficient BackProp: centred, standardised, whitened",
    source="LeCun, Bottou, Orr & Müller 1998, section 4.3; Ioffe & Szegedy 2015, arXiv:1502.03167, section 2",
    says="Inputs with a mean, of unequal scales, or correlated make the loss steep in some directions and flat in "
    "others, and gradient descent slow. Centring, scaling and decorrelating them takes that away step by step; what "
    "helps at the input helps in every layer, as long as the gradient step knows of it.",
    predicts="Each step of preparing inputs makes learning faster; whitened layers learn at least as fast as "
    "standardised ones; whitened outside of the gradient step, they train at far lower rates only.",
    experiments=(
        "lecun1998/least_squares",
        "lecun1998/inputs",
        "lecun1998/layers",
        "lecun1998/detached",
    ),
)
