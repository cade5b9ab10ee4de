"""Claims about the samples of a batch over depth: their rank, their angles, and whether that is why depth trains."""

from __future__ import annotations

from dataclasses import replace

from analysis.across import slope
from analysis.best import best
from analysis.claims import POINT, Claim, Comparison, Term, alike, difference, less, more, value
from analysis.measures import Levels, final
from analysis.select import Arm
from analysis.shifts import both_shifts
from analysis.studies.daneshmand2020.over_depth import at_layer, growth, plateau

_RANK, _ORTHOGONAL, _CLUSTERS = "Daneshmand et al. 2020", "Daneshmand, Joudaki & Bach 2021", "Nachum et al. 2024"
LINEAR, MLP = {"model": "deep_linear"}, {"model": "mlp"}
TANH = {**MLP, "model.activation": "tanh"}
SCALING_ONLY = Arm.of("scaling only", {"norm": "batch", "norm.center": False})
CENTRING_ONLY = Arm.of("centring only", {"norm": "batch", "norm.scale": False})
DEEP, DEEPEST, EARLY = 50, 150, 10
"""Layers."""
HIGH, LOW = 0.9, 0.2
"""Of one sample's share of the energy, and of the others' mean cosine."""
KEPT = 0.8
"""Of batch normalisation's rank: what counts as keeping it."""
SAME = 2.0
"""Factor within which ranks are of one order; a collapse is one of six or more."""

_RANK_IN_ROOTS, _PLATEAU = plateau(in_roots=True), plateau()
_RANK_AT_DEPTH = at_layer("h_rank", DEEP)
_GAP = at_layer("orthogonality_gap", DEEP)
_GAP_OVER_WIDTH = slope(_GAP, "model.dimension")
_GAP_GROWTH = growth("orthogonality_gap", DEEP, EARLY)
_SHARE, _REST = at_layer("largest_sample_share", DEEPEST), at_layer("cosine_mean_without_largest", DEEPEST)
TRAINED = best(final("accuracy", "test"), "optim.lr", by=final("data_loss", "train"))
_BATCH = Arm.of("batch (He)", {"norm": "batch", "model.initialisation": "he"})
_NONE_HE = Arm.of("none (He)", {"norm": "none", "model.initialisation": "he"})
_NONE_ORTHOGONAL = Arm.of("none (orthogonal)", {"norm": "none", "model.initialisation": "orthogonal"})


def _gain(arm: Arm) -> Comparison:
    return difference(Term.of(_BATCH, TRAINED), Term.of(arm, TRAINED), low=0.0, smallest=POINT)


