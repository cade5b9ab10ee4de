"""Claims about the loss along the gradient: its range, its gradient's change, effective smoothness."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.claims.measures import PAPER_GRID, Window, over_training
from analysis.claims.model import MUCH, Claim, Comparison, Measure, Term, less, more, value

_PAPER = "Santurkar et al. 2018"
_NONE_AND_BATCH = "classification runs of none and batch with the probe landscape, three seeds or more"


@dataclass(frozen=True)
class Smoothness:
    """What figure 4 (a, b, c) shows, each as one measure."""

    loss_range: Measure
    difference: Measure
    beta: Measure

    def named(self) -> dict[str, Measure]:
        return {
            "loss range": self.loss_range,
            "gradient difference": self.difference,
            "effective beta": self.beta,
        }


def smoothness(suffix: str = "", grid: tuple[float, float] | None = PAPER_GRID, window: Window = "all") -> Smoothness:
    """Along the gradient, or along the direction that `suffix` names."""
    return Smoothness(
        over_training(f"landscape_loss{suffix}", along="range", grid=grid, window=window),
        over_training(f"gradient_difference{suffix}", along="max", grid=grid, window=window),
        over_training(f"effective_beta{suffix}", along="max", grid=grid, window=window),
    )


def smoother(norm: str, measures: Smoothness, *, than: str = "none") -> tuple[Comparison, ...]:
    """`norm` has less of each than `than`."""
    return tuple(
        more(f"{name}, {than} / {norm}", Term(than, measure), Term(norm, measure))
        for name, measure in measures.named().items()
    )


VGG = smoothness()
LINEAR = smoothness(grid=None)
_EARLY, _LATE = smoothness(window="early"), smoothness(window="late")
_RELATIVE = over_training("gradient_difference", along="max", grid=PAPER_GRID, over="gradient_norm")
_CHANGE = over_training("gradient_difference", along="max", grid=PAPER_GRID, over="gradient_norm", window="learning")
_FAR_LOSS = over_training("landscape_loss", along="last", grid=PAPER_GRID, over="loss", window="learning")
_FAR_BETA = over_training("effective_beta", along="last", grid=PAPER_GRID, window="learning")
_RANDOM = smoothness("_along_random_0")

CLAIMS = (
    Claim(
        name="S10",
        statement="Along the gradient the loss varies over a much wider range without batch normalisation, mostly "
        "early in training.",
        source=f"{_PAPER}, section 3.1 and figure 4 (a)",
        rule="Greatest minus least loss over steps of 1/2 to 4 learning rates along the gradient: median over "
        "training, "
        f"none over batch, above {MUCH:g}; and of none, first third of training over last third, above 1.",
        needs=_NONE_AND_BATCH,
        comparisons=(
            more("loss range, none / batch", Term("none", VGG.loss_range), Term("batch", VGG.loss_range), MUCH),
            more(
                "loss range of none, first / last third",
                Term("none", _EARLY.loss_range),
                Term("none", _LATE.loss_range),
            ),
        ),
        figure="fig04_landscape",
        task="classification",
    ),
    Claim(
        name="S11",
        statement="Gradients are far more predictive with batch normalisation.",
        source=f"{_PAPER}, section 3.1 and figure 4 (b)",
        rule="Greatest change of the gradient, ||g' - g||, over steps of 1/2 to 4 learning rates along it, median over "
        f"training: none over batch above {MUCH:g}. (The text says two orders of magnitude, its figure 2 to 3.5.)",
        needs=_NONE_AND_BATCH,
        comparisons=(
            more("||g' - g||, none / batch", Term("none", VGG.difference), Term("batch", VGG.difference), MUCH),
            more(
                "||g' - g|| / ||g||, none / batch",
                Term("none", _RELATIVE),
                Term("batch", _RELATIVE),
                MUCH,
                decides=False,
            ),
        ),
        figure="fig04_landscape",
        task="classification",
    ),
    Claim(
        name="S12",
        statement="Effective smoothness is consistently better with batch normalisation.",
        source=f"{_PAPER}, section 3.1 and figure 4 (c)",
        rule="Greatest ||g' - g|| / ||eta g|| over steps of 1/2 to 4 learning rates, none over batch, above 1 both in "
        "the first and in the last third of training.",
        needs=_NONE_AND_BATCH,
        comparisons=(
            more("effective beta, first third, none / batch", Term("none", _EARLY.beta), Term("batch", _EARLY.beta)),
            more("effective beta, last third, none / batch", Term("none", _LATE.beta), Term("batch", _LATE.beta)),
        ),
        figure="fig04_landscape",
        task="classification",
    ),
    Claim(
        name="S13",
        statement="Batch normalisation smooths the landscape of deep linear networks in the same way.",
        source=f"{_PAPER}, section 3.1 and figure 10",
        rule="Loss range, greatest gradient change and greatest effective beta along the gradient, over all probed "
        "lengths, median over training: none over batch above 1, for all three.",
        needs="runs of none and batch of the deep linear network with the probe landscape, three seeds or more",
        comparisons=smoother("batch", LINEAR),
        figure="fig10_linear_landscape",
        task="regression",
    ),
    Claim(
        name="S14",
        statement="Along random directions the picture is similar: smoother with batch normalisation.",
        source=f"{_PAPER}, section 3.1, text only (no data in the paper)",
        rule="As S13, along a random direction of the gradient's length, steps of 1/2 to 4 learning rates: none over "
        "batch above 1, for all three.",
        needs="runs of none and batch with the probe landscape along random directions (random=1)",
        comparisons=smoother("batch", _RANDOM),
        figure="random_directions",
        task="classification",
    ),
    Claim(
        name="S15",
        statement="Batch normalisation goes on smoothing at step lengths at which the plain network already fails.",
        source=f"{_PAPER}, section 3.1 and figure 11",
        rule="At the longest step (4 learning rates) along the gradient, median over the steps until the run has 90 % "
        "training accuracy: the loss of none there over its loss before the step, above 1 (it fails), and effective "
        "beta, none over batch, above 1.",
        needs=_NONE_AND_BATCH,
        comparisons=(
            value("loss at the longest step / loss before, none", Term("none", _FAR_LOSS), low=1.0),
            more("effective beta at the longest step, none / batch", Term("none", _FAR_BETA), Term("batch", _FAR_BETA)),
        ),
        figure="fig11_gradient_difference",
        task="classification",
    ),
    Claim(
        name="S16",
        statement="With batch normalisation the gradient changes slowly over a broad range of step lengths.",
        source=f"{_PAPER}, section 3.1 and figure 11",
        rule="Greatest ||g' - g|| / ||g|| over steps of 1/2 to 4 learning rates, median over the steps until the run "
        "has 90 % training accuracy: below 1 for batch (it changes by less than its own length), and batch over none "
        "below 1.",
        needs=_NONE_AND_BATCH,
        comparisons=(
            value("||g' - g|| / ||g||, batch", Term("batch", _CHANGE), high=1.0),
            less("||g' - g|| / ||g||, batch / none", Term("batch", _CHANGE), Term("none", _CHANGE)),
        ),
        figure="fig11_gradient_difference",
        task="classification",
    ),
)
