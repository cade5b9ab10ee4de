"""Claims about batches of two domains, normalised together, apart, or one domain after the other."""

from __future__ import annotations

from analysis.across import slope
from analysis.claims import POINT, Claim, Comparison, Term, alike, count, difference, fraction, more, value
from analysis.decide import Region, Spread
from analysis.measures import final
from analysis.select import Arm
from analysis.standard import ACCURACY, LOSS, TEST_LOSS, TUNED_ACCURACY
from analysis.studies.irpan2017.arms import IN_TURN, JOINT, MIXED, ORDER, OWN, RENORM, SEPARATE, TURNS, in_turn
from analysis.studies.irpan2017.own_measures import change, one_of

_IRPAN = "Irpan 2017"
_DOMAINS = {"data": "two_domains", "data.predict": "class", "data.blend": 1.0}
_ANY_DOSE = {"data": "two_domains", "data.predict": "class", "model": "vgg_small"}
_WHICH = {"data": "two_domains", "data.predict": "domain"}
BY_DOMAIN = final("accuracy", "test", statistics="domain")
BY_POPULATION = final("accuracy", "test", statistics="population")
OVER_DOSE = slope(ACCURACY, "data.blend", log_key=False, log_measure=False, follows=("data.fingerprint",))
TUNED = change(TUNED_ACCURACY, ORDER, IN_TURN, MIXED)
AT_ONE_RATE = change(ACCURACY, ORDER, IN_TURN, MIXED)
SORTED = change(one_of(ACCURACY, ORDER, ("sorted", MIXED)), "data.grouped_by", "class", None)
RECOVERED = 0.8
"""Share of what is lost that has to come back."""
AS_WELL = 1.25
"""Training losses that count as alike lie within this factor."""
DISCRIMINATES = 0.1
"""Data loss in nats below which a discriminator of two domains has been trained; chance is ln 2."""
SEEDS_OF_A_SPREAD = 20
_IMAGES = "On these test images."


def _fails(arm: Arm, *, decides: bool = True, all_do: bool) -> Comparison:
    region = {"low": 0.5} if all_do else {"high": 0.5}
    return count(Term.of(arm, LOSS), "fails to train", DISCRIMINATES, decides=decides, **region)


