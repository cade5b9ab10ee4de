"""What the next probed step needs of the past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.protocol import Need

State = dict[str, dict[str, dict[str, Tensor]]]
""""first", "previous" or "step_before" -> probe -> need, spelled out -> value."""

_STEP = "step"
"""Beside the needs of the step before: which one that was."""


class Remembered:
    """The values at each probe's first and previous probed step, and at the training step before the present one.

    Args:
        needs: of each probe, by name, those whose values are remembered.
        step_before: the same for the step before.
    """

    def __init__(self, needs: Mapping[str, Iterable[Need]], step_before: Mapping[str, Iterable[Need]]) -> None:
        self._needs = {name: tuple(wanted) for name, wanted in needs.items()}
        self._step_before = {name: tuple(wanted) for name, wanted in step_before.items()}
        self._held: dict[str, dict[str, dict[Need, Tensor]]] = {"first": {}, "previous": {}, "step_before": {}}
        self._steps: dict[str, int] = {}

    def of(self, probe: str, step: int) -> dict[str, dict[Need, Tensor]]:
        """What a probe is given at a probed step."""
        found = {which: held.get(probe, {}) for which, held in self._held.items()}
        return found if self._steps.get(probe) == step - 1 else found | {"step_before": {}}

    def keep(self, probe: str, values: Mapping[Need, Tensor]) -> None:
        """Keeps what is remembered of a probed step's values."""
        kept = {need: values[need].clone() for need in self._needs[probe]}
        self._held["previous"][probe] = kept
        self._held["first"].setdefault(probe, kept)

    def keep_step(self, probe: str, step: int, values: Mapping[Need, Tensor]) -> None:
        """Keeps what a probe wants to know at the next step."""
        self._held["step_before"][probe] = {need: values[need].clone() for need in self._step_before[probe]}
        self._steps[probe] = step

    def state_dict(self) -> State:
        """Plain tensors by probe and need."""
        state = {
            which: {name: {repr(need): value for need, value in kept.items()} for name, kept in held.items()}
            for which, held in self._held.items()
        }
        for name, step in self._steps.items():
            state["step_before"][name][_STEP] = torch.tensor(step)
        return state

    def load_state_dict(self, state: Mapping[str, Mapping[str, Mapping[str, Tensor]]]) -> None:
        """Goes on from :meth:`state_dict`.

        Raises:
            ProbeError: it belongs to other probes.
        """
        self._steps.clear()
        for which, held in self._held.items():
            held.clear()
            wanted = self._step_before if which == "step_before" else self._needs
            for name, kept in state.get(which, {}).items():
                needs = {repr(need): need for need in wanted.get(name, ())}
                if set(kept) - {_STEP} != set(needs):
                    raise ProbeError(f"saved state of probe {name!r} is of other options than the ones given")
                held[name] = {needs[key]: value.clone() for key, value in kept.items() if key != _STEP}
                if _STEP in kept:
                    self._steps[name] = int(kept[_STEP])
