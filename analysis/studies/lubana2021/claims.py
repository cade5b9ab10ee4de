"""Claims about samples that are alike at initialisation and the steps that training takes."""

from __future__ import annotations

from dataclasses import replace

from analysis.best import best
from analysis.claims import Claim, Term, more
from analysis.measures import steps_to_learn
from analysis.select import CHOICE, Arm
from analysis.shifts import both_shifts
from analysis.studies.lubana2021.own_measures import foretold, initial_cosine

_LUBANA = "Lubana et al. 2021"
_ABOUT = {"model": "mlp", "task": "classification"}
CENTRE, RATE = "norm.center", "optim.lr"
STEPS = best(steps_to_learn(), RATE, by=steps_to_learn())
COSINE = replace(best(initial_cosine(), RATE, by=steps_to_learn()), name="initial cosine", says=initial_cosine().says)
"""At the same rate as the steps; it was there before any."""
MOST, LEAST = (foretold(STEPS, COSINE, CENTRE, greatest=greatest) for greatest in (True, False))
FAMILY = Arm.of("batch, a share of the mean removed", {CHOICE: "batch"})
CENTRED = Arm.of("batch", {"norm": "batch", CENTRE: True})
UNCENTRED = Arm.of("batch without centring", {"norm": "batch", CENTRE: False})

CLAIMS = (
    Claim(
        name="LU1",
        statement="Within one family of normalisations, the more alike samples are at initialisation, the more steps "
        "training takes.",
        source=f"{_LUBANA}, section 4, there over normalisations",
        about=_ABOUT,
        comparisons=(more(Term.of(FAMILY, MOST), Term.of(FAMILY, LEAST)),),
        remark="z - c mean over its root mean square, for five c from 0 to 1, each at the rate at which its own steps "
        "are fewest. Over normalisations of several kinds the figure shows it without a claim: their rank correlation "
        "changes its sign with the learning rate, and they are too few families to decide.",
        figure="steps_over_cosine",
        experiment="lubana2021/centring",
        also_predicted_by=("ranks over depth (Daneshmand et al. 2020), since the h-rank moves with the cosine",),
        intervention=True,
    ),
    Claim(
        name="LU2",
        statement="Without centring samples are more alike at initialisation than with it.",
        source="our own, what LU1 takes for granted",
        about=_ABOUT,
        comparisons=(more(Term.of(UNCENTRED, initial_cosine()), Term.of(CENTRED, initial_cosine()), 1.25),),
        figure="steps_over_cosine",
        experiment="lubana2021/shift",
        core=False,
    ),
    both_shifts(
        "LU3",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        CENTRED,
        UNCENTRED,
        levels=None,
        about=_ABOUT,
        experiment="lubana2021/shift",
    ),
)
