"""Claims about the scale of weights, and about what is left of the normalisation at inference."""

from __future__ import annotations

from analysis.claims import POINT, Claim, Term, difference, identity
from analysis.measures import final
from analysis.select import Arm
from analysis.standard import ACCURACY
from analysis.studies.ioffe2015.claims import NETWORK, PAPER
from analysis.studies.ioffe2015.own_measures import greatest, moved_by, radial_share

SMALL_EPS = Arm.of("batch, eps 1e-12", {"norm": "batch", "norm.eps": 1e-12})
OUTPUTS = greatest("scaling_output_error", "outputs at a W")
GRADIENTS = greatest("scaling_gradient_error", "gradients at a W")
TOLERANCE = 1e-4

CLAIMS = (
    Claim(
        name="I8",
        statement="The scale of the weights before a batch normalisation does not matter: at a times W outputs are the "
        "same, the gradient is 1/a of itself and at right angles to W.",
        source=f"{PAPER}, section 3.3",
        about=NETWORK,
        comparisons=tuple(
            identity(Term.of(SMALL_EPS, measure), TOLERANCE) for measure in (OUTPUTS, GRADIENTS, radial_share())
        ),
        remark="For a of 0.1 and 10 in networks while they train, in float64; eps of 1e-12, since eps is not scaled "
        "and breaks the invariance.",
        experiment="ioffe2015/scale_invariance",
    ),
    Claim(
        name="I10",
        statement="At inference batch normalisation is an affine map that can be folded into the layer before it.",
        source=f"{PAPER}, section 3.1 and Algorithm 2",
        about=NETWORK,
        comparisons=(identity(Term.of("batch", moved_by("folded")), TOLERANCE),),
        remark="By the test loss, to rounding in float32.",
        experiment="ioffe2015/inference",
        core=False,
    ),
    Claim(
        name="I10b",
        statement="At inference batch normalisation does nothing: without it a trained network keeps its accuracy.",
        source="said in posts on batch normalisation, since gamma and beta could undo it; not by the paper",
        about=NETWORK,
        comparisons=(
            difference(
                Term.of("batch", final("accuracy", "test", statistics="taken_out")),
                Term.of("batch", ACCURACY),
                low=-POINT,
            ),
        ),
        remark="Judged by what the network does with it taken out, gamma and beta too: gamma over the deviation is not "
        "free of the scale of W, and says nothing by itself.",
        experiment="ioffe2015/inference",
        core=False,
        intervention=True,
    ),
)
