"""What reductions keep for themselves from one probed step to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from probes.engine.ask import Ask
from probes.engine.collector import Collector, Results
from probes.errors import ProbeError
from probes.protocol import Need


class ReductionState:
    """Tensors by need and name, on the device of the evaluations.

    Args:
        needs: all that may be asked for.
        device: where evaluations run.
    """

    def __init__(self, needs: Iterable[Need], device: torch.device) -> None:
        self._spelled = {need: repr(need) for need in needs}  # once: spelling hundreds of needs takes as long as a pass
        self._device = device
        self._held: dict[str, dict[str, Tensor]] = {}

    def of(self, need: Need) -> dict[str, Tensor]:
        """What the reduction of ``need`` kept; what it puts there it finds at its next probed step."""
        return self._held.setdefault(self._spelled[need], {})

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Plain tensors by need, spelled out, and name."""
        return {need: dict(kept) for need, kept in self._held.items() if kept}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Goes on from :meth:`state_dict`.

        Raises:
            ProbeError: it belongs to other probes.
        """
        if not set(state) <= set(self._spelled.values()):
            raise ProbeError("saved state of the probes is of other options than the ones given")
        self._held = {need: {k: v.to(self._device, copy=True) for k, v in kept.items()} for need, kept in state.items()}


@torch.no_grad()
def reduce_states(
    ask: Ask, results: Results, values: Mapping[str, Tensor], buffers: Mapping[str, Tensor], kept: ReductionState
) -> None:
    """Answers what is asked of parameters, buffers and the past."""
    collector = Collector(ask, results)
    for reduction in ask.asked.states:
        own = kept.of(ask.need_of[id(reduction)])
        collector.add(reduction, reduction.reduce(values, buffers, own))
