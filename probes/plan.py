"""The union of what the probes need, what it costs, and what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from probes.errors import ProbeError
from probes.evaluate import Ask
from probes.network import View
from probes.points import After, Along, Before, Hybrid, Point
from probes.protocol import Need
from probes.reductions import (
    DifferenceProducts,
    GradientComparison,
    GradientNorms,
    GradientProducts,
    GradientValues,
    ParameterValues,
    Reduction,
    TapGradientReduction,
    TapReduction,
)

PARAMETER_GRADIENTS = (GradientNorms, GradientComparison, GradientProducts, GradientValues)


@dataclass(frozen=True)
class Costs:
    """Arithmetic of the network, in floating-point operations on the example batch, and bytes.

    Args:
        forward, backward: of one forward and one backward pass.
        fixed_samples: samples of the fixed batch in units of the example batch's.
        parameters, buffers: bytes of all parameters and buffers, in the type of the evaluations.
        live: bytes of all parameters and buffers of the network itself.
        graph: bytes that one evaluation keeps for its backward pass.
        taps: bytes of each tap.
    """

    forward: int
    backward: int
    fixed_samples: float
    parameters: int
    buffers: int
    live: int
    graph: int
    taps: dict[str, int] = field(default_factory=dict)

    @property
    def training(self) -> int:
        """One forward-backward pass."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Row:
    """One line of the plan: an evaluation and its cost in forward-backward passes of the training batch."""

    ask: Ask
    how: str
    passes: float
    operations: float


@dataclass(frozen=True)
class Plan:
    """What one probed step evaluates, in order.

    Attributes:
        rows: the evaluations.
        held_bytes: kept for the whole run (the copy of the network).
        peak_bytes: held during a probed step, beyond that and beyond training's own.
    """

    rows: tuple[Row, ...]
    reuse: bool
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

    def asks(self, batch: str) -> list[Ask]:
        """The asks on one batch, in order."""
        return [row.ask for row in self.rows if row.ask.batch == batch]

    def __str__(self) -> str:
        lines = [f"{'batch':6} {'point':42} {'passes':>7}  asked"]
        for rows in _alike(self.rows):
            asked = sorted({_spelled(reduction) for row in rows for reduction in row.ask.reductions})
            point = str(rows[0].ask.point) if len(rows) == 1 else f"{_family(rows[0].ask.point)}, {len(rows)} points"
            passes = sum(row.passes for row in rows)
            how = f" [{rows[0].how}]" if rows[0].how else ""
            lines.append(f"{rows[0].ask.batch:6} {point:42} {passes:7.2f}  {', '.join(asked) or 'gradient'}{how}")
        lines.append(f"{'':6} {'together, per probed step':42} {self.passes:7.2f}  forward-backward passes")
        return "\n".join(lines)


def _spelled(reduction: Reduction) -> str:
    words = "".join(" " + c.lower() if c.isupper() else c for c in type(reduction).__name__).strip()
    return words


def _family(point: Point) -> str:
    if isinstance(point, Along):
        return f"along the {point.direction}"
    return str(point).split(" at ")[0] + (
        ", weight leaves only" if isinstance(point, Hybrid) and point.moves == "weights" else ""
    )


def _alike(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.ask.batch, _family(row.ask.point), row.how), []).append(row)
    return list(groups.values())


def union(needs: Iterable[Need], view: View, has_fixed_batch: bool) -> list[Ask]:
    """One ask for each (batch, point), those that others rest on included, in the order of evaluation.

    Raises:
        ProbeError: a need that no evaluation can meet.
    """
    asked: dict[tuple[str, Point], dict[Reduction, None]] = {}
    rests: set[tuple[str, Point]] = set()
    for need in needs:
        _check(need, view, has_fixed_batch)
        asked.setdefault((need.batch, need.point), {})[need.reduction] = None
        if isinstance(need.reduction, GradientComparison):
            rests.add((need.batch, Before()))
        if isinstance(need.point, Hybrid):
            rests.add((need.batch, Before()))
        if isinstance(need.point, Along) and need.point.direction != "update":
            rests.add(("train", Before()))
    for key in rests:
        asked.setdefault(key, {})
    asks = [
        Ask(batch, point, tuple(reductions), gradient=(batch, point) in rests)
        for (batch, point), reductions in asked.items()
    ]
    return sorted(asks, key=lambda ask: _order(ask, view))


def _order(ask: Ask, view: View) -> tuple[object, ...]:
    point = ask.point
    batch = 0 if ask.batch == "train" else 1
    if isinstance(point, Before):
        return (batch, 0)
    if isinstance(point, Along):
        return (batch, 1, point.direction, point.index, point.multiple)
    if isinstance(point, Hybrid):
        return (batch, 2, point.moves, view.layer(point.layer).first)
    return (batch, 3)


