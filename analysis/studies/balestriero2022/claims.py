"""Claims about how often units change their sign between samples, at initialisation."""

from __future__ import annotations

from analysis.claims import POINT, Claim, Term, alike, difference, more
from analysis.select import Arm
from analysis.studies.balestriero2022.own_measures import beyond_first

_BALESTRIERO = "Balestriero & Baraniuk 2022"
_NETWORK = {"model": "mlp", "model.initialisation": "he", "task": "classification"}
RELU, TANH = ({**_NETWORK, "model.activation": activation} for activation in ("relu", "tanh"))
MORE = 1.25
"""As a factor: more than this is more, less on either side is alike."""
CHANGES = beyond_first("sign_changes", "sign changes between samples")
CONSTANT = beyond_first("constant_sign_share", "share of units of one sign")
_BY_POPULATION = {"norm": "batch", "norm.statistics": "population"}
NONE, LAYER = Arm.norm("none"), Arm.norm("layer")
BATCH = Arm.of("batch", _BY_POPULATION)
CENTRING = Arm.of("centring only", {**_BY_POPULATION, "norm.scale": False})
OWN = Arm.of("batch, by the points' own statistics", {"norm": "batch", "norm.statistics": "batch"})
_STATISTICS = "Normalised by statistics of the training set, which no point of a segment moves."

CLAIMS = (
    Claim(
        name="HP1",
        statement="With batch normalisation relu units change their sign more often between samples, in all layers but "
        "the first.",
        source=f"{_BALESTRIERO}, section 3",
        about=RELU,
        comparisons=(
            more(Term.of(BATCH, CHANGES), Term.of(NONE, CHANGES), MORE),
            alike(Term.of(OWN, CHANGES), Term.of(BATCH, CHANGES), MORE, decides=False),
        ),
        remark=f"{_STATISTICS} Beside it: by those of the points of all segments together. The distance to a "
        "hyperplane itself is shown and not judged: in deviations of the unit it is that of a standard normal by "
        "construction.",
        figure="hyperplanes",
        experiment="balestriero2022/segments",
        also_predicted_by=("a rank that is kept over depth (Daneshmand et al. 2020)",),
    ),
    Claim(
        name="HP2",
        statement="With layer normalisation they change it as often as without normalisation.",
        source=f"ours, on {_BALESTRIERO}: it moves no hyperplane of a unit to the data",
        about=RELU,
        comparisons=(alike(Term.of(LAYER, CHANGES), Term.of(NONE, CHANGES), MORE),),
        figure="hyperplanes",
        experiment="balestriero2022/segments",
        core=False,
    ),
    Claim(
        name="HP3",
        statement="Centring alone does as batch normalisation does.",
        source=f"{_BALESTRIERO}, section 3: it is the mean that moves hyperplanes",
        about=RELU,
        comparisons=(alike(Term.of(CENTRING, CHANGES), Term.of(BATCH, CHANGES), MORE),),
        remark=_STATISTICS,
        figure="hyperplanes",
        experiment="balestriero2022/segments",
        intervention=True,
    ),
    Claim(
        name="HP4",
        statement="With batch normalisation fewer units never change their sign.",
        source=f"{_BALESTRIERO}, section 3",
        about=RELU,
        comparisons=(difference(Term.of(BATCH, CONSTANT), Term.of(NONE, CONSTANT), high=0.0, smallest=POINT),),
        remark=f"{_STATISTICS} In all layers but the first.",
        figure="hyperplanes",
        experiment="balestriero2022/segments",
        also_predicted_by=("a rank that is kept over depth (Daneshmand et al. 2020)",),
    ),
    Claim(
        name="HP5",
        statement="With tanh, whose outputs have no mean of one sign, batch normalisation makes no difference to it.",
        source=f"ours, on {_BALESTRIERO}",
        about=TANH,
        comparisons=(alike(Term.of(BATCH, CHANGES), Term.of(NONE, CHANGES), MORE),),
        remark=_STATISTICS,
        figure="hyperplanes",
        experiment="balestriero2022/segments",
        core=False,
    ),
)
