"""Claims about ghost batches and about weighing examples in at test time."""

from __future__ import annotations

from analysis.claims import POINT, Claim, Term, difference, more, value
from analysis.select import Arm
from analysis.standard import TUNED_ACCURACY
from analysis.studies.summers2020.own_measures import LEAST_WEIGHT, chosen_weight, judged

_SUMMERS = "Summers & Dinneen 2020"
GHOST = Arm.of("batch, parts of 16", {"norm": "batch", "norm.per": "ghost", "norm.ghost_size": 16})
PARTS = Arm.of("batch, parts of 4", {"norm": "batch", "norm.per": "ghost", "norm.ghost_size": 4})
WHOLE = Arm.of("batch, whole batches", {"norm": "batch", "norm.per": "batch", "norm.ghost_size": None})
SEEDS = 12
FACTOR = 1.02
"""The smallest lowering of a test loss that counts: the published ones are of a few hundredths."""

CLAIMS = (
    Claim(
        name="SD1",
        statement="On few training samples, batches that are normalised 16 samples at a time test better than whole "
        "ones of 128.",
        source=f"{_SUMMERS}, section 3.2; Hoffer et al. 2017, section 4",
        about={"task": "classification", "optim.batch_size": 128},
        comparisons=(
            difference(Term.of(GHOST, TUNED_ACCURACY), Term.of(WHOLE, TUNED_ACCURACY), low=0.0, smallest=POINT),
        ),
        remark="Each at its own best learning rate; on these test images. The publication's decay of gamma towards 1 "
        "is not asked: its code never switches it on.",
        figure="ghost_batches",
        experiment="summers2020/ghost_batches",
        seeds=SEEDS,
        intervention=True,
    ),
    Claim(
        name="SD2",
        statement="Where batches were normalised four samples at a time, weighing the example's own statistics in at "
        "test time lowers the test loss.",
        source=f"{_SUMMERS}, section 3.1",
        about={"task": "classification"},
        comparisons=(
            more(Term.of(PARTS, judged(weighed=False)), Term.of(PARTS, judged(weighed=True)), smallest=FACTOR),
            value(Term.of(PARTS, chosen_weight()), low=0.0, decides=False),
            value(Term.of(WHOLE, chosen_weight()), high=LEAST_WEIGHT / 2, decides=False),
        ),
        remark="The half of the test set that chooses the weight is not the half that is judged; none at all may be "
        "chosen. Of whole batches an example is so small a part that none is expected: at first "
        "the number beside was held against the opposite, a weight above 0.",
        figure="example_weighing",
        experiment="summers2020/weighing",
        intervention=True,
    ),
)
