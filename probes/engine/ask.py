"""The union of what the probes need: for each point of each batch one ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from probes.engine.batches import Batches
from probes.network import View
from probes.points import Before, Point
from probes.protocol import Need
from probes.reductions.reduction import Asked, Reduction


@dataclass(frozen=True)
class Ask:
    """Everything asked at one point of one batch.

    Args:
        batch, point: where.
        needs: what the probes asked for there.
        gradient: whether the gradient here is needed by others (a walk along it, a difference from it).
        axes: that of the units of each tap.
    """

    batch: str
    point: Point
    needs: tuple[Need, ...]
    gradient: bool = False
    axes: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    reductions: tuple[Reduction, ...] = field(init=False, compare=False, repr=False)
    asked: Asked = field(init=False, compare=False, repr=False)
    """The reductions by what they read."""
    hold: frozenset[str] = field(init=False, compare=False, repr=False)
    """Taps whose gradients are asked."""
    need_of: Mapping[int, Need] = field(init=False, compare=False, repr=False)
    """By the reduction's identity: hashing a reduction takes as long as some reductions."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reductions", tuple(need.reduction for need in self.needs))
        asked = Asked()
        for reduction in self.reductions:
            reduction.join(asked)
        object.__setattr__(self, "asked", asked)
        object.__setattr__(self, "hold", frozenset(tap for r in asked.tap_gradients for tap in r.taps()))
        object.__setattr__(self, "need_of", {id(need.reduction): need for need in self.needs})

    @property
    def backward(self) -> bool:
        """Whether a gradient is needed."""
        return self.gradient or bool(self.asked.gradients or self.asked.tap_gradients)

    @property
    def forward(self) -> bool:
        """Whether the network must be run, second derivatives apart."""
        return self.backward or bool(self.asked.loss or self.asked.taps or self.asked.changes)

    @property
    def twice(self) -> tuple[Reduction, ...]:
        """Those that need second derivatives, which are evaluated after all others."""
        return (*self.asked.second_derivatives, *self.asked.differences)


def union(needs: Iterable[Need], view: View, batches: Batches) -> list[Ask]:
    """One ask for each (batch, point), those that others rest on included, in the order of evaluation.

    Raises:
        ProbeError: a need that no evaluation can meet.
    """
    asked: dict[tuple[str, Point], dict[Need, None]] = {}
    rests: set[tuple[str, Point]] = set()
    for need in needs:
        batches.check(need.batch)
        need.point.check(need.reduction, view)
        need.reduction.check(view)
        asked.setdefault((need.batch, need.point), {}).setdefault(need)
        rests.update((batch, Before()) for batch in need.point.rests_on(need.batch))
        if need.reduction.rests_on_before:
            rests.add((need.batch, Before()))
    for key in rests:
        asked.setdefault(key, {})
    axes = {leaf.tap: leaf.axis for leaf in view.leaves}
    asks = [
        Ask(batch, point, tuple(here), gradient=(batch, point) in rests, axes=axes)
        for (batch, point), here in asked.items()
    ]
    return sorted(asks, key=lambda ask: (batches.names.index(ask.batch), ask.point.order(view)))
