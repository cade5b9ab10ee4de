"""Measures that studies and the card share: of training, of internal covariate shift, of the landscape along a line."""

from __future__ import annotations

from analysis.across import edge
from analysis.best import best
from analysis.measures import Measure, Window, drift, final, learnt_share, over_training, steps_to_learn

SPEED = steps_to_learn()
ACCURACY = final("accuracy", "test")
TRAINING_ACCURACY = final("accuracy", "train")
LOSS = final("data_loss", "train")
TEST_LOSS = final("data_loss", "test")
LEARNT = learnt_share()

TRAINS = 0.5
"""Data loss in nats, over the last tenth of training: below it a run counts as trained, whatever other runs reach."""
LARGEST_RATE = edge(LOSS, "optim.lr", below=TRAINS)
TUNED_SPEED, TUNED_ACCURACY = (best(measure, "optim.lr", by=TEST_LOSS) for measure in (SPEED, ACCURACY))
"""At the learning rate of the least test loss."""
QUICKEST = best(SPEED, "optim.lr", by=SPEED)
"""At the learning rate at which it takes fewest steps."""


def shift(window: Window) -> Measure:
    """Of the distributions of what enters the activation functions, by one update."""
    return drift("wasserstein", batch="fixed", relative=True, window=window)


SHIFT = shift("learning")
ICS_L2 = over_training("ics_l2", name="||G - G'||", skip_first_layer=True, window="learning")
ICS_COSINE = over_training("ics_cosine", name="cos(G, G')", skip_first_layer=True, window="learning")
"""Of the gradients, when the layers before a layer move; in the first layer the shift is 0."""

RANGE = (0.5, 4.0)
"""Ends of the step lengths along which a step is looked at, in learning rates."""


def smoothness(
    suffix: str = "", grid: tuple[float, float] | None = RANGE, window: Window = "all"
) -> tuple[Measure, ...]:
    """Range of the data loss, greatest change of the gradient and greatest effective smoothness along a line.

    Args:
        suffix: of the metrics, names the direction; empty: along the gradient.
        grid: ends of the step lengths, in learning rates; None: all that are recorded.
        window: the part of training.
    """
    return (
        over_training(f"landscape_data_loss{suffix}", name="loss range", along="range", grid=grid, window=window),
        over_training(f"gradient_difference{suffix}", name="||g' - g||", along="max", grid=grid, window=window),
        over_training(f"effective_beta{suffix}", name="effective beta", along="max", grid=grid, window=window),
    )
