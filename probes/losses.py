"""The data loss of batches that are not trained on now: of all training samples at once, for example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import LossParts


@dataclass(frozen=True)
class Losses:
    """``data_loss`` of whole batches before the update, in train mode: normalisations take that batch's statistics.

    Args:
        batches: names of batches; "train" is the step's own, others are given to Probes ("fixed" can be all samples).
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: no batch, or one that is there twice.
    """

    batches: tuple[str, ...] = ("fixed",)
    every: int = 1

    def __post_init__(self) -> None:
        if not self.batches or len(set(self.batches)) < len(self.batches):
            raise ProbeError(f"losses batches={list(self.batches)}: must be names, each once, at least one")

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        fields = {
            f"data_loss.{batch}": Field("data_loss", "loss", "of the whole batch, in train mode", batch, "before")
            for batch in self.batches
        }
        return Declaration(tuple(Need(batch, Before(), LossParts()) for batch in self.batches), fields)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        return {f"data_loss.{batch}": at[Need(batch, Before(), LossParts())][1] for batch in self.batches}
