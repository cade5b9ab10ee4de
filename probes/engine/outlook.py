"""What a run is to expect of its probes: which measure when, how many steps are probed, and what that costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from probes.engine.plan import Plan
from probes.schedule import ByProgress, Schedule

Names = frozenset[str]


@dataclass(frozen=True)
class Outlook:
    """When each probe measures, and the price of it.

    Args:
        schedule: the base schedule.
        multiples: probe -> it measures at each so-many-th place of the schedule.
        step_before: the probes that want to know about the training step before each of theirs.
        plan: of the probes that measure at a step, and of those that measure at the next one: what is evaluated.
        steps: length of the run; None: not known.
    """

    schedule: Schedule | ByProgress
    multiples: Mapping[str, int]
    step_before: Names
    plan: Callable[[Names, Names], Plan]
    steps: int | None

    def due(self, step: int) -> Names:
        """Names of the probes that measure at ``step``."""
        place = self.schedule.place(step)
        return frozenset() if place is None else self._at(place)

    def due_next(self, step: int) -> Names:
        """Names of those that measure at the next step and want to know about this one."""
        return self.due(step + 1) & self.step_before if self.step_before else frozenset()

    def share_of_training(self) -> tuple[float, float]:
        """Forward-backward passes that probing adds, per pass of training, at least and at most.

        NaN where steps are listed and the run's length is not known.
        """
        if isinstance(self.schedule, Schedule):
            share = self._share(self.schedule)
            return share, share
        period = self._period()
        least, most = self.schedule.between(0, period)
        passes = list(itertools.accumulate((self._passes(place) for place in range(most)), initial=0.0))
        return passes[least] / period, passes[most] / period

    def probed_steps(self, start: int, end: int) -> dict[str, tuple[int, int]]:
        """At how many of the steps ``start``, ..., ``end`` - 1 each probe measures, at least and at most."""
        least, most = self.schedule.between(start, end)
        return {name: (least // multiple, -(-most // multiple)) for name, multiple in self.multiples.items()}

    def lines(self) -> list[str]:
        """The same for people."""
        share, most = self.share_of_training()
        upto = f" to {100 * most:.1f}" if most > share else ""
        told = [f"share of training: {100 * share:.1f}{upto} %{self._counted()}"]
        ahead = self.plan(frozenset(), self.step_before).passes if self.step_before else 0.0
        more = [f"the step before a probed one is evaluated too: {ahead:.2f} passes"] if ahead else []
        return [*(["share of training: length not known"] if math.isnan(share) else told), *more]

    def _at(self, place: int) -> Names:
        return frozenset(name for name, multiple in self.multiples.items() if place % multiple == 0)

    def _period(self) -> int:
        """The run's length; where it is not known, after how many steps the probes come round."""
        return self.steps or self.schedule.every * math.lcm(*self.multiples.values())

    def _share(self, schedule: Schedule) -> float:
        if self.steps is None and schedule.listed is not None:
            return math.nan
        length = self._period()
        probed = schedule.listed or range(0, length, schedule.every)
        steps = {*probed, *(step - 1 for step in probed if step), *([length - 1] if self.steps is None else [])}
        return sum(self.plan(self.due(step), self.due_next(step)).passes for step in steps) / length

    def _passes(self, place: int) -> float:
        """Of a probed step and the one before it, which may be looked at for it."""
        names = self._at(place)
        before = names & self.step_before
        return self.plan(names, frozenset()).passes + (self.plan(frozenset(), before).passes if place and before else 0)

    def _counted(self) -> str:
        if self.steps is None:
            return ""
        least, most = self.schedule.between(0, self.steps)
        return f" ({least}{f' to {most}' if most > least else ''} probed steps of {self.steps})"
