"""At which training steps the probes measure."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

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
    def of(cls, every: int | Iterable[int] | Schedule | ByProgress) -> Schedule | ByProgress:
        """A schedule from a step length, a list of steps, or itself."""
        if isinstance(every, (Schedule, ByProgress)):
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

    def between(self, start: int, end: int) -> tuple[int, int]:
        """The least and the greatest number of probed steps among ``start``, ..., ``end`` - 1: here they are equal."""
        if self.listed is not None:
            count = sum(start <= step < end for step in self.listed)
        else:
            count = len(range(-(-start // self.every) * self.every, end, self.every))
        return count, count

    def tell(self, step: int, data_loss: Tensor | float) -> None:
        """Such a schedule does not look at the loss."""

    def state_dict(self) -> dict[str, Any]:
        """Such a schedule has no past."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Such a schedule has no past."""

    def __str__(self) -> str:
        if self.listed is None:
            return f"every {self.every} steps"
        return f"at {len(self.listed)} steps from {self.listed[0]} to {self.listed[-1]}"


DENSE = 20
"""The first steps, each of which is probed."""
LEVELS_PER_OCTAVE = 4
"""The levels of the data loss are 2^(k/4), k whole: the same for every run, each 19 % above the next."""
LEVELS = 40
"""Levels below the first loss that are looked at: down to its 1/1024. Below them probing is sparse."""
SMOOTHED_OVER = 3
"""Steps over whose losses the median is taken: what one odd mini-batch says of the progress does not count."""


class ByProgress:
    """A schedule by the progress of training: a function of the data losses of the steps before, and of nothing else.

    Probed are the first twenty steps; each step before which the data loss crossed a level that it had not crossed yet;
    and each step that lies ``every`` steps after the last probed one. While the loss falls by 19 % a step or faster
    that is every step, on a plateau and at the end every ``every``-th. The loss that is looked at is the mini-batch's,
    before the update, as training computed it: the median of the last three steps.

    Its state is that of one run: build it anew for another, and tell it the loss of every step in turn.

    Args:
        every: the most steps between two probed ones.

    Raises:
        ProbeError: a step length below 1; a step asked for whose past was not told.
    """

    def __init__(self, every: int = 100) -> None:
        if every < 1:
            raise ProbeError(f"schedule every={every}: must be at least 1")
        self.every = every
        self._step = 0  # the one that is decided
        self._probed = 0  # steps probed before it
        self._last = 0  # of these the latest
        self._due = True
        self._recent: list[float] = []
        self._lowest: int | None = None  # level that the loss has come to; levels go by their k
        self._end = 0  # the lowest that is looked at

    def place(self, step: int) -> int | None:
        """The place of ``step`` among the probed steps (0 for the first), None off schedule."""
        if step != self._step:
            raise ProbeError(
                f"schedule by progress: step {step} comes, but step {self._step} is the next after those whose loss "
                "was told: call probes.tell(step, data_loss) after each step"
            )
        return self._probed if self._due else None

    def tell(self, step: int, data_loss: Tensor | float) -> None:
        """Takes the data loss of ``step``, and decides on the next one."""
        if self.place(step) is not None:
            self._probed, self._last = self._probed + 1, step
        self._step = step + 1
        dense, sparse = self._step < DENSE, self._step - self._last >= self.every
        loss = data_loss.item() if isinstance(data_loss, Tensor) else data_loss
        self._due = self._crosses(loss) or dense or sparse

    def _crosses(self, loss: float) -> bool:
        """Whether the smoothed loss is now below a level that it was never below."""
        self._recent = [*self._recent, loss][-SMOOTHED_OVER:]
        smoothed = statistics.median(self._recent)
        if not (0 < smoothed < math.inf):
            return False
        level = math.floor(LEVELS_PER_OCTAVE * math.log2(smoothed))
        if self._lowest is None:
            self._lowest, self._end = level, level - LEVELS
        crossed = max(level, self._end) < self._lowest
        self._lowest = max(min(level, self._lowest), self._end)
        return crossed

    def check(self, steps: int) -> None:
        """Every length will do."""

    def between(self, start: int, end: int) -> tuple[int, int]:
        """Bounds of the number of probed steps among ``start``, ..., ``end`` - 1, whatever the loss does."""
        dense, sparse = max(0, min(end, DENSE) - start), max(0, end - max(start, DENSE))
        # of `every` steps in a row one at least; at most one for each level, and those `every` steps after another one,
        # of which the first may lie anywhere unless the last of the first steps is known to be probed
        least = sparse // self.every
        most = LEVELS + (least if start <= DENSE else -(-sparse // self.every))
        return dense + least, dense + min(sparse, most)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: plain values."""
        return {
            "step": self._step,
            "probed": self._probed,
            "last": self._last,
            "due": self._due,
            "recent": list(self._recent),
            "lowest": self._lowest,
            "end": self._end,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from :meth:`state_dict`."""
        self._step, self._probed, self._last = state["step"], state["probed"], state["last"]
        self._due, self._recent = state["due"], list(state["recent"])
        self._lowest, self._end = state["lowest"], state["end"]

    def __str__(self) -> str:
        return f"each of the first {DENSE} steps, where the data loss crosses a level, and every {self.every} steps"