def _check(need: Need, view: View, has_fixed_batch: bool) -> None:
    point, reduction = need.point, need.reduction
    if need.batch not in ("train", "fixed"):
        raise ProbeError(f"batch {need.batch!r}: must be 'train' or 'fixed'")
    if need.batch == "fixed" and not has_fixed_batch:
        raise ProbeError(f"{type(reduction).__name__} on the fixed batch: no fixed_batch was given")
    if isinstance(point, Along):
        if point.direction not in ("gradient", "update", "random"):
            raise ProbeError(f"direction {point.direction!r}: must be 'gradient', 'update' or 'random'")
        if not 0 <= point.multiple < float("inf"):
            raise ProbeError(f"step length {point.multiple}: must be finite and not negative")
    if isinstance(point, Hybrid):
        layer = view.layer(point.layer)
        if not isinstance(reduction, GradientNorms | GradientComparison | GradientProducts):
            raise ProbeError(
                f"{type(reduction).__name__} at a hybrid: only gradients of the layer's own parameters are"
            )
        if not layer.parameters:
            raise ProbeError(f"layer {layer.name!r} has no trained parameters, so there is no gradient to compare")
    if reduction.level == "double" and not isinstance(point, Before):
        raise ProbeError(f"{type(reduction).__name__} at {point}: only before the update")
    taps: tuple[str, ...] = ()
    if isinstance(reduction, TapReduction):
        taps = (reduction.tap,)
    elif isinstance(reduction, TapGradientReduction):
        taps = reduction.taps()
    for tap in taps:
        view.leaf(tap)
    parameter = getattr(reduction, "parameter", None)
    if isinstance(reduction, ParameterValues) and parameter in view.frozen:
        return
    if parameter is not None and parameter not in view.parameters:
        raise ProbeError(f"parameter {parameter!r}: not trained here; there are {', '.join(view.parameters)}")


def make_plan(asks: Sequence[Ask], view: View, costs: Costs, reuse: bool, double: Mapping[Reduction, int]) -> Plan:
    """The plan for ``asks``.

    Args:
        asks: from :func:`union`.
        view: the network.
        costs: its arithmetic and bytes.
        reuse: whether the training pass itself is the evaluation Before on the training batch.
        double: operations that each Hessian-vector product adds to a forward pass, measured.
    """
    rows = []
    for batch in ("train", "fixed"):
        scale = 1.0 if batch == "train" else costs.fixed_samples
        here = [ask for ask in asks if ask.batch == batch]
        merged = after_in_ascent(here, view)
        position: dict[str, int] = {}
        for ask in here:
            how = ""
            if isinstance(ask.point, Hybrid) and is_before(ask.point, view):
                operations, how = 0.0, "nothing moves before it: Before itself"
            elif isinstance(ask.point, Hybrid) and view.ordered:
                operations, how = _hybrid_operations(ask.point, view, position), "shared prefix"
            elif ask is merged:
                moved = position.get("all", 0)
                operations, how = sum(leaf.operations for leaf in view.leaves[moved:]), "the prefix carried to the end"
            elif isinstance(ask.point, Before) and batch == "train" and reuse:
                operations, how = 0, "the training pass itself"
            elif isinstance(ask.point, Hybrid):
                operations, how = costs.training, "at most a full pass each: no order of leaves"
            else:
                operations = costs.training if ask.backward else costs.forward if ask.forward else 0
            if ask.asks("double"):
                twice = any(not isinstance(r, DifferenceProducts) for r in ask.of_level("double"))
                operations += twice * costs.forward + sum(double[reduction] for reduction in ask.of_level("double"))
            rows.append(Row(ask, how, scale * operations / max(costs.training, 1), scale * operations))
    taps = max((2 * sum(costs.taps.get(tap, 0) for tap in ask.hold) for ask in asks), default=0)
    evaluated = any(row.ask.backward and row.operations for row in rows)
    gradients = (0 if reuse else 1) + (1 if evaluated else 0)
    gradients += any(isinstance(ask.point, Along) and ask.point.direction != "gradient" for ask in asks)
    gradients += any(ask.batch == "fixed" and ask.gradient for ask in asks)
    peak = costs.live + gradients * costs.parameters + taps + (costs.graph if evaluated else 0)
    return Plan(tuple(rows), reuse, costs.parameters + costs.buffers, peak, taps)


def is_before(point: Hybrid, view: View) -> bool:
    """Whether nothing that moves stands before the layer, so that the hybrid is theta_t itself."""
    return not view.moved_before(point.layer, point.moves)


def after_in_ascent(asks: Sequence[Ask], view: View) -> Ask | None:
    """The ask at After that the ascent of the hybrids meets on its way, if a forward pass is enough for it."""
    ascent = any(
        isinstance(ask.point, Hybrid) and ask.point.moves == "all" and not is_before(ask.point, view) for ask in asks
    )
    for ask in asks:
        if isinstance(ask.point, After) and ask.forward and not ask.backward and ascent and view.ordered:
            return ask
    return None


def _hybrid_operations(point: Hybrid, view: View, position: dict[str, int]) -> float:
    layer = view.layer(point.layer)
    prefix = sum(leaf.operations for leaf in view.leaves[position.get(point.moves, 0) : layer.first])
    position[point.moves] = layer.first
    suffix = sum(leaf.operations for leaf in view.leaves[layer.first :])
    # backward: to the inputs of the leaves above, and to the layer's own weights
    above = sum(leaf.operations for leaf in view.leaves[layer.first + 1 :])
    own = view.leaves[layer.first].operations if view.leaves[layer.first].trained else 0
    return prefix + suffix + above + own
