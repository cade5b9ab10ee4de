"""What an untrained network predicts."""

from __future__ import annotations

from analysis.measures import Measure, first

SHARE = "most_predicted_share"


def most_predicted() -> Measure:
    """Share of the batch's samples that the network takes for one class, the one that it predicts most, at step 0."""
    return Measure(
        "share of the most predicted class",
        "share of the batch's samples to which the untrained network gives the class that it gives most often",
        ((SHARE, "train"),),
        lambda runs: first(runs, SHARE, "train"),
    )
