"""The union of what the probes need, what it costs, and what it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from probes.errors import ProbeError
from probes.evaluate import Ask
from probes.network import View
from probes.points import After, Along, Before, Hybrid, Point
from probes.protocol import Need
from probes.reductions import (
    PIECE,
    ROWS,
    SMALL,
    DifferenceProducts,
    GradientComparison,
    GradientNorms,
    GradientProducts,
    GradientValues,
    NormalisationTerms,
    ParameterValues,
    Reduction,
    TapGradientReduction,
    TapReduction,
    width,
)

PARAMETER_GRADIENTS = (GradientNorms, GradientComparison, GradientProducts, GradientValues)


@dataclass(frozen=True)
class Costs:
    """Arithmetic and memory of the network on the example batch, measured: floating-point operations, and bytes.

    Args:
        forward, backward: operations of one forward and one backward pass.
        samples, fixed: samples of the example batch and of the fixed batch (0 without one).
        parameters: bytes of the trained parameters in the type of the evaluations, as of one gradient.
        copy: bytes of all parameters and buffers in that type.
        live: bytes of all parameters and buffers of the network itself.
        forward_bytes: peak of a forward pass that keeps nothing.
        evaluation_bytes: peak of a forward and backward pass, its gradient included.
        training_bytes: the same in the type of training.
        clones: bytes of the taps that are copied because the next step works in place.
        taps: bytes of each tap.
        itemsize: bytes of one number in the type of the evaluations.
        double: (operations beyond a forward pass, peak bytes) of each second derivative that is asked.
    """

    forward: int
    backward: int
    samples: int
    fixed: int
    parameters: int
    copy: int
    live: int
    forward_bytes: int
    evaluation_bytes: int
    training_bytes: int
    clones: int
    taps: Mapping[str, int]
    itemsize: int
    double: Mapping[Reduction, tuple[int, int]]

    @property
    def fixed_samples(self) -> float:
        """Samples of the fixed batch in units of the example batch's."""
        return self.fixed / self.samples

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
        peak_bytes: held during a probed step, beyond that and beyond the peak of a plain step.
        tap_bytes: of these, taps that are held for their gradients, the gradients included.
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
    asked: dict[tuple[str, Point], dict[Need, None]] = {}
    rests: set[tuple[str, Point]] = set()
    for need in needs:
        _check(need, view, has_fixed_batch)
        asked.setdefault((need.batch, need.point), {}).setdefault(need)
        if isinstance(need.reduction, GradientComparison):
            rests.add((need.batch, Before()))
        if isinstance(need.point, Hybrid):
            rests.add((need.batch, Before()))
        if isinstance(need.point, Along) and need.point.direction != "update":
            rests.add(("train", Before()))
    for key in rests:
        asked.setdefault(key, {})
    asks = [Ask(batch, point, tuple(here), gradient=(batch, point) in rests) for (batch, point), here in asked.items()]
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
    if isinstance(reduction, ParameterValues) and parameter in view.shapes:
        return
    if parameter is not None and parameter not in view.parameters:
        raise ProbeError(f"parameter {parameter!r}: not trained here; there are {', '.join(view.parameters)}")


def make_plan(asks: Sequence[Ask], view: View, costs: Costs, reuse: bool) -> Plan:
    """The plan for ``asks``.

    Args:
        asks: from :func:`union`.
        view: the network.
        costs: its arithmetic and bytes.
        reuse: whether the training pass itself is the evaluation Before on the training batch.
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
                operations += twice * costs.forward + sum(
                    costs.double[reduction][0] for reduction in ask.of_level("double")
                )
            rows.append(Row(ask, how, scale * operations / max(costs.training, 1), scale * operations))
    peak, taps = _peak(asks, view, costs, reuse)
    return Plan(tuple(rows), reuse, costs.copy, peak, taps)


def _peak(asks: Sequence[Ask], view: View, costs: Costs, reuse: bool) -> tuple[int, int]:
    """Bytes of a probed step beyond the peak of a plain one, and those of them that are held taps.

    During the training pass theta_t is kept, and the taps that it holds if it is reused; after it, when its graph is
    gone, theta_t, gradients, all answers, and the largest of the evaluations.
    """
    if not asks:
        return 0, 0
    held = {ask: 2 * _scaled(ask, costs, sum(costs.taps.get(tap, 0) for tap in ask.hold)) for ask in asks}
    live = [ask for ask in asks if reuse and ask.batch == "train" and isinstance(ask.point, Before)]
    answers = sum(math.prod(answer_shape(ask, reduction, view, costs)) for ask in asks for reduction in ask.reductions)
    during = costs.live + sum(held[ask] + costs.clones for ask in live) + 8 * answers
    gradients = sum(ask.gradient for ask in asks) + 1  # each one that others rest on; .grad, as training left it
    gradients += any(isinstance(ask.point, Along) and ask.point.direction != "gradient" for ask in asks)
    evaluated = max(held[ask] + _evaluation(ask, view, costs, reused=ask in live) for ask in asks)
    # for the one transfer, answers are there in float64 each and joined, too
    after = costs.live + gradients * costs.parameters + max(8 * answers + evaluated, 24 * answers)
    return int(max(during, after - costs.training_bytes)), int(max(held.values()))


def _scaled(ask: Ask, costs: Costs, size: float) -> float:
    return size * (costs.fixed_samples if ask.batch == "fixed" else 1)


def _evaluation(ask: Ask, view: View, costs: Costs, reused: bool) -> float:
    """Peak bytes of one evaluation: its passes, or what is read off it while and after they run."""
    taps = [2 * costs.taps.get(tap, 0) for tap in ask.by_tap]  # Moments and Quantiles copy one tap at a time
    double = [costs.double[reduction][1] for reduction in ask.of_level("double")]
    backward = [costs.evaluation_bytes if ask.backward else costs.forward_bytes] if ask.forward and not reused else []
    normalisations = []
    for reduction in ask.of(NormalisationTerms):  # copies of three tensors by unit, float64 ones of a few units
        count = math.prod(view.leaf(reduction.before).shape)
        piece = max(ROWS, count // width(view, reduction.before))
        normalisations.append(3 * costs.taps.get(reduction.before, 0) + 48 * min(count, piece))
    passes = max(sum(backward) + max(taps, default=0), *double, *normalisations, 0)
    sizes = [math.prod(view.shapes[name]) for name in view.parameters]
    small = sum(size for size in sizes if size <= SMALL)
    pieces = max(72 * small, 40 * min(PIECE, max(sizes)))  # two float64 copies, up to three terms
    return max(_scaled(ask, costs, passes), costs.parameters + pieces)


def answer_shape(at: Ask | Need, reduction: Reduction, view: View, costs: Costs) -> tuple[int, ...]:
    """The shape of the answer to ``reduction`` at a point of a batch."""
    names = view.layer(at.point.layer).parameters if isinstance(at.point, Hybrid) else view.parameters
    return reduction.shape(view, names, costs.samples if at.batch == "train" else costs.fixed)


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
