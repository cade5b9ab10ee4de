"""Claims about the edge of stability with batch normalisation and without."""

from __future__ import annotations

from analysis.claims import Claim, Term, alike, count, value
from analysis.measures import Levels
from analysis.select import Arm
from analysis.shifts import both_shifts
from analysis.studies.cohen2021.own_measures import greatest, settled

_COHEN = "Cohen et al. 2021"
_ARMS = ("none", "batch")
_ABOUT = {"optim": "gd", "optim.momentum": 0.0, "optim.schedule": "constant", "optim.batch_size": None}
_ABOUT |= {"optim.criterion": "half_squared_error"}
"""With momentum, or Adam, the edge lies elsewhere."""
REACHED = 1.9
"""lr x sharpness from which on a run counts as at the edge."""
EDGE = (1.9, 2.2)
"""Where it must stay: 2 in theory, and somewhat above in practice."""
_SHARPNESS = settled("sharpness_times_rate", "lr x sharpness")
_ALONG = settled("curvature_along_gradient_times_rate", "lr x curvature along the gradient")

CLAIMS = (
    Claim(
        name="CO1",
        statement="Under full-batch gradient descent the sharpness rises to 2 / lr without divergence, with batch "
        "normalisation as without.",
        source=f"{_COHEN}, section 3 and appendix on batch normalisation",
        about=_ABOUT,
        comparisons=tuple(count(Term.of(arm, greatest()), "gets to the edge", REACHED, low=0.5) for arm in _ARMS),
        remark="Asked first: of a run that is below the edge, or diverged, the other claims are not judged.",
        figure="edge_of_stability",
        experiment="cohen2021/edge",
        core=False,
    ),
    Claim(
        name="CO2",
        statement="Once there it stays at or just above 2 / lr, with batch normalisation as without.",
        source=f"{_COHEN}, section 3 and appendix on batch normalisation",
        about=_ABOUT,
        comparisons=(
            *(value(Term.of(arm, _SHARPNESS), low=EDGE[0], high=EDGE[1]) for arm in _ARMS),
            *(value(Term.of(arm, _ALONG), low=EDGE[0], high=EDGE[1], decides=False) for arm in _ARMS),
        ),
        remark="Curvature along the gradient, which effective beta measures too, is 2 / lr at the edge and near 0 "
        "below: the same fact, so that it has no say. The published networks normalise after the activation, these "
        "before it.",
        figure="edge_of_stability",
        experiment="cohen2021/edge",
        needs_first=("CO1",),
    ),
    Claim(
        name="CO3",
        statement="At a given learning rate the sharpness with batch normalisation is that without it.",
        source=f"what seems to follow from {_COHEN}, and is not said there",
        about=_ABOUT,
        comparisons=(
            alike(Term.of("batch", _s := settled("largest_eigenvalues", "sharpness")), Term.of("none", _s), 1.25),
        ),
        remark="It follows only where both networks are at the edge. Inputs are centred pixel by pixel: centred by one "
        "mean for all pixels the plain network starts sharper.",
        figure="edge_of_stability",
        experiment="cohen2021/edge",
        core=False,
    ),
    both_shifts(
        "CO4",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        Arm.norm("batch"),
        Arm.norm("none"),
        levels=Levels(0.4, 0.02),
        about=_ABOUT,
        experiment="cohen2021/edge",
    ),
)
