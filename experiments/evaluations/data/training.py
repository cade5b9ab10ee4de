"""Training samples, in the test set's place."""

from __future__ import annotations

from experiments.data import Data
from experiments.evaluations.base import TESTED, Tested


@TESTED.register("training")
class Training(Tested):
    """Training samples as they are trained on, without augmentation: the training loss of another function.

    Its numbers are recorded of the batch "train, <label>".
    """

    batch = "train"
    samples_of = "training samples"

    def __init__(self, *, samples: int | None = None) -> None:
        """
        Args:
            samples: so many, drawn from the seed once and for all; null: all of them.
        """
        if samples is not None and samples < 1:
            raise ValueError(f"samples={samples}: must be at least 1, or null for all")
        self.samples = samples

    def of(self, data: Data) -> Data:
        if self.samples is not None and self.samples > data.training_size:
            raise ValueError(f"samples={self.samples}: there are {data.training_size} training samples")
        return data.tested_on_training(self.samples or data.training_size)
