"""Claims about scale-invariant weights: rates, norms, angles, and the product of rate and decay."""

from __future__ import annotations

from analysis.across import Across, width
from analysis.claims import Claim, Term, difference, value
from analysis.measures import Levels, final
from analysis.select import Arm, plain
from analysis.shifts import both_shifts
from analysis.studies.arora2019.own_measures import Explained, error, radial, turning

_ARORA, _LAARHOVEN, _KOSSON = "Arora, Li & Lyu 2019", "van Laarhoven 2017", "Kosson, Messmer & Jaggi 2024"
INVARIANT = Arm.of("scale-invariant", {"norm": "batch", "model.norm_at": "all", "optim.groups": "[]"})
PLAIN = Arm.of("plain", {"norm": "none", "model.norm_at": None, "optim.groups": "[]"})
APART = Arm.of(
    "scale-invariant, last gamma and beta at 0.1",
    {"norm": "batch", "model.norm_at": "all", "optim.groups": plain([{"match": "head.norm.*", "lr": 0.1}])},
)
EXACT = Arm.of(
    "scale-invariant, eps 1e-12", {"norm": "batch", "norm.eps": 1e-12, "model.norm_at": "all", "optim.groups": "[]"}
)
CLEAN_LEVEL, NOISY_LEVEL = 0.05, 1.2
"""Of the training loss, below which a run counts as trained. With a fifth of the labels wrong 0.94 nats are left to a
network that knows all that can be known, and 2.3 to one that knows nothing."""
_LOSS = final("data_loss", "train")
ERROR = error(final("accuracy", "test"))
_KEYS = ("optim.lr", "optim.weight_decay")
_DESCENT = {"optim": "sgd", "optim.momentum": 0.0, "optim.schedule": "constant"}
"""Of which the formulas speak: with momentum, or Adam, norms grow and weights turn by others."""
NEAR = 0.2
"""Of the angle's ratio to theory."""


def _decades(level: float) -> Across:
    return width(_LOSS, "optim.lr", below=level)


CLAIMS = (
    Claim(
        name="AR1",
        statement="With every layer normalised, the output's too, a network trains over a range of learning rates that "
        "is more than two decades wider.",
        source=f"{_ARORA}, theorem 1.1 and section 6",
        about={"task": "classification", "data.label_noise": 0.0, "optim.weight_decay": 0.0},
        comparisons=(
            difference(Term.of(INVARIANT, _decades(CLEAN_LEVEL)), Term.of(PLAIN, _decades(CLEAN_LEVEL)), low=2.0),
        ),
        remark="By an absolute level of the training loss; labels can be learnt without a rest.",
        figure="rates_and_decays",
        experiment="arora2019/rates",
        intervention=True,
    ),
    Claim(
        name="AR2",
        statement="Where a loss is left over, the range is wider by more than a decade again if the last gamma and "
        "beta, which are not scale-invariant, have a rate of their own.",
        source=f"{_ARORA}, section 3, whose theorems give scale-variant parameters a fixed rate",
        about={"task": "classification", "data.label_noise": 0.2},
        comparisons=(
            difference(Term.of(APART, _decades(NOISY_LEVEL)), Term.of(INVARIANT, _decades(NOISY_LEVEL)), low=1.0),
        ),
        remark="A fifth of the labels are wrong.",
        figure="rates_and_decays",
        experiment="arora2019/label_noise",
        core=False,
        intervention=True,
    ),
    Claim(
        name="AR3",
        statement="The gradient of scale-invariant weights is orthogonal to them, so that their squared norm grows by "
        "lr^2 |g|^2 in every step.",
        source=f"{_ARORA}, lemma 2.1; {_LAARHOVEN}, section 2",
        about={**_DESCENT, "optim.weight_decay": 0.0, "data.label_noise": 0.0},
        comparisons=(value(Term.of(EXACT, radial()), high=1e-2),),
        remark="In float64 and with an eps of 1e-12: the usual eps breaks the invariance.",
        experiment="arora2019/invariance",
    ),
    Claim(
        name="AR4",
        statement="With weight decay scale-invariant weights come to turn by sqrt(2 lr decay) a step, and plain ones "
        "do not.",
        source=f"{_KOSSON}, section 3.2 and table 1; {_LAARHOVEN}, section 4",
        about={**_DESCENT, "task": "classification"},
        comparisons=(
            value(Term.of(INVARIANT, turning()), low=1 - NEAR, high=1 + NEAR),
            value(Term.of(PLAIN, turning()), high=1 - NEAR),
        ),
        remark="The root mean square: where a norm oscillates the median is something else.",
        figure="weights_turning",
        experiment="arora2019/balance",
    ),
    Claim(
        name="AR5",
        statement="With batch normalisation the test error goes by the product of learning rate and weight decay, and "
        "not by their ratio.",
        source=f"{_LAARHOVEN}, section 4 and figure 2",
        about={**_DESCENT, "task": "classification", "model.norm_at": "all"},
        comparisons=(
            value(Term.of(Arm.norm("batch"), Explained(ERROR, _KEYS)), low=0.8),
            value(Term.of(Arm.norm("batch"), Explained(ERROR, _KEYS, ratio=True)), high=0.8),
        ),
        remark="On a grid on which product and ratio are uncorrelated.",
        figure="rates_and_decays",
        experiment="arora2019/decay",
    ),
    both_shifts(
        "AR6",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        EXACT,
        PLAIN,
        levels=Levels(1.0, 0.1),
        about={"task": "classification", "optim.weight_decay": 0.0, "data.label_noise": 0.0},
        experiment="arora2019/invariance",
    ),
)
