"""Claims about training gamma and beta on random features."""

from __future__ import annotations

from dataclasses import replace

from analysis.best import best
from analysis.claims import POINT, Claim, Term, difference
from analysis.measures import final
from analysis.shifts import both_shifts
from analysis.standard import ACCURACY, LOSS
from analysis.studies.frankle2021.arms import ALL, NORM, NORM_OUTPUT, OUTPUT, TWO, TWO_OUTPUT

_FRANKLE = "Frankle, Schwab & Morcos 2021"
_ABOUT = {"task": "classification", "model.gamma": "uniform"}
TUNED = best(ACCURACY, "optim.lr", by=LOSS)
SMALL = replace(
    final("gamma_small_share_of_all", "train"),
    says="median of the last tenth of the probed steps",
    diverged_count=False,  # of a diverged run it would be infinite
)
MORE_SMALL = 0.02
"""The least difference of two shares of gammas near 0 that the claim asks for."""

CLAIMS = (
    Claim(
        name="FR1",
        statement="With the output trained too, gamma and beta on random features reach a higher test accuracy than as "
        "many random weights of each channel.",
        source=f"{_FRANKLE}, section 4, figure 3",
        about=_ABOUT,
        comparisons=(difference(Term.of(NORM_OUTPUT, TUNED), Term.of(TWO_OUTPUT, TUNED), low=0.0, smallest=POINT),),
        remark="Two weights of each channel are as many numbers as a gamma and a beta. Each arm at its own best rate.",
        figure="parts_trained",
        experiment="frankle2021/rates",
        intervention=True,
    ),
    Claim(
        name="FR2",
        statement="With the output frozen too, gamma and beta alone reach a higher test accuracy than as many random "
        "weights of each channel.",
        source=f"{_FRANKLE}, section 4, figure 2",
        about=_ABOUT,
        comparisons=(
            difference(Term.of(NORM, ACCURACY), Term.of(TWO, ACCURACY), low=0.0, smallest=POINT),
            difference(Term.of(NORM_OUTPUT, ACCURACY), Term.of(OUTPUT, ACCURACY), low=0.0, decides=False),
            difference(Term.of(ALL, ACCURACY), Term.of(NORM_OUTPUT, ACCURACY), low=0.0, decides=False),
        ),
        remark="At one rate. The published networks are far deeper; in a shallow narrow one both are near chance.",
        figure="parts_trained",
        experiment="frankle2021/parts",
        core=False,
        intervention=True,
    ),
    Claim(
        name="FR3",
        statement="Where gamma and beta are trained on random features, more gammas come near 0 than where everything "
        "is trained.",
        source=f"{_FRANKLE}, section 5, figure 6",
        about={**_ABOUT, "optim.weight_decay": 0.0},
        comparisons=(
            difference(Term.of(NORM_OUTPUT, SMALL), Term.of(ALL, SMALL), low=MORE_SMALL, smallest=POINT),
            difference(Term.of(NORM, SMALL), Term.of(ALL, SMALL), low=MORE_SMALL, decides=False),
        ),
        remark="|gamma| below 0.01, without weight decay, which would shrink them by itself. Of gammas drawn from "
        "U(0, 1) 1 % are there at the start. Beside it: the output frozen too.",
        figure="parts_trained",
        experiment="frankle2021/parts",
    ),
    both_shifts(
        "FR4",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        TWO_OUTPUT,
        ALL,
        levels=None,
        about=_ABOUT,
        experiment="frankle2021/shift",
    ),
)
