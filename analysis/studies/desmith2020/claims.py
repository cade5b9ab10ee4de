"""Claims about how the stream of a residual network grows, and about what trains a hundred blocks."""

from __future__ import annotations

import math
from dataclasses import replace

from analysis.across import at
from analysis.best import best
from analysis.claims import Claim, Comparison, Term, alike, count, value
from analysis.select import Arm
from analysis.standard import LOSS, TRAINS
from analysis.studies.desmith2020.own_measures import at_every, exponent, growth, rates_that_train, starts_finite

_SOURCE = "De & Smith 2020"
RATE, BLOCKS = "optim.lr", "model.blocks"
_ABOUT = {"model": "residual_mlp", "model.activation": "relu", "model.initialisation": "he", "data.standardise": True}
_TRAINED = {**_ABOUT, "optim": "sgd", "optim.schedule": "constant"}


def _arm(name: str, norm: str, branch: str, **options: float) -> Arm:
    alpha = {f"model.{key}": number for key, number in options.items()}
    return Arm.of(name, {"norm": norm, "model.branch": branch, **alpha})


NONE = _arm("none", "none", "plain")
BATCH = _arm("batch", "batch", "plain")
SKIPINIT = _arm("SkipInit from 0", "none", "skipinit", alpha=0.0)
SKIPINIT_ROOT = _arm("SkipInit from 0.1", "none", "skipinit", alpha=0.1)
"""One over the root of a hundred blocks."""
UNDONE = _arm("batch, downscaling undone", "batch", "undone")
ARMS = (NONE, BATCH, SKIPINIT, SKIPINIT_ROOT, UNDONE)

NEAR = 0.1
"""Of ln 2 a block, and of a power of 1."""
WITHIN = 1.25
"""Training losses that count as the same."""
EQUAL_RATE = 0.1
"""The learning rate of the form at an equal rate."""
FEW, MANY = 20, 100
"""Blocks."""
_RATES = rates_that_train(LOSS, RATE, TRAINS)
_FINITE = at_every(starts_finite(), RATE)


def _as_well_as_batch(arm: Arm) -> Comparison:
    chosen, equal = best(LOSS, RATE, by=LOSS), at(LOSS, RATE, EQUAL_RATE)
    first = alike(Term.of(arm, chosen), Term.of(BATCH, chosen), WITHIN, form="best rate")
    return replace(first, forms=(alike(Term.of(arm, equal), Term.of(BATCH, equal), WITHIN, form="equal rate"),))


CLAIMS = (
    Claim(
        name="DS1",
        statement="At initialisation the second moment of what leaves the residual blocks doubles with each block "
        "without normalisation, and grows linearly with batch normalisation in the branches.",
        source=f"{_SOURCE}, section 3 and figure 1",
        about={**_ABOUT, BLOCKS: 60},
        comparisons=(
            value(Term.of(NONE, growth()), low=(1 - NEAR) * math.log(2), high=(1 + NEAR) * math.log(2)),
            value(Term.of(BATCH, exponent()), low=1 - NEAR, high=1 + NEAR),
        ),
        remark="The second moment, the mean left in; the variance over samples is a part of it.",
        figure="residual_stream",
        experiment="desmith2020/initialisation",
    ),
    Claim(
        name="DS2",
        statement="With SkipInit and no normalisation a hundred blocks train as well as with batch normalisation.",
        source=f"{_SOURCE}, section 4 and table 1",
        about={**_TRAINED, BLOCKS: MANY},
        comparisons=tuple(_as_well_as_batch(arm) for arm in (SKIPINIT, SKIPINIT_ROOT)),
        remark="Training loss after equally many steps. The paper compares test accuracy after training to the end.",
        figure="rates_by_branch",
        experiment="desmith2020/deep",
        intervention=True,
    ),
    Claim(
        name="DS3",
        statement="Where a network with its downscaling undone does not train, it is not since numbers overflow.",
        source="ours",
        about=_TRAINED,
        comparisons=tuple(
            count(Term.of(UNDONE, _FINITE), "starts without overflow", 0.5, low=0.5, about={BLOCKS: blocks})
            for blocks in (FEW, MANY)
        ),
        remark="Asked first. Without any normalisation single precision overflows near 125 blocks.",
        figure="residual_stream",
        experiment="desmith2020/undone",
        core=False,
    ),
    Claim(
        name="DS4",
        statement="With batch normalisation in branches that are not small beside the stream, twenty blocks train and "
        "a hundred do not, at any learning rate.",
        source=f"what follows from {_SOURCE}, section 3; ours",
        about=_TRAINED,
        comparisons=(
            count(Term.of(UNDONE, _RATES), "trains at some rate", 0.5, low=0.5, about={BLOCKS: FEW}),
            count(Term.of(UNDONE, _RATES), "trains at some rate", 0.5, high=0.5, about={BLOCKS: MANY}),
        ),
        remark="Undone: (x / sd(x) + branch) / sqrt(2), sd(x) a constant of the gradient; dividing by a root of depth "
        "alone would undo nothing. Trained: a loss below 0.5 after 80 steps, at one of five "
        "rates; BN as it is does so at a hundred blocks. If it is so, normalised branches alone do not make a "
        "hundred blocks of this network trainable, and something that goes with their being small beside the stream is "
        "needed too. It does not say that being small is all that batch normalisation does, nor what of that is "
        "missing here: less growth of the gradient back through the blocks, or the input's share in the stream.",
        figure="rates_by_branch",
        experiment="desmith2020/undone",
        needs_first=("DS3",),
        intervention=True,
    ),
)
