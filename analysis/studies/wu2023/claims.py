"""Claims about data that are shuffled once, with batch normalisation and without."""

from __future__ import annotations

from analysis.claims import Claim, Term, alike, more
from analysis.measures import final
from analysis.select import Arm
from analysis.shifts import both_shifts

_SOURCE = "Wu, Yun & Sra 2023"
LOSS = final("data_loss", "fixed")
"""The fixed batch is all training samples."""
_ABOUT = {"task": "classification", "model.activation": "none"}
"""Under a squared error some loss is left over, of which ratios say nothing."""
LARGER = 1.5
SMALLEST = 1.25


def ordered(norm: str, order: str) -> Arm:
    """The runs of a normalisation with one order of the data."""
    return Arm.of(f"{norm}, {order.replace('_', ' ')}", {"norm": norm, "data.order": order})


def _terms(norm: str) -> tuple[Term, Term]:
    return Term.of(ordered(norm, "shuffled_once"), LOSS), Term.of(ordered(norm, "reshuffled"), LOSS)


CLAIMS = (
    Claim(
        name="W1",
        statement="With batch normalisation, training on data that were shuffled once ends at a greater loss over "
        "all training samples.",
        source=f"{_SOURCE}, theorems 2 and 3, figure 1",
        about=_ABOUT,
        comparisons=(more(*_terms("batch"), than=LARGER),),
        remark="The loss of all training samples as one batch, by their own statistics; the median of the last tenth "
        "of epochs, since single epochs of reshuffled data vary tenfold.",
        figure="loss_by_order",
        experiment="wu2023/linear",
        intervention=True,
    ),
    Claim(
        name="W2",
        statement="Without normalisation the order makes no difference.",
        source=f"{_SOURCE}, section 1",
        about=_ABOUT,
        comparisons=(alike(*_terms("none"), factor=SMALLEST),),
        figure="loss_by_order",
        experiment="wu2023/linear",
        intervention=True,
    ),
    both_shifts(
        "W3",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        ordered("batch", "shuffled_once"),
        ordered("batch", "reshuffled"),
        levels=None,
        about=_ABOUT,
        experiment="wu2023/shift",
    ),
)
