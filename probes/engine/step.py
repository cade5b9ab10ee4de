"""One probed step: theta_t is kept, the step trains, and what was planned is evaluated."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probes.engine.ascent import ascend
from probes.engine.ask import Ask
from probes.engine.batches import Batches, inputs_and_targets, samples
from probes.engine.collector import Collector, Results
from probes.engine.curvature import reduce_curvature
from probes.engine.evaluation import Evaluator
from probes.engine.plan import Plan, Route, Row
from probes.engine.rates import Rates
from probes.engine.reduction_state import ReductionState, reduce_states
from probes.engine.reused import ReusedPass
from probes.engine.shadow import Shadow
from probes.engine.training_pass import CAUSES, TrainingPass
from probes.engine.watch import Watch
from probes.errors import ProbeError
from probes.network import Moves
from probes.points import TRAIN
from probes.protocol import Need
from probes.randomness import seeded_generator
from probes.reductions.sums import norms


@dataclass(frozen=True)
class Apparatus:
    """What measures; it stays the same from step to step.

    Args:
        network: what training calls; compiled, perhaps.
        source: the network that is trained.
        evaluator: evaluates on its shadow.
        reuse: whether the training pass is the evaluation Before.
        batches: those that may be asked for.
        rates: step -> its learning rates.
        kept: what reductions keep from step to step.
    """

    network: nn.Module
    source: nn.Module
    evaluator: Evaluator
    reuse: bool
    batches: Batches
    rates: Callable[[int], Rates]
    kept: ReductionState

    @property
    def shadow(self) -> Shadow:
        """The copy that is evaluated."""
        return self.evaluator.shadow

    def live(self) -> dict[str, nn.Parameter]:
        """The parameters of the network that is trained."""
        return dict(self.source.named_parameters())

    def same_program(self) -> bool:
        """Whether evaluations run the very operations of training, in its precision."""
        return same_program(self.network, self.source, self.evaluator)


def same_program(network: nn.Module, source: nn.Module, evaluator: Evaluator) -> bool:
    """Whether evaluations run the very operations of training (which calls ``network``), in its precision."""
    own = {p.dtype.to_real() for p in source.parameters() if p.requires_grad}
    return network is source and own == {evaluator.shadow.dtype}


class ProbedStep:
    """Remembers theta_t and what the training pass starts from, then evaluates the plan.

    Args:
        apparatus: what measures.
        step: the training step.
        batch: its batch.
        plan: what is due.
        trains: whether the step is to update something.

    Raises:
        ProbeError: the network is not the one that the plan was made for.
    """

    def __init__(self, apparatus: Apparatus, step: int, batch: Any, plan: Plan, trains: bool = True) -> None:
        self.apparatus, self.step, self.plan, self.trains = apparatus, step, plan, trains
        self.batch = batch
        self.inputs, self.targets = inputs, _ = inputs_and_targets(batch)
        self.rates = apparatus.rates(step)  # now: a scheduler may step within the block
        source, shadow = apparatus.source, apparatus.shadow
        self.live = live = apparatus.live()
        buffers = dict(source.named_buffers())
        for ours, theirs in ((shadow.parameters, live), (shadow.buffers, buffers)):
            if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
                raise ProbeError(
                    "the network has other parameters or buffers than when Probes was built: build it anew"
                )
        if [name for name, parameter in live.items() if parameter.requires_grad] != list(shadow.trainable):
            raise ProbeError("the network trains other parameters than when Probes was built: build it anew")
        shadow.check_alike(source)
        with torch.no_grad():
            self.start = {name: parameter.detach().clone() for name, parameter in live.items()}
        self.view = shadow.view
        self.results: Results = {}
        self.gradients: dict[str, dict[str, Tensor]] = {}  # at Before, by batch
        ordered = self.view.ordered
        self.watched = {row.ask.batch: Watch(row.ask, ordered) for row in plan.rows if row.ask.asked.changes}
        self.reused: ReusedPass | None = None
        self.training_pass: TrainingPass | None = None
        if plan.training_pass is not None:
            self.reused = ReusedPass(self, plan.training_pass)  # looks when it runs
        else:
            self.look()
            self.training_pass = TrainingPass(apparatus.network, inputs, self.look)

    def look(self) -> None:
        """What the training pass starts from: on entry, and again just before it, whatever the step did until then."""
        self.instant = self.apparatus.evaluator.instant(dict(self.apparatus.source.named_buffers()))

    @property
    def forward(self) -> Callable[[Any], Any]:
        """What the step trains with."""
        return self.apparatus.network if self.reused is None else self.reused.forward

    def close(self) -> None:
        """Takes everything off the live network."""
        for watching in (self.reused, self.training_pass):
            if watching is not None:
                watching.close()

    def evaluate(self) -> Results:
        """Everything planned; float64 tensors on the CPU."""
        apparatus = self.apparatus
        if self.reused is not None:
            self.reused.check_ran()
        self.live = live = apparatus.live()
        self.end = {name: live[name].detach() for name in apparatus.shadow.trainable}
        apparatus.evaluator.begin(self.step, self.instant)
        for batch, data in apparatus.batches.at((self.inputs, self.targets)):
            rows = self.plan.on(batch)
            if rows:
                inputs, targets = data
                with apparatus.batches.domain(batch, self.batch):
                    self._evaluate_batch(batch, rows, apparatus.shadow.cast(inputs), apparatus.shadow.cast(targets))
                self._fill_in(rows, inputs)
        self._check_update()
        return to_host(self.results)

    def _below_rounding(self) -> bool:
        """Whether a step of descent is less than the rounding of every parameter: at an optimum nothing moves."""
        if TRAIN not in self.gradients:
            return False
        own = {name: self.rates.own.get(name, self.rates.unit) for name in self.end}
        steps = {name: (own[name] * self.gradient[name]).to(end.dtype) for name, end in self.end.items()}
        return all(torch.equal(end - steps[name], end) for name, end in self.end.items())

    def _check_update(self) -> None:
        """Refuses a step in which nothing moved, if where it moved to is asked and there was a reason to move."""
        rates = {self.rates.unit, *self.rates.own.values()}
        if not (self.trains and any(rates) and any(row.ask.point.of_update for row in self.plan.rows)):
            return
        if any(not torch.equal(self.start[name], end) for name, end in self.end.items()):
            return
        length = norms(list(self.gradient.values())).norm() if TRAIN in self.gradients else torch.ones(())
        left = [self.live[name].grad for name in self.end]
        skipped = any(g is not None and not bool(g.isfinite().all()) for g in left)  # by a gradient scaler
        if not skipped and length.isfinite() and length > 0 and not self._below_rounding():
            raise ProbeError(
                "no parameter moved within the block under around(): the optimiser's step belongs into it (or probe "
                "only the steps that update)"
            )

    def _fill_in(self, rows: Sequence[Row], inputs: Any) -> None:
        """NaN for what was asked of a leaf that was not called at this step."""
        for row in rows:
            for need in row.ask.needs:
                if need in self.results:
                    continue
                taps = need.reduction.taps()
                if not taps:
                    raise ProbeError(f"{type(need.reduction).__name__} at {need.point}: was not answered")
                shape = need.reduction.shape(self.view, need.point.parameters(self.view), samples(inputs))
                self.results[need] = torch.full(shape, math.nan, device=self.apparatus.shadow.device)

    def _evaluate_batch(self, batch: str, rows: Sequence[Row], inputs: Tensor, targets: Tensor) -> None:
        evaluator, view = self.apparatus.evaluator, self.view
        ascents: dict[Moves, list[Ask]] = {}
        carried: dict[Moves, Ask] = {}
        for row in rows:
            ask, prefix = row.ask, row.ask.point.prefix(view)
            if row.route is Route.ASCENT and prefix is not None:
                ascents.setdefault(prefix.moves, []).append(ask)
            elif row.route is Route.CARRIED_TO_THE_END and prefix is not None:
                carried[prefix.moves] = ask
            elif row.route is Route.BEFORE_ITSELF:
                self._from_before(ask)
            else:
                self._evaluate(row, inputs, targets)
        for moves, asks in ascents.items():
            last, reference = carried.get(moves), self.gradients[batch]
            ascend(evaluator, asks, last, inputs, targets, self.results, reference, self.start, self.end)

    def _evaluate(self, row: Row, inputs: Tensor, targets: Tensor) -> None:
        """A point by a pass of its own, or by the training pass; its gradient is kept if others rest on it."""
        ask, evaluator = row.ask, self.apparatus.evaluator
        self.load(self.start)
        ask.point.move(self)
        if row.route is Route.TRAINING_PASS:
            assert self.reused is not None
            self.gradients[ask.batch] = self.reused.evaluate()
        else:
            reference = self.gradients.get(ask.batch)
            own = ask.point.origin and ask.batch == TRAIN
            check = self._compare if own else (lambda output: None)
            with self.watching(ask, evaluator.shadow.network):
                found = evaluator.evaluate(ask, inputs, targets, self.results, reference, self.start, check)
            if ask.point.origin and found is not None:
                self.gradients[ask.batch] = found
        evaluator.twice(ask, inputs, targets, self.results)
        reduce_curvature(evaluator, ask, inputs, targets, self.results, self.apparatus.kept)
        reduce_states(ask, self.results, evaluator.shadow.trainable, self.instant.buffers, self.apparatus.kept)

    def watching(self, ask: Ask, network: nn.Module) -> AbstractContextManager[None]:
        """Around a pass of ``network``: what layers are given there is kept, or compared with what was."""
        watch = self.watched.get(ask.batch)
        if watch is None or not (ask.point.origin or ask.asked.changes):
            return contextlib.nullcontext()
        return watch.start(network) if ask.point.origin else watch.end(network, self.start, self.results)

    def _compare(self, output: Any) -> None:
        assert self.training_pass is not None
        self.training_pass.compare(output, self.apparatus.same_program(), self.causes())

    def causes(self) -> str:
        """What may make an evaluation differ from training, the likeliest first."""
        left_out = self.apparatus.shadow.left_out.values()
        hooks = [f"the {hook}, which evaluations do not call (make it a module)" for hook in left_out]
        return "; ".join([*hooks, CAUSES])

    def _from_before(self, ask: Ask) -> None:
        """A point that is theta_t itself, seen from some parameters alone."""
        reference, names = self.gradients[ask.batch], ask.point.parameters(self.view)
        own, values = ({name: source[name] for name in names} for source in (reference, self.start))
        Collector(ask, self.results).gradients(own, reference, values)

    # ---- what a point does to get there from theta_t (see probes.points.Moment)

    @property
    def gradient(self) -> Mapping[str, Tensor]:
        """g_t, of the step's own batch."""
        return self.gradients[TRAIN]

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Gives parameters of the shadow these values."""
        self.apparatus.shadow.load(values)

    def walk(self, direction: Mapping[str, Tensor], length: float) -> None:
        """Adds ``length`` times ``direction`` to parameters of the shadow; a length beyond their type in float64."""
        parameters: list[Tensor] = [self.apparatus.shadow.parameters[name] for name in direction]
        with torch.no_grad():
            if abs(length) <= torch.finfo(self.apparatus.shadow.dtype).max:
                torch._foreach_add_(parameters, list(direction.values()), alpha=length)
            else:
                for parameter, values in zip(parameters, direction.values(), strict=True):
                    parameter += values.double() * length

    @property
    def learning_rate(self) -> float:
        """lr_t, the unit of step lengths."""
        return self.rates.unit

    def walk_by_rates(self, direction: Mapping[str, Tensor], multiple: float) -> None:
        """Adds ``multiple`` learning rates times ``direction``, to each parameter in its own rate."""
        for rate, names in self._alike().items():
            self.walk({name: direction[name] for name in names}, multiple * rate)

    def _alike(self) -> dict[float, list[str]]:
        """Learning rate -> the trained parameters that have it."""
        alike: dict[float, list[str]] = {}
        for name in self.gradient:
            alike.setdefault(self.rates.own.get(name, self.rates.unit), []).append(name)
        return alike

    def update(self) -> dict[str, Tensor]:
        """theta_t - theta_{t+1}, the learning rate included."""
        cast = self.apparatus.shadow.cast
        return {name: cast(self.start[name]) - cast(end) for name, end in self.end.items()}

    def drawn(self, index: int) -> dict[str, Tensor]:
        """A Gaussian direction of g_t's length, among parameters of one rate; a function of (seed, step, index)."""
        device, dtype = self.apparatus.shadow.device, self.apparatus.shadow.dtype
        generator = seeded_generator(device, self.apparatus.evaluator.seed, self.step, "direction", index)
        gradient, drawn = self.gradient, dict[str, Tensor]()
        for name, like in gradient.items():
            shape = torch.view_as_real(like).shape if like.is_complex() else like.shape
            values = torch.randn(shape, generator=generator, device=device).to(dtype)
            drawn[name] = torch.view_as_complex(values) if like.is_complex() else values
        for names in self._alike().values():
            own = [drawn[name] for name in names]
            scale = norms([gradient[name] for name in names]).norm() / norms(own).norm()
            torch._foreach_mul_(own, scale.to(dtype))
        return drawn


def to_host(results: Results) -> Results:
    """All values as float64 on the CPU, in one transfer."""
    if not results:
        return {}
    kinds: dict[torch.dtype, list[Need]] = {}
    for need, value in results.items():
        if value.is_complex():
            raise ProbeError(f"{need}: complex; only real numbers are measured")
        kinds.setdefault(value.dtype, []).append(need)
    joined = [torch.cat([results[need].reshape(-1) for need in needs]).double() for needs in kinds.values()]
    order = [need for needs in kinds.values() for need in needs]
    parts = torch.cat(joined).cpu().split([results[need].numel() for need in order])
    return {need: part.view(results[need].shape) for need, part in zip(order, parts, strict=True)}
