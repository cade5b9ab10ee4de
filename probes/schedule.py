"""At which training steps the probes measure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from probes.errors import ProbeError


@dataclass(frozen=True)
class Schedule:
    """One base schedule for all probes, so that they coincide and share evaluations.

    Args:
        every: probe the steps 0, every, 2 every, ...; ignored where ``listed`` is given.
        listed: probe exactly these steps.

    Raises:
        ProbeError: a step length below 1; a list that is empty, unsorted or negative.
    """

    every: int = 100
    listed: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ProbeError(f"schedule every={self.every}: must be at least 1")
        if self.listed is not None:
            steps = list(self.listed)
            if not steps or steps[0] < 0 or any(a >= b for a, b in itertools.pairwise(steps)):
                raise ProbeError(f"schedule at={steps}: must be whole numbers from 0 up, ascending, at least one")
            object.__setattr__(self, "_places", {step: place for place, step in enumerate(steps)})

    @classmethod
    def logarithmic(cls, steps: int, per_decade: int = 10) -> Schedule:
        """Step 0 and ``per_decade`` steps in every power of ten below ``steps``, evenly spaced in the logarithm."""
        if steps < 1 or per_decade < 1:
            raise ProbeError(f"logarithmic schedule, steps={steps} per_decade={per_decade}: must be at least 1")
        found, power = {0}, 0
        while (step := round(10 ** (power / per_decade))) < steps:
            found.add(step)
            power += 1
        return cls(listed=tuple(sorted(found)))

    @classmethod
    def of(cls, every: int | Iterable[int] | Schedule) -> Schedule:
        """A schedule from a step length, a list of steps, or itself."""
        if isinstance(every, Schedule):
            return every
        return cls(every=every) if isinstance(every, int) else cls(listed=tuple(every))

    def place(self, step: int) -> int | None:
        """The place of ``step`` in the schedule (0 for the first probed step), None off schedule."""
        if self.listed is not None:
            return self._places.get(step)  # type: ignore[attr-defined]
        return None if step % self.every else step // self.every

    def check(self, steps: int) -> None:
        """Refuses listed steps that a run of ``steps`` steps never reaches."""
        if self.listed is not None and self.listed[-1] >= steps:
            raise ProbeError(
                f"schedule at=...{self.listed[-1]}: past the end, the last step of this run is {steps - 1}"
            )

    def __str__(self) -> str:
        if self.listed is None:
            return f"every {self.every} steps"
        return f"at {len(self.listed)} steps from {self.listed[0]} to {self.listed[-1]}"
