"""Claims about batch normalisation as a regulariser."""

from __future__ import annotations

from analysis.best import best
from analysis.claims import POINT, Claim, Term, difference
from analysis.select import Arm
from analysis.standard import TEST_LOSS, TUNED_ACCURACY
from analysis.studies.ioffe2015.claims import PAPER
from analysis.studies.ioffe2015.own_measures import generalisation_gap

ARMS = {
    (norm, dropout): Arm.of(norm + (" with dropout" if dropout else ""), {"norm": norm, "model.dropout": dropout})
    for norm in ("none", "batch")
    for dropout in (0.0, 0.5)
}
FEW = {"model": "mlp", "data.subset": 200, "task": "classification"}
SEEDS = 20
GAP = best(generalisation_gap(), "optim.lr", by=TEST_LOSS)


CLAIMS = (
    Claim(
        name="I6",
        statement="With batch normalisation dropout is not needed: it adds less than a point.",
        source=f"{PAPER}, abstract and section 4.2.1",
        about=FEW,
        comparisons=(
            difference(
                Term.of(ARMS["batch", 0.5], TUNED_ACCURACY), Term.of(ARMS["batch", 0.0], TUNED_ACCURACY), high=POINT
            ),
            difference(
                Term.of(ARMS["none", 0.5], TUNED_ACCURACY),
                Term.of(ARMS["none", 0.0], TUNED_ACCURACY),
                low=0.0,
                decides=False,
            ),
        ),
        remark="On few samples, where there is something to regularise; on these images.",
        experiment="ioffe2015/few_samples",
        seeds=SEEDS,
        core=False,
    ),
    Claim(
        name="I6b",
        statement="Batch normalisation regularises: accuracy falls less from training to test.",
        source=f"{PAPER}, section 3.4",
        about=FEW,
        comparisons=(
            difference(Term.of(ARMS["batch", 0.0], GAP), Term.of(ARMS["none", 0.0], GAP), high=0.0, smallest=POINT),
        ),
        remark="Each at its own best learning rate; no difference is a possible answer.",
        experiment="ioffe2015/few_samples",
        seeds=SEEDS,
        core=False,
    ),
)
