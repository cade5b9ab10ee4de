"""What one probed step evaluates, in which way, and what that costs."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from probes.engine.ask import Ask
from probes.engine.costs import Arithmetic, Costs
from probes.engine.curvature import curvature_operations
from probes.engine.memory import carried_bytes, peak_bytes
from probes.network import Moves, View
from probes.points import TRAIN
from probes.reductions.reduction import Reduction


class Route(enum.Enum):
    """A way of evaluating a point; the value says in the plan what is saved."""

    FULL_PASS = ""
    WITHOUT_ORDER = "at most a full pass each: no order of leaves, or a population's statistics"
    TRAINING_PASS = "the training pass itself"
    BEFORE_ITSELF = "nothing moves before it: Before itself"
    ASCENT = "shared prefix"
    CARRIED_TO_THE_END = "the prefix carried to the end"


@dataclass(frozen=True)
class Row:
    """One line of the plan: an evaluation and its cost in forward-backward passes of the training batch."""

    ask: Ask
    route: Route
    passes: float
    operations: float


@dataclass(frozen=True)
class Plan:
    """What one probed step evaluates, in order.

    Attributes:
        rows: the evaluations.
        held_bytes: kept for the whole run (the copy of the network, what reductions keep from step to step).
        peak_bytes: held during a probed step, beyond that and beyond the peak of a plain step.
        tap_bytes: of these, taps that are held for their gradients, the gradients included.
    """

    rows: tuple[Row, ...]
    held_bytes: int
    peak_bytes: int
    tap_bytes: int

    @property
    def passes(self) -> float:
        """Forward-backward passes of the training batch that one probed step adds."""
        return sum(row.passes for row in self.rows)

    @property
    def operations(self) -> float:
        """Floating-point operations of the network's layers that one probed step adds."""
        return sum(row.operations for row in self.rows)

    @property
    def training_pass(self) -> Ask | None:
        """What is asked of the training pass itself; None if that pass is not looked at."""
        return next((row.ask for row in self.rows if row.route is Route.TRAINING_PASS), None)

    def on(self, batch: str) -> list[Row]:
        """The evaluations on one batch, in order."""
        return [row for row in self.rows if row.ask.batch == batch]

    def __str__(self) -> str:
        wide = max([6, *(len(row.ask.batch) for row in self.rows)])
        lines = [f"{'batch':{wide}} {'point':42} {'passes':>7}  asked"]
        for rows in _alike(self.rows):
            asked = sorted({_spelled(reduction) for row in rows for reduction in row.ask.reductions})
            point, how = rows[0].ask.point, rows[0].route.value
            words = str(point) if len(rows) == 1 else f"{point.family}, {len(rows)} points"
            passes = sum(row.passes for row in rows)
            saved = f" [{how}]" if how else ""
            lines.append(
                f"{rows[0].ask.batch:{wide}} {words:42} {passes:7.2f}  {', '.join(asked) or 'gradient'}{saved}"
            )
        lines.append(f"{'':{wide}} {'together, per probed step':42} {self.passes:7.2f}  forward-backward passes")
        return "\n".join(lines)


def _spelled(reduction: Reduction) -> str:
    return "".join(" " + c.lower() if c.isupper() else c for c in type(reduction).__name__).strip()


def _alike(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, str, Route], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.ask.batch, row.ask.point.family, row.route), []).append(row)
    return list(groups.values())


def make_plan(asks: Sequence[Ask], view: View, costs: Costs, reuse: bool) -> Plan:
    """The plan for ``asks``.

    Args:
        asks: from :func:`probes.engine.ask.union`.
        view: the network.
        costs: its arithmetic and bytes.
        reuse: whether the training pass itself is the evaluation Before on the step's own batch.
    """
    rows, ascended = [], dict[tuple[str, Moves], int]()
    ascents = {
        (ask.batch, prefix.moves)
        for ask in asks
        if (prefix := ask.point.prefix(view)) is not None and prefix.layer is not None and prefix.moving(view)
    }
    for ask in asks:
        route = _route(ask, view, ascents, reuse, costs.prefixes)
        own = _operations(ask, route, view, costs.of_batch, ascended) + _twice(ask, view, costs.of_batch)
        operations = costs.share(ask.batch) * own + _of_population(ask, route, view, costs.of_population)
        rows.append(Row(ask, route, operations / max(costs.training, 1), operations))
    live = next((row.ask for row in rows if row.route is Route.TRAINING_PASS), None)
    peak, taps = peak_bytes(asks, view, costs, live)
    return Plan(tuple(rows), costs.copy + carried_bytes(asks, view), peak, taps)


def _route(ask: Ask, view: View, ascents: set[tuple[str, Moves]], reuse: bool, prefixes: bool) -> Route:
    """The way in which ``ask`` is evaluated; ``ascents`` are those that points of one layer each make necessary."""
    prefix = ask.point.prefix(view)
    if ask.point.origin:
        return Route.TRAINING_PASS if reuse and ask.batch == TRAIN else Route.FULL_PASS
    if prefix is None:
        return Route.FULL_PASS
    if prefix.layer is None:
        alone = ask.backward or bool(ask.asked.changes)
        carried = prefixes and ask.forward and not alone and (ask.batch, prefix.moves) in ascents
        return Route.CARRIED_TO_THE_END if carried else Route.FULL_PASS
    if not prefix.moving(view):
        return Route.BEFORE_ITSELF
    return Route.ASCENT if prefixes else Route.WITHOUT_ORDER


def _operations(ask: Ask, route: Route, view: View, costs: Arithmetic, ascended: dict[tuple[str, Moves], int]) -> float:
    """Operations of the network that ``ask`` takes; ``ascended`` is how far each ascent has come."""
    if route in (Route.TRAINING_PASS, Route.BEFORE_ITSELF):
        return 0
    if route in (Route.FULL_PASS, Route.WITHOUT_ORDER):
        modules = {reduction.module for reduction in ask.asked.changes}
        return _passes(ask, costs) + 2 * sum(leaf.operations for leaf in view.leaves if leaf.module in modules)
    prefix = ask.point.prefix(view)
    assert prefix is not None
    if prefix.layer is None:  # the ascent that the layers made, carried to the end
        return sum(leaf.operations for leaf in view.leaves if leaf.step >= ascended.get((ask.batch, prefix.moves), 0))
    entry, begun = prefix.layer.entry, ascended.get((ask.batch, prefix.moves), 0)
    ascended[ask.batch, prefix.moves] = max(entry, begun)
    climbed = sum(leaf.operations for leaf in view.leaves if begun <= leaf.step < entry)
    return climbed + sum(leaf.operations for leaf in view.leaves if leaf.step >= entry) + prefix.layer.backward


def _twice(ask: Ask, view: View, costs: Arithmetic) -> float:
    """Operations of second derivatives; one forward pass serves all that differentiate twice."""
    shared = costs.forward if ask.asked.second_derivatives else 0
    return shared + sum(costs.double[reduction] for reduction in ask.twice) + curvature_operations(ask, view, costs)


def _passes(ask: Ask, costs: Arithmetic) -> float:
    return costs.training if ask.backward else costs.forward if ask.forward else 0


def _of_population(ask: Ask, route: Route, view: View, costs: Arithmetic) -> float:
    """Operations of the population's passes: one with each pass of the batch, as large whatever the batch."""
    full = route in (
        Route.FULL_PASS,
        Route.WITHOUT_ORDER,
    )  # the training pass has it anyway, Before itself runs nothing
    return (_passes(ask, costs) if full else 0) + _twice(ask, view, costs)
