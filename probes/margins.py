"""Margins: by how much the right answer is ahead, and how alike it is ahead for all samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import Margins as OfBatch


@dataclass(frozen=True)
class Margins:
    """Margins of a batch's samples before the update, in train mode, and how unequal they are.

    Of classes a margin is the output of the right class less the greatest of the others; of one value with a sign for
    its target it is output x target. ``margin_least`` and ``margin_mean``, in the unit of the outputs, and
    ``margin_variation``, the deviation over the mean: 0 where all margins are alike, whatever their size (Cao et al.
    2023, arXiv:2306.11680, theorem 2.2); no number where the mean is not positive.

    Args:
        batches: names of batches; "train" is the step's own, others are given to Probes.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: no batch, or one that is there twice; at a probed step, targets that are neither.
    """

    batches: tuple[str, ...] = ("train",)
    every: int = 1

    def __post_init__(self) -> None:
        if not self.batches or len(set(self.batches)) < len(self.batches):
            raise ProbeError(f"margins batches={list(self.batches)}: must be names, each once, at least one")

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        fields = {
            f"{metric}.{batch}": Field(metric, unit, reference, batch, "before")
            for batch in self.batches
            for metric, unit, reference in _RECORDS
        }
        return Declaration(tuple(Need(batch, Before(), OfBatch()) for batch in self.batches), fields)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        answer = {}
        for batch in self.batches:
            least, mean, deviation = at[Need(batch, Before(), OfBatch())]
            answer[f"margin_least.{batch}"], answer[f"margin_mean.{batch}"] = least, mean
            answer[f"margin_variation.{batch}"] = (deviation / mean).where(mean > 0, float("nan"))
        return answer


_RECORDS = (
    ("margin_least", "output", "least margin of the batch"),
    ("margin_mean", "output", "mean margin of the batch"),
    ("margin_variation", "1", "Cao et al. 2023, theorem 2.2: 0 where margins are uniform"),
)
