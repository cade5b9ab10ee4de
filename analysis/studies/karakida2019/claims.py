"""Claims about the largest eigenvalue at initialisation, and the largest rate, by where batch normalisation stands."""

from __future__ import annotations

import pandas as pd

from analysis.claims import Claim, Term, less, more
from analysis.measures import Levels, Measure
from analysis.runs import Runs
from analysis.shifts import both_shifts
from analysis.standard import LARGEST_RATE
from analysis.studies.karakida2019.arms import (
    ALL,
    ALL_BUT_LAST,
    FIRST_HIDDEN,
    HIDDEN,
    HIDDEN_CENTRING,
    LAST_HIDDEN,
    NONE,
    OUTPUT,
    OUTPUT_CENTRING,
    OUTPUT_SCALING,
)

_KARAKIDA = "Karakida, Akaho & Amari 2019"
_RELU = {"model": "mlp", "model.activation": "relu", "model.initialisation": "he"}
_FULL_BATCH = {**_RELU, "optim.batch_size": None, "data.standardise": True}
LOWER, GREATER = 0.5, 3.0
"""What counts as a lower eigenvalue, and as a greater rate, as factors."""


def at_start() -> Measure:
    """The largest eigenvalue (algebraically) of the Hessian of the training loss at step 0, batch statistics moving."""

    def per_run(runs: Runs) -> pd.Series:
        rows = runs.records("largest_eigenvalues", "train")
        rows = rows[(rows["step"] == 0) & (rows["x"] == 1.0)]
        return rows.groupby(rows["run"].astype(str))["value"].first().reindex(runs.each.index)

    says = "largest eigenvalue of the Hessian of the training batch's loss, at initialisation"
    return Measure("largest eigenvalue at initialisation", says, (("largest_eigenvalues", "train"),), per_run)


SHARPNESS = at_start()

CLAIMS = (
    Claim(
        name="KA1",
        statement="It is centring of the output that lowers the largest eigenvalue at initialisation; scaling it "
        "raises it.",
        source=f"{_KARAKIDA}, theorem 3.2 and figure 1",
        about=_FULL_BATCH,
        comparisons=(
            less(Term.of(OUTPUT_CENTRING, SHARPNESS), Term.of(NONE, SHARPNESS), LOWER),
            more(Term.of(OUTPUT_SCALING, SHARPNESS), Term.of(NONE, SHARPNESS)),
            less(Term.of(HIDDEN_CENTRING, SHARPNESS), Term.of(NONE, SHARPNESS), LOWER, decides=False),
        ),
        remark="Of the Hessian of the loss that is trained; the paper is about the Fisher information under a squared "
        "error. Beside it: centring alone in the hidden layers.",
        figure="sharpness_by_placement",
        experiment="karakida2019/initialisation",
        intervention=True,
    ),
    Claim(
        name="KA2",
        statement="Normalising the output lowers the largest eigenvalue more than normalising the hidden layers does.",
        source=f"{_KARAKIDA}, section 3.3 (normalisation in the middle layers)",
        about=_FULL_BATCH,
        comparisons=(
            less(Term.of(OUTPUT, SHARPNESS), Term.of(HIDDEN, SHARPNESS)),
            less(Term.of(OUTPUT, SHARPNESS), Term.of(NONE, SHARPNESS), LOWER, decides=False),
            *(
                less(Term.of(arm, SHARPNESS), Term.of(NONE, SHARPNESS), LOWER, decides=False)
                for arm in (HIDDEN, LAST_HIDDEN, ALL_BUT_LAST, ALL)
            ),
        ),
        remark="Each depth by itself. Beside it: every placement over none.",
        figure="sharpness_by_placement",
        experiment="karakida2019/initialisation",
        intervention=True,
    ),
    Claim(
        name="KA3",
        statement="With the output alone normalised, learning rates train that are more than three times as great as "
        "without normalisation.",
        source=f"{_KARAKIDA}, section 4",
        about={**_RELU, "optim": "sgd", "optim.schedule": "constant"},
        comparisons=(
            more(Term.of(OUTPUT, LARGEST_RATE), Term.of(NONE, LARGEST_RATE), GREATER),
            *(
                more(Term.of(arm, LARGEST_RATE), Term.of(NONE, LARGEST_RATE), GREATER, decides=False)
                for arm in (HIDDEN, LAST_HIDDEN, ALL_BUT_LAST, FIRST_HIDDEN, ALL)
            ),
        ),
        remark="A network whose output is normalised too is scale-invariant but for the last gamma and beta, and has "
        "no largest rate on this grid. Beside it: every other placement over none.",
        figure="rates_by_placement",
        experiment="karakida2019/rates",
        intervention=True,
    ),
    both_shifts(
        "KA4",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        OUTPUT,
        NONE,
        levels=Levels(1.0, 0.2),
        about={**_RELU, "optim": "sgd", "optim.schedule": "constant"},
        experiment="karakida2019/shift",
    ),
)