CLAIMS = (
    Claim(
        name="PB1",
        statement="Halves of a batch that are normalised by domain, with shared running averages, test worse than "
        "mixed batches.",
        source=f"{_IRPAN} (2 % lower)",
        about=_DOMAINS,
        comparisons=(
            difference(
                Term.of(SEPARATE, ACCURACY), Term.of(JOINT, ACCURACY), high=0.0, smallest=POINT, on_published=-0.02
            ),
            more(Term.of(SEPARATE, TEST_LOSS), Term.of(JOINT, TEST_LOSS), decides=False),
        ),
        remark=f"Both halves move the averages at once, by their mean, so that neither comes last. How great it is "
        f"depends on how far the domains lie apart, so that the published size is no measure of ours. {_IMAGES}",
        figure="accuracy_by_statistics",
        experiment="irpan2017/domains",
        intervention=True,
    ),
    Claim(
        name="PB2",
        statement="The further the second domain lies from the first, the more is lost.",
        source=f"{_IRPAN}; the dose is ours",
        about=_ANY_DOSE,
        comparisons=(difference(Term.of(SEPARATE, OVER_DOSE), Term.of(JOINT, OVER_DOSE), high=0.0),),
        remark="The second domain is blended with the images as they are; three shares. At first each share was a "
        "setting of its own, for its images are other ones, so that nothing could judge it.",
        figure="accuracy_by_statistics",
        experiment="irpan2017/dose",
        intervention=True,
    ),
    Claim(
        name="PB3",
        statement="Halves that are normalised by domain and mixed batches train alike.",
        source=f"{_IRPAN}: training curves look fine",
        about=_DOMAINS,
        comparisons=(alike(Term.of(SEPARATE, LOSS), Term.of(JOINT, LOSS), AS_WELL),),
        remark="At equal steps.",
        figure="accuracy_by_statistics",
        experiment="irpan2017/domains",
        intervention=True,
    ),
    Claim(
        name="PB4",
        statement="Statistics of each sample's own domain bring back what shared running averages lose, those of a "
        "mixed population less.",
        source=f"{_IRPAN}; Li et al. 2016, arXiv:1603.04779",
        about=_DOMAINS,
        comparisons=(
            fraction(
                Term.of(SEPARATE, BY_DOMAIN), Term.of(SEPARATE, ACCURACY), Term.of(JOINT, ACCURACY), low=RECOVERED
            ),
            difference(Term.of(SEPARATE, BY_POPULATION), Term.of(SEPARATE, BY_DOMAIN), high=0.0, smallest=POINT),
        ),
        remark=f"Nothing is trained again: only the statistics at test time differ. {_IMAGES}",
        figure="accuracy_by_statistics",
        experiment="irpan2017/domains",
        intervention=True,
    ),
    Claim(
        name="PB5",
        statement="A network that was trained on mixed batches loses by statistics of each domain's own.",
        source=f"{_IRPAN}: the change of path at test time",
        about=_DOMAINS,
        comparisons=(difference(Term.of(JOINT, BY_DOMAIN), Term.of(JOINT, ACCURACY), high=0.0, smallest=POINT),),
        remark=_IMAGES,
        figure="accuracy_by_statistics",
        experiment="irpan2017/domains",
        core=False,
        intervention=True,
    ),
    Claim(
        name="PB6",
        statement="With running averages of each domain's own, halves that are normalised by domain and mixed "
        "batches test alike.",
        source=f"{_IRPAN}: variables of each domain's own were best",
        about=_DOMAINS,
        comparisons=(difference(Term.of(OWN, ACCURACY), Term.of(JOINT, ACCURACY), low=-POINT, high=POINT),),
        remark="gamma and beta are shared, and the averages alone each domain's own, where the published variables are "
        f"all apart: so that one thing differs, of which the explanation speaks. {_IMAGES}",
        figure="accuracy_by_statistics",
        experiment="irpan2017/domains",
        intervention=True,
    ),
    Claim(
        name="PB7",
        statement="Test accuracy spreads more over seeds with shared averages of halves that are normalised by domain.",
        source=f"{_IRPAN} (of five seeds)",
        about=_DOMAINS,
        comparisons=(Comparison((Term.of(SEPARATE, ACCURACY), Term.of(JOINT, ACCURACY)), Region(low=1.0), Spread()),),
        figure="accuracy_by_statistics",
        experiment="irpan2017/many_seeds",
        seeds=SEEDS_OF_A_SPREAD,
        core=False,
        intervention=True,
    ),
    Claim(
        name="PB8",
        statement="Batches of one domain each, in turn, lower the test accuracy more with batch normalisation than "
        "without, each at its own best learning rate.",
        source=_IRPAN,
        about=_DOMAINS,
        comparisons=(difference(Term.of("batch", TUNED), Term.of("none", TUNED), high=0.0, smallest=POINT),),
        remark=f"What any network forgets in turns is subtracted. {_IMAGES}",
        figure="accuracy_by_order",
        experiment="irpan2017/rates",
        intervention=True,
    ),
    Claim(
        name="PB9",
        statement="With layer and group normalisation, whose statistics are of single samples, batches of one domain "
        "each change the test accuracy by less than a point.",
        source=_IRPAN,
        about=_DOMAINS,
        comparisons=tuple(value(Term.of(norm, AT_ONE_RATE), low=-POINT, high=POINT) for norm in ("layer", "group")),
        remark="At one learning rate, the same for both orders, and not at each one's best, which would take six times "
        f"the runs; some accuracies had been seen when that was decided. {_IMAGES}",
        figure="accuracy_by_order",
        experiment="irpan2017/alternatives",
    ),
    Claim(
        name="PB10",
        statement="Batches of one domain each lower the test accuracy less with batch renormalisation, weight and "
        "cosine normalisation than with batch normalisation.",
        source="Ioffe 2017, arXiv:1702.03275, of batches that are no fair sample; the others are ours",
        about=_DOMAINS,
        comparisons=tuple(
            difference(Term.of(arm, AT_ONE_RATE), Term.of("batch", AT_ONE_RATE), low=0.0, smallest=POINT)
            for arm in (
                Arm.of("batch_renorm", {"norm": "batch_renorm", **RENORM}),
                Arm.norm("weight"),
                Arm.norm("cosine"),
            )
        ),
        remark=f"At one learning rate. {_IMAGES}",
        figure="accuracy_by_order",
        experiment="irpan2017/alternatives",
        core=False,
    ),
    Claim(
        name="PB11",
        statement="Samples sorted by class lower the test accuracy more with batch normalisation than without.",
        source=_IRPAN,
        about=_DOMAINS,
        comparisons=(difference(Term.of("batch", SORTED), Term.of("none", SORTED), high=0.0, smallest=POINT),),
        remark=f"At one learning rate. Sorting alone breaks stochastic descent, which is subtracted. {_IMAGES}",
        figure="accuracy_by_order",
        experiment="irpan2017/sorted",
        core=False,
        intervention=True,
    ),
    Claim(
        name="PB12",
        statement="A discriminator with batch normalisation learns to tell two domains from mixed batches and not from "
        "pure halves that are normalised apart; with layer normalisation and without any pure batches do too.",
        source=f"{_IRPAN}, discriminators of GANs",
        about=_WHICH,
        comparisons=(
            _fails(SEPARATE, all_do=True),
            _fails(JOINT, all_do=False),
            _fails(in_turn("none"), all_do=False),
            _fails(in_turn("layer"), all_do=False),
            _fails(TURNS, all_do=True, decides=False),
        ),
        remark="By the training loss. What a domain's mean and variance tell of it is gone from a pure batch; what "
        "else does is left. For norms of single samples two halves are one batch. Beside it: BN, pure batches in turn. "
        "Whether it discriminates at test time is not judged: a GAN asks its discriminator in training mode.",
        experiment="irpan2017/discriminator",
        core=False,
        intervention=True,
    ),
)