CLAIMS = (
    Claim(
        name="DN1",
        statement="In a deep linear network batch normalisation keeps the rank of a batch at the order of the root of "
        "the width; without it the rank falls to one.",
        source=f"{_RANK}, theorem 2 and figure 1",
        about={**LINEAR, "model.initialisation": "gaussian"},
        comparisons=(
            value(Term.of("batch", _RANK_IN_ROOTS), low=0.7),
            value(Term.of("none", _PLATEAU), high=1.5),
            value(Term.of("batch", _RANK_IN_ROOTS), low=0.84, high=0.93, decides=False),
        ),
        remark="Three times as many layers as units. Beside it: plain scripts put the plateau at .84 to .93.",
        figure="samples_over_depth",
        experiment="daneshmand2020/linear",
    ),
    Claim(
        name="DN2",
        statement="It is the scaling that keeps the rank, not the centring.",
        source=f"{_RANK}; its own ablation is inactive in training mode, so that it compared nothing",
        about={**LINEAR, "model.initialisation": "gaussian"},
        comparisons=(
            alike(Term.of(SCALING_ONLY, _PLATEAU), Term.of("batch", _PLATEAU), 1.25),
            less(Term.of(CENTRING_ONLY, _PLATEAU), Term.of("batch", _PLATEAU), 0.5),
        ),
        figure="samples_over_depth",
        experiment="daneshmand2020/linear",
        core=False,
        intervention=True,
    ),
    Claim(
        name="DN3",
        statement="With relu too the rank stays greater with batch normalisation.",
        source=f"{_RANK}, figure 2",
        about={**MLP, "model.activation": "relu", "model.initialisation": "he"},
        comparisons=(more(Term.of("batch", _RANK_AT_DEPTH), Term.of("none", _RANK_AT_DEPTH), than=3.0),),
        remark="The rank is not centred, and the mean direction that relu gives to all samples caps it.",
        figure="samples_over_depth",
        experiment="daneshmand2020/relu",
    ),
    Claim(
        name="DN4",
        statement="With orthogonal weights the rank stays without normalisation too, in linear and tanh networks.",
        source="ours; a collapse that the initialisation prevents needs no batch normalisation",
        about={"model.initialisation": "orthogonal"},
        comparisons=tuple(
            replace(less(Term.of("batch", _PLATEAU), Term.of("none", _PLATEAU), than=SAME), about=network)
            for network in (LINEAR, TANH)
        ),
        figure="samples_over_depth",
        experiment="daneshmand2020/linear",
        core=False,
    ),
    Claim(
        name="DN5",
        statement="With tanh, layer and group normalisation keep the rank as batch normalisation does.",
        source=f"against {_RANK}, which holds the statistics of the batch responsible",
        about={**TANH, "model.initialisation": "gaussian"},
        comparisons=tuple(
            more(Term.of(norm, _RANK_AT_DEPTH), Term.of("batch", _RANK_AT_DEPTH), than=KEPT)
            for norm in ("layer", "group")
        ),
        figure="samples_over_depth",
        experiment="daneshmand2020/tanh",
        core=False,
    ),
    Claim(
        name="DN6",
        statement="Scaling by the batch brings few samples nearer to orthogonal the wider the network.",
        source=f"{_ORTHOGONAL}, theorem 1",
        about={**LINEAR, "data.samples": 4},
        comparisons=(
            value(Term.of(SCALING_ONLY, _GAP_OVER_WIDTH), low=-0.6, high=-0.4),
            value(Term.of("none", _GAP_OVER_WIDTH), high=0.0, decides=False),
        ),
        remark="Four samples, widths well above. Without normalisation the distance falls with the width as well, but "
        "grows with depth: DN7.",
        figure="samples_over_depth",
        experiment="daneshmand2020/orthogonality",
    ),
    Claim(
        name="DN7",
        statement="The distance from orthogonality does not grow with depth where the batch scales.",
        source=f"{_ORTHOGONAL}, theorem 1",
        about={**LINEAR, "data.samples": 4},
        comparisons=(
            value(Term.of(SCALING_ONLY, _GAP_GROWTH), high=1.25),
            value(Term.of("none", _GAP_GROWTH), high=1.25, decides=False),
        ),
        figure="samples_over_depth",
        experiment="daneshmand2020/orthogonality",
    ),
    Claim(
        name="DN8",
        statement="With relu and centring alone one sample takes the energy, and all others cluster.",
        source=f"{_CLUSTERS}, abstract",
        about={**MLP, "model.activation": "relu", "model.initialisation": "he"},
        comparisons=(
            value(Term.of(CENTRING_ONLY, _SHARE), low=HIGH),
            value(Term.of(CENTRING_ONLY, _REST), low=HIGH),
            value(Term.of("batch", _SHARE), high=LOW),
            value(Term.of("none", _REST), low=HIGH, decides=False),
            value(Term.of("layer", _REST), low=HIGH, decides=False),
        ),
        remark="Whole batch normalisation shows no outlier at these depths; without it, and with layer normalisation, "
        "all samples are one cluster, so that the others' cosine alone tells nothing.",
        figure="samples_over_depth",
        experiment="daneshmand2020/relu",
        core=False,
        intervention=True,
    ),
    Claim(
        name="DN9",
        statement="Where the rank collapses without it, a deep relu network ends higher with batch normalisation.",
        source=f"{_RANK}, section 4",
        about={**MLP, "model.activation": "relu", "model.depth": 30},
        comparisons=(_gain(_NONE_HE),),
        remark="Each arm at its own best rate.",
        experiment="daneshmand2020/trained",
        also_predicted_by=("any account by which batch normalisation makes depth trainable",),
    ),
    Claim(
        name="DN10",
        statement="It ends higher than the plain network from orthogonal weights too, whose samples are as far from "
        "one another at the start as those of He's.",
        source=f"ours; {_RANK} ties trainability to the rank",
        about={**MLP, "model.activation": "relu", "model.depth": 30},
        comparisons=(_gain(_NONE_ORTHOGONAL),),
        remark="With relu, orthogonal weights leave rank and cosines at the start as they are from He's: what differs "
        "between the two plain networks is not the rank.",
        experiment="daneshmand2020/trained",
        core=False,
    ),
    both_shifts(
        "DN11",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        _BATCH,
        _NONE_HE,
        levels=Levels(2.0, 1.2),
        about={**MLP, "model.activation": "relu", "model.depth": 30},
        experiment="daneshmand2020/shift",
    ),
)
