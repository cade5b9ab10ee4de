"""Claims about the optima of one linear neuron, seen from its initialisation."""

from __future__ import annotations

from analysis.claims import Claim, Term, identity, value
from analysis.select import Arm
from analysis.studies.santurkar2018.optima import nearer, random_within, violations

_SOURCE = "Dannemann & Junike 2025, arXiv:2502.17913"
_LEMMA = "Santurkar et al. 2018, Lemma 4.5"
NEURON = {"model": "linear_neuron"}
BOTH = Arm.of("both", NEURON)
"""One neuron with batch normalisation and the same one without: the pair is measured."""
CENTRED = {"data.standardise": "centred", "model.bias": False}
BIAS = {"data.standardise": True, "model.bias": True}
NEITHER = {"data.standardise": True, "model.bias": False}
NONE = 1e-4
"""Less than one neuron of any number that is trained: none."""
RARE = 0.05
"""Of the neurons."""

CLAIMS = (
    Claim(
        name="L1",
        statement="With centred inputs the optimum with batch normalisation is never at a greater angle from the "
        "initialisation than the plain one.",
        source=f"{_SOURCE}, where its assumption holds; {_LEMMA}",
        about={**NEURON, **CENTRED},
        comparisons=(identity(Term(BOTH, violations()), NONE),),
        remark="The two directions are then one and the same, so that this tests the instrument.",
        figure="optima",
        experiment="lemma45/centred",
        core=False,
    ),
    Claim(
        name="L2",
        statement="With a bias in the neuron it is never at a greater angle either.",
        source=f"{_SOURCE}, where its assumption holds; {_LEMMA}",
        about={**NEURON, **BIAS},
        comparisons=(identity(Term(BOTH, violations()), NONE),),
        remark="A bias is an intercept, which leaves the regression on centred inputs.",
        figure="optima",
        experiment="lemma45/bias",
        core=False,
    ),
    Claim(
        name="L3",
        statement="Without centred inputs and without a bias the lemma is violated, and not rarely.",
        source=_SOURCE,
        about={**NEURON, **NEITHER},
        comparisons=(
            value(Term(BOTH, violations()), low=RARE),
            value(Term(BOTH, random_within(False)), low=0.5, decides=False),
        ),
        remark="One violation refutes a lemma; that they are not rare is what makes it misleading. Beside it: how "
        "often a ray of random direction would meet the bound.",
        figure="optima",
        experiment="lemma45/neither",
        intervention=True,
    ),
    Claim(
        name="L4",
        statement="That the normalised optima are no farther than the plain one says little: most random rays are no "
        "farther either.",
        source=f"ours; on {_LEMMA} read without its bound",
        about={**NEURON, **NEITHER},
        comparisons=(
            value(Term(BOTH, random_within(True)), low=0.5),
            value(Term(BOTH, nearer()), low=0.5, decides=False),
        ),
        remark="A ray passes its starting point at some distance; an optimum lies where it lies. Beside it: the rays "
        "of the optima with batch normalisation themselves.",
        figure="optima",
        experiment="lemma45/neither",
        core=False,
    ),
)
