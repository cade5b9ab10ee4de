"""Claims about batch renormalisation where batches are small, or of few classes."""

from __future__ import annotations

from analysis.claims import POINT, Claim, Comparison, Term, difference, fraction
from analysis.select import Arm
from analysis.standard import TUNED_ACCURACY
from analysis.studies.ioffe2017.arms import FEW, FEW_RENORM, MICRO, MICRO_RENORM, WHOLE

_IOFFE = "Ioffe 2017"
_ABOUT = {"task": "classification"}
RECOVERED = 0.5
"""Of what the batches' making costs, the least part that counts as mended."""


def _better(renormalised: Arm, batch: Arm) -> Comparison:
    return difference(Term.of(renormalised, TUNED_ACCURACY), Term.of(batch, TUNED_ACCURACY), low=0.0, smallest=POINT)


def _mended(renormalised: Arm, batch: Arm) -> Comparison:
    return fraction(
        Term.of(renormalised, TUNED_ACCURACY),
        Term.of(batch, TUNED_ACCURACY),
        Term.of(WHOLE, TUNED_ACCURACY),
        low=RECOVERED,
    )


CLAIMS = (
    Claim(
        name="BR1",
        statement="Where batches are normalised in parts of two samples, renormalisation tests better than batch "
        "normalisation.",
        source=f"{_IOFFE}, section 4.2, whose parts are of four",
        about=_ABOUT,
        comparisons=(_better(MICRO_RENORM[2], MICRO[2]),),
        remark="Each at its own best rate; accuracies are on these test images. Running averages as each has them by "
        "default: weight 0.1 of the newest batch for batch normalisation, 0.01, as published, for renormalisation.",
        figure="batch_renormalisation",
        experiment="ioffe2017/micro_batches",
        intervention=True,
    ),
    Claim(
        name="BR2",
        statement="Renormalisation tests better than batch normalisation in parts of four samples, the published size.",
        source=f"{_IOFFE}, section 4.2",
        about=_ABOUT,
        comparisons=(_better(MICRO_RENORM[4], MICRO[4]),),
        figure="batch_renormalisation",
        experiment="ioffe2017/micro_batches",
        intervention=True,
    ),
    Claim(
        name="BR3",
        statement="Of the accuracy that normalising in parts of two costs, renormalisation saves more than half.",
        source=f"{_IOFFE}, section 4.2, in our words: it reduces what small batches cost",
        about=_ABOUT,
        comparisons=(_mended(MICRO_RENORM[2], MICRO[2]),),
        figure="batch_renormalisation",
        experiment="ioffe2017/micro_batches",
        core=False,
        intervention=True,
    ),
    Claim(
        name="BR4",
        statement="Where each batch holds few classes, renormalisation tests better than batch normalisation.",
        source=f"{_IOFFE}, section 4.3",
        about=_ABOUT,
        comparisons=(_better(FEW_RENORM, FEW),),
        remark="Two classes, as many samples of each. Tested by running averages, as published; batches of as few "
        "classes at test time would need the labels that are to be told.",
        figure="batch_renormalisation",
        experiment="ioffe2017/few_classes",
        intervention=True,
    ),
    Claim(
        name="BR5",
        statement="Of the accuracy that batches of few classes cost batch normalisation, renormalisation saves more "
        "than half.",
        source=f"{_IOFFE}, section 4.3, where it saves all",
        about=_ABOUT,
        comparisons=(_mended(FEW_RENORM, FEW),),
        remark="Against batch normalisation with batches of all classes, of the same size. Few classes to a batch may "
        "cost a network without normalisation too; what does so is not asked.",
        figure="batch_renormalisation",
        experiment="ioffe2017/few_classes",
        core=False,
        intervention=True,
    ),
)
