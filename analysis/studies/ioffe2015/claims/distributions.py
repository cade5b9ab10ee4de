"""Claims about what enters the sigmoids while the network trains."""

from __future__ import annotations

from analysis.best import best
from analysis.claims import Claim, Term, more
from analysis.standard import TEST_LOSS
from analysis.studies.ioffe2015.claims import NETWORK, PAPER
from analysis.studies.ioffe2015.own_measures import median_travel, spread_range

TRAVEL, SPREAD = (best(measure, "optim.lr", by=TEST_LOSS) for measure in (median_travel(), spread_range()))

CLAIMS = (
    Claim(
        name="I2",
        statement="With batch normalisation the distribution of a sigmoid's input is steadier over training.",
        source=f"{PAPER}, section 4.1 and figure 1 (b, c)",
        about=NETWORK,
        comparisons=(
            more(Term.of("none", TRAVEL), Term.of("batch", TRAVEL)),
            more(Term.of("none", SPREAD), Term.of("batch", SPREAD)),
        ),
        remark="Each at its own best learning rate. It is judged once the loss has left its plateau, on which nothing "
        "can move, and to the end of training. The batch stays the same, so that no sampling noise travels along.",
        figure="percentiles",
        experiment="ioffe2015/percentiles",
    ),
)
