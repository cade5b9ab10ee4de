"""Claims about the singular values of the maps between layers."""

from __future__ import annotations

from analysis.claims import Claim, Term, difference
from analysis.studies.ioffe2015.claims import NETWORK, PAPER
from analysis.studies.ioffe2015.singular_values import END, START, scale, spread

SMALLEST = 0.05
"""The least difference that counts, of deviations of logarithms and of decades."""

CLAIMS = tuple(
    Claim(
        name=name,
        statement=f"With batch normalisation the singular values of a layer's Jacobian lie nearer to 1 {when}.",
        source=f"{PAPER}, section 3.3, a conjecture",
        about=NETWORK,
        comparisons=tuple(
            difference(Term.of("batch", measure(when)), Term.of("none", measure(when)), high=0.0, smallest=SMALLEST)
            for measure in (spread, scale)
        ),
        remark="Between what enters consecutive sigmoids, with statistics held, of vectors divided by their deviations "
        "over the batch in both arms, so that scale alone is no advantage. At initialisation the spread is mostly that "
        "of Gaussian weights.",
        figure="singular_values",
        experiment="ioffe2015/singular_values",
        core=False,
    )
    for name, when in (("I9", START), ("I9b", END))
)
