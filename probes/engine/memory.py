"""What a probed step holds."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from probes.engine.ask import Ask
from probes.engine.costs import Costs
from probes.engine.curvature import curvature_bytes
from probes.network import View
from probes.protocol import Need
from probes.reductions.sums import PIECE, SMALL


def answer_shape(need: Need, view: View, costs: Costs) -> tuple[int, ...]:
    """The shape of the answer to ``need``."""
    return need.reduction.shape(view, need.point.parameters(view), costs.samples[need.batch])


def carried_bytes(asks: Sequence[Ask], view: View) -> int:
    """Bytes that reductions keep from one probed step to the next."""
    return sum(r.carried_numbers(view) for ask in asks for r in ask.reductions) * view.itemsize


def peak_bytes(asks: Sequence[Ask], view: View, costs: Costs, live: Ask | None) -> tuple[int, int]:
    """Bytes of a probed step beyond the peak of a plain one, and those of them that are held taps.

    During the training pass theta_t is kept, and the taps that it holds if it is reused; after it, when its graph is
    gone, theta_t, gradients, all answers, and the largest of the evaluations.

    Args:
        asks: all that are evaluated.
        view: the network.
        costs: its arithmetic and bytes.
        live: the one that is evaluated by the training pass itself.
    """
    if not asks:
        return 0, 0
    held = {ask: 2 * costs.share(ask.batch) * sum(costs.taps.get(tap, 0) for tap in ask.hold) for ask in asks}
    answers = sum(math.prod(answer_shape(need, view, costs)) for ask in asks for need in ask.needs)
    during: float = costs.live + 8 * answers
    if live is not None:
        graph = costs.graph_bytes * costs.training_bytes / max(costs.evaluation_bytes, 1)
        at_taps = max(_at_taps(live, view, costs, graph, costs.compared) - costs.training_bytes, 0)
        during += held[live] + costs.clones + at_taps + costs.output  # the gradient there is kept, too
    gradients = sum(ask.gradient for ask in asks) + 1  # each one that others rest on; .grad, as training left it
    gradients += max(ask.point.directions for ask in asks)
    evaluated = max(held[ask] + _evaluation(ask, view, costs, reused=ask is live) for ask in asks)
    # for the one transfer, answers are there in float64 each and joined, too
    after = costs.live + gradients * costs.parameters + max(8 * answers + evaluated, 24 * answers)
    after += sum(sum(_watched(ask, view, costs).values()) for ask in asks)
    return int(costs.output + max(during, after - costs.training_bytes)), int(max(held.values()))


COMPARING = 7
"""Copies of a layer's output while its changes are taken apart: four outputs, some of them in float64."""


def _watched(ask: Ask, view: View, costs: Costs) -> dict[int, float]:
    """Bytes of what each module whose changes are asked was given and put out at Before, by its leaf's place.

    They are kept until that module has run again. What a module puts out and another is given counts once, at the last.
    """
    modules = {reduction.module for reduction in ask.asked.changes}
    size = [costs.taps.get(leaf.tap, 0) for leaf in view.leaves]
    until: dict[int, int] = {}
    for place in (i for i, leaf in enumerate(view.leaves) if leaf.module in modules):
        until |= {j: place for j in (place - 1, place) if j >= 0}
    kept: dict[int, float] = {}
    for j, place in until.items():
        kept[place] = kept.get(place, 0.0) + costs.share(ask.batch) * size[j]
    return kept


def _at_taps(ask: Ask, view: View, costs: Costs, graph: float, again: Collection[str] = ()) -> float:
    """Most bytes while the network runs of the graph, which grows tap by tap to ``graph``, the tap, and what reads it.

    The taps ``again`` are also computed once more. What was kept of a layer at Before is let go when it has run.
    """
    total, grown, most = max(sum(costs.taps.values()), 1), 0, 0.0
    kept = _watched(ask, view, costs)
    places = {leaf.tap: i for i, leaf in enumerate(view.leaves)}
    for tap, size in costs.taps.items():
        grown += size
        work = max((r.working_bytes(view, costs.taps) for r in ask.asked.taps.get(tap, ())), default=0)
        work = max(work, size if tap in again else 0, COMPARING * size if places.get(tap) in kept else 0)
        gone = sum(there for place, there in kept.items() if place < places.get(tap, -1))
        most = max(most, graph * grown / total + size + work - gone / costs.share(ask.batch))
    return most


def _evaluation(ask: Ask, view: View, costs: Costs, reused: bool) -> float:
    """Peak bytes of one evaluation: its passes, or what is read off it while and after they run."""
    passes = 0.0
    if ask.forward and not reused and ask.backward:
        passes = max(costs.evaluation_bytes, _at_taps(ask, view, costs, costs.graph_bytes))
    elif ask.forward and not reused:
        passes = max(costs.forward_bytes, _at_taps(ask, view, costs, costs.graph_bytes))
    after = [reduction.working_bytes(view, costs.taps) for reduction in ask.asked.tap_gradients]
    twice = [*(costs.double_bytes[reduction] for reduction in ask.twice), curvature_bytes(ask, view, costs)]
    most = max(passes, *twice, *after, 0)
    if not (ask.asked.gradients or ask.asked.parameters):
        return costs.share_of_bytes(ask.batch) * most
    sizes = [math.prod(view.shapes[name]) for name in view.parameters]
    small = sum(size for size in sizes if size <= SMALL)
    pieces = max(72 * small, 40 * min(PIECE, max(sizes)))  # two float64 copies, up to three terms
    return max(costs.share_of_bytes(ask.batch) * most, costs.parameters + pieces)
