"""The engine: copies theta_t, lets the step train, evaluates the union of what the probes need, measures, records."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from probes.checks import Guard, check_answer, check_deterministic, measure_costs
from probes.errors import ProbeError
from probes.evaluate import Ask, Collector, Evaluator, Results, hybrids
from probes.objective import Objective
from probes.plan import Plan, after_in_ascent, is_before, make_plan, union
from probes.points import After, Along, Before, Hybrid
from probes.protocol import At, Batch, Declaration, Need, Probe
from probes.randomness import seeded_generator
from probes.reductions import norm
from probes.schedule import Schedule
from probes.shadow import RandomState, Shadow, uncompiled, walk

Sink = Callable[[str, int, dict[str, Tensor]], None]
Forward = Callable[[Tensor], Tensor]


def inputs_and_targets(batch: Any) -> tuple[Tensor, Tensor]:
    """A batch is (inputs, targets), or anything with these two attributes."""
    if hasattr(batch, "inputs") and hasattr(batch, "targets"):
        return batch.inputs, batch.targets
    try:
        inputs, targets = batch
    except (TypeError, ValueError):
        raise ProbeError(f"batch {type(batch).__name__}: must be (inputs, targets) or have these attributes") from None
    return inputs, targets


class Probes:
    """Measures on training steps without being noticed.

    Args:
        network: the network that is trained; never written to.
        objective: the loss that training descends.
        probes: what to measure, by name.
        example: a batch of the size that training uses, (inputs, targets) or with these attributes; shapes, costs and
            the determinism check are worked out on it.
        learning_rate: step -> learning rate, or a constant.
        every: the base schedule: a step length, a list of steps, or a :class:`Schedule`.
        seed: the run's seed; random layers that use ``probes.randomness`` and random directions are drawn from
            (seed, step, place).
        steps: length of the run, to refuse a schedule past its end and to state the plan's share of training.
        fixed_batch: a batch chosen once, for probes that watch one.
        dtype: floating-point type of the evaluations; None for that of training.
        reuse_training_pass: promise that the block under :meth:`around` runs ``forward`` once, on the batch, and
            descends exactly ``objective``, leaving its gradient in ``.grad``. Then that pass is the evaluation Before.
        sink: receives (probe, step, values); the default appends to :attr:`records`.

    Raises:
        ProbeError: something cannot be measured as asked, the loss is not a deterministic function of parameters,
            buffers, batch and step, or a probe does not keep to its declaration.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        probes: Mapping[str, Probe],
        example: Any,
        *,
        learning_rate: float | Callable[[int], float],
        every: int | Iterable[int] | Schedule = 100,
        seed: int = 0,
        steps: int | None = None,
        fixed_batch: Any = None,
        dtype: torch.dtype | None = None,
        reuse_training_pass: bool = False,
        sink: Sink | None = None,
    ) -> None:
        self.network, self.objective, self.probes = network, objective, dict(probes)
        self.schedule, self.seed, self.steps = Schedule.of(every), seed, steps
        if steps is not None:
            self.schedule.check(steps)
        self.records: list[tuple[str, int, dict[str, Tensor]]] = []
        self._sink: Sink = sink or (lambda probe, step, values: self.records.append((probe, step, values)))
        self._learning_rate = learning_rate if callable(learning_rate) else lambda step: float(learning_rate)
        self._fixed = None if fixed_batch is None else inputs_and_targets(fixed_batch)
        inputs, targets = inputs_and_targets(example)
        self._source = uncompiled(network)
        self.shadow = Shadow(network, inputs, dtype)
        self.evaluator = Evaluator(self.shadow, objective, seed)
        self.view = self.shadow.view
        same_program = network is self._source and self.shadow.dtype == next(iter(self._live().values())).dtype
        self.reuse = reuse_training_pass and self.view.ordered and same_program
        self.declarations = {name: self._declare(name, probe) for name, probe in self.probes.items()}
        asks = self._union(self.probes)
        example = (self.shadow.cast(inputs), self.shadow.cast(targets))
        if asks:
            check_deterministic(self.evaluator, *example)
        samples = len(self._fixed[0]) / len(inputs) if self._fixed is not None else 0.0
        self._costs, self._double = measure_costs(self.evaluator, asks, *example, samples, self._live_bytes())
        self._plans: dict[frozenset[str], Plan] = {}
        self.plan = self._plan(frozenset(self.probes))
        self._first: dict[str, dict[Need, Tensor]] = {}
        self._previous: dict[str, dict[Need, Tensor]] = {}
        self._guarded: set[str] = set()

    # ---- before training

    def _declare(self, name: str, probe: Probe) -> Declaration:
        multiple = getattr(probe, "every", 1)
        if not isinstance(multiple, int) or multiple < 1:
            raise ProbeError(f"probe {name}: every={multiple!r} must be a whole number of base intervals, at least 1")
        try:
            declaration = probe.declare(self.view)
            for entry in declaration.fields.values():
                entry.sizes()
            union(declaration.needs, self.view, self._fixed is not None)
        except ProbeError as error:
            raise ProbeError(f"probe {name}: {error}") from None
        missing = set(declaration.remember) - set(declaration.needs)
        if missing:
            raise ProbeError(f"probe {name}: remembers {next(iter(missing))}, which it does not need")
        return declaration

    def _union(self, names: Iterable[str]) -> list[Ask]:
        needs = [need for name in names for need in self.declarations[name].needs]
        return union(needs, self.view, self._fixed is not None)

    def _plan(self, names: frozenset[str]) -> Plan:
        if names not in self._plans:
            asks = self._union(name for name in self.probes if name in names)
            double = {ask: self._double[ask.batch, ask.of_level("double")] for ask in asks if ask.asks("double")}
            self._plans[names] = make_plan(asks, self.view, self._costs, self.reuse, double)
        return self._plans[names]

    def due(self, step: int) -> frozenset[str]:
        """Names of the probes that measure at ``step``."""
        place = self.schedule.place(step)
        if place is None:
            return frozenset()
        return frozenset(name for name, probe in self.probes.items() if place % getattr(probe, "every", 1) == 0)

    def share_of_training(self) -> float:
        """Forward-backward passes that probing adds, per pass of training; NaN if the run's length is not known."""
        if self.schedule.listed is not None:
            if self.steps is None:
                return math.nan
            return sum(self._plan(self.due(step)).passes for step in self.schedule.listed) / self.steps
        multiples = [getattr(probe, "every", 1) for probe in self.probes.values()]
        period = self.schedule.every * math.lcm(*multiples)
        return sum(self._plan(self.due(s)).passes for s in range(0, period, self.schedule.every)) / period

    def describe(self) -> str:
        """The plan, for people: what is evaluated, what it costs and what it holds."""
        order = "in order" if self.view.ordered else "no order of leaves (hybrids take full passes)"
        share, mebibyte = self.share_of_training(), 2**20
        spread = [f"{name} every {probe.every}" for name, probe in self.probes.items() if getattr(probe, "every", 1) != 1]
        lines = [
            f"probes: {', '.join(self.probes) or 'none'}; {self.schedule}" + (f" ({', '.join(spread)})" if spread else ""),
            f"network: {type(self._source).__name__}, {len(self.view.layers)} layers, {order}; "
            f"{sum(self.view.sizes):,} parameters; evaluated in {str(self.shadow.dtype).removeprefix('torch.')}",
            str(self.plan),
            f"share of training: {100 * share:.1f} %" if not math.isnan(share) else "share of training: length not known",
            f"memory: {self.plan.held_bytes / mebibyte:.1f} MiB kept, {self.plan.peak_bytes / mebibyte:.1f} MiB more during "
            f"a probed step ({self.plan.tap_bytes / mebibyte:.1f} MiB of them taps and their gradients)",
        ]
        return "\n".join(lines)

    def fields(self) -> dict[str, dict[str, dict[str, Any]]]:
        """What every key of every probe is, as in fields.json."""
        return {
            name: {key: entry.as_json() for key, entry in declaration.fields.items()}
            for name, declaration in self.declarations.items()
        }

    # ---- during training

    def around(self, step: int, batch: Any) -> AbstractContextManager[Forward]:
        """Goes around one training step: ``with probes.around(step, batch) as forward: train(forward, batch)``.

        ``forward`` is the network itself; on probed steps whose training pass is reused, the same arithmetic leaf by
        leaf.
        """
        if self.schedule.place(step) is None:
            return contextlib.nullcontext(self.network)
        return self._probed(step, batch)

    @contextlib.contextmanager
    def _probed(self, step: int, batch: Any) -> Iterator[Forward]:
        names = self.due(step)
        if not names:
            yield self.network
            return
        plan = self._plan(names)
        moment = _Step(self, step, batch, plan)
        yield moment.forward if moment.live_ask is not None else self.network
        state = RandomState(self.shadow.device)
        try:
            values = moment.evaluate()
            self._measure(step, names, values)
        finally:
            state.restore()

    def _measure(self, step: int, names: frozenset[str], values: Results) -> None:
        for name in self.probes:
            if name not in names:
                continue
            declaration = self.declarations[name]
            remembered = {"previous": self._previous.get(name, {}), "first": self._first.get(name, {})}
            known = {need: values[need] for need in declaration.needs}
            at = At(step, self._learning_rate(step), self.view, known, remembered)
            guard = Guard(self._source, thorough=name not in self._guarded)
            with torch.no_grad():
                answer = dict(self.probes[name].measure(at))
            guard.check(name)
            self._guarded.add(name)
            answer = check_answer(name, answer, declaration.fields)
            kept = {need: values[need].clone() for need in declaration.remember}
            self._previous[name] = kept
            self._first.setdefault(name, kept)
            self._sink(name, step, answer)

    # ---- checkpoint

    def state_dict(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """What the next probed step needs of the past: plain tensors by probe and need."""
        return {
            which: {name: {repr(need): value for need, value in kept.items()} for name, kept in held.items()}
            for which, held in (("first", self._first), ("previous", self._previous))
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Mapping[str, Tensor]]]) -> None:
        """Goes on from :meth:`state_dict`.

        Raises:
            ProbeError: it belongs to other probes.
        """
        for which, held in (("first", self._first), ("previous", self._previous)):
            held.clear()
            for name, kept in state[which].items():
                needs = {repr(need): need for need in self.declarations[name].remember} if name in self.probes else {}
                if set(kept) != set(needs):
                    raise ProbeError(f"saved state of probe {name!r} is of other options than the ones given")
                held[name] = {needs[key]: value.clone() for key, value in kept.items()}

    # ---- the live network

    def _live(self) -> dict[str, Tensor]:
        return dict(self._source.named_parameters())

    def _live_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (*self._source.parameters(), *self._source.buffers()))


class _Step:
    """One probed step."""

    def __init__(self, engine: Probes, step: int, batch: Any, plan: Plan) -> None:
        self.engine, self.step, self.plan = engine, step, plan
        self.inputs, self.targets = inputs_and_targets(batch)
        source, shadow = engine._source, engine.shadow
        self.random = RandomState(shadow.device)
        live, buffers = engine._live(), dict(source.named_buffers())
        for ours, theirs in ((shadow.parameters, live), (shadow.buffers, buffers)):
            if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
                raise ProbeError("the network has other parameters or buffers than when Probes was built: build it anew")
        if [name for name, parameter in live.items() if parameter.requires_grad] != list(shadow.trainable):
            raise ProbeError("the network trains other parameters than when Probes was built: build it anew")
        with torch.no_grad():
            self.start = {name: parameter.detach().clone() for name, parameter in live.items()}
            self.buffers = {name: buffer.detach().clone() for name, buffer in buffers.items()}
        self.modes = [module.training for module in source.modules()]
        self.results: Results = {}
        first = plan.rows[0].ask if plan.rows else None
        self.live_ask = first if engine.reuse and first is not None and first.point == Before() and first.batch == "train" else None
        self.output: Tensor | None = None
        self.held: dict[str, Tensor] = {}

    def forward(self, inputs: Tensor) -> Tensor:
        """The live network leaf by leaf; what is asked of its taps is read on the way."""
        assert self.live_ask is not None
        shadow, source = self.engine.shadow, self.engine._source
        if self.output is not None or inputs.data_ptr() != self.inputs.data_ptr() or inputs.shape != self.inputs.shape:
            raise ProbeError("reuse_training_pass: the step must run forward exactly once, on the batch's own inputs")
        assert shadow.links is not None
        steps = [link.bind(source) for link in shadow.links]
        visit = Collector(self.live_ask, self.results).visit
        output, self.held = walk(shadow.taps, steps, shadow.in_place, inputs, visit, self.live_ask.hold)
        for value in self.held.values():
            if value.requires_grad:
                value.retain_grad()
        self.output = output.detach()
        return output

    def evaluate(self) -> Results:
        """Everything planned; float64 tensors on the CPU."""
        engine = self.engine
        live = engine._live()
        self.end = {name: live[name].detach() for name in engine.shadow.trainable}
        self.learning_rate = engine._learning_rate(self.step)
        engine.evaluator.begin(self.step, self.buffers, self.modes, self.random)
        self.gradient: dict[str, Tensor] | None = None  # g_t
        batches: list[tuple[Batch, tuple[Tensor, Tensor] | None]] = [("train", (self.inputs, self.targets))]
        batches.append(("fixed", engine._fixed))
        for batch, data in batches:
            asks = self.plan.asks(batch)
            if asks and data is not None:
                self._evaluate_batch(batch, asks, *(engine.shadow.cast(values) for values in data))
        return to_host(self.results)

    def _evaluate_batch(self, batch: Batch, asks: Sequence[Ask], inputs: Tensor, targets: Tensor) -> None:
        evaluator, shadow, view = self.engine.evaluator, self.engine.shadow, self.engine.view
        reference: dict[str, Tensor] | None = None
        after = after_in_ascent(asks, view)
        ascents: dict[str, list[Ask]] = {}
        for ask in asks:
            point = ask.point
            if isinstance(point, Before):
                reference = self._before(ask, inputs, targets)
                if batch == "train":
                    self.gradient = reference
            elif isinstance(point, Hybrid) and is_before(point, view):
                assert reference is not None
                names = view.layer(point.layer).parameters
                own = {name: reference[name] for name in names}
                Collector(ask, self.results).gradients(own, reference, {name: self.start[name] for name in names})
            elif isinstance(point, Hybrid) and view.ordered:
                ascents.setdefault(point.moves, []).append(ask)
            elif ask is not after:
                self._move_to(point)
                names = list(view.layer(point.layer).parameters) if isinstance(point, Hybrid) else None
                evaluator.evaluate(ask, inputs, targets, self.results, reference, self.start, names)
        for moves, ascent in ascents.items():
            last = after if moves == "all" else None
            hybrids(evaluator, ascent, last, inputs, targets, self.results, reference, self.start, self.end)

    def _before(self, ask: Ask, inputs: Tensor, targets: Tensor) -> dict[str, Tensor] | None:
        evaluator, shadow = self.engine.evaluator, self.engine.shadow
        shadow.load(self.start)
        if ask is not self.live_ask:
            found = evaluator.evaluate(ask, inputs, targets, self.results, None, self.start)
        else:
            found = self._from_training(ask)
        if ask.asks("double"):
            evaluator.double(ask, inputs, targets, self.results)
        return found

    def _from_training(self, ask: Ask) -> dict[str, Tensor]:
        shadow, collector = self.engine.shadow, Collector(ask, self.results)
        if self.output is None:
            raise ProbeError("reuse_training_pass: the step must run forward exactly once, on the batch's own inputs")
        live = self.engine._live()
        if all(live[name].grad is None for name in shadow.trainable):
            raise ProbeError("reuse_training_pass: the step must leave its gradient in .grad, but there is none")
        found = {}
        for name in shadow.trainable:
            gradient = live[name].grad
            found[name] = torch.zeros_like(live[name]) if gradient is None else gradient.detach()
        output = self.output
        with torch.no_grad():
            collector.loss(self.engine.objective(lambda _: output, shadow.network, self.inputs, self.targets))
        collector.parameters(shadow.trainable, self.start)
        collector.gradients(found, None, shadow.trainable)
        zeros = {tap: torch.zeros_like(value) for tap, value in self.held.items() if value.grad is None}
        collector.tap_gradients(self.held, {tap: zeros[tap] if v.grad is None else v.grad for tap, v in self.held.items()})
        self.held, self.output = {}, None
        return found

    def _move_to(self, point: Any) -> None:
        """Puts the shadow at ``point``."""
        shadow = self.engine.shadow
        if isinstance(point, After):
            shadow.load(self.end)
            return
        shadow.load(self.start)
        if isinstance(point, Along):
            names, directions = self._direction(point)
            length = -point.multiple * self.learning_rate
            if point.direction == "update":
                length = -point.multiple
            with torch.no_grad():
                torch._foreach_add_([shadow.parameters[name] for name in names], directions, alpha=length)
        elif isinstance(point, Hybrid):
            view = self.engine.view
            moved = [
                name
                for layer in view.layers[: view.layers.index(view.layer(point.layer))]
                for name in (layer.parameters if point.moves == "all" else layer.weight_parameters)
            ]
            shadow.load({name: self.end[name] for name in moved})

    def _direction(self, point: Along) -> tuple[list[str], list[Tensor]]:
        """Parameters and the direction in them; for "update" theta_t - theta_{t+1}, the learning rate included."""
        dtype = self.engine.shadow.dtype
        if point.direction == "update":
            names = list(self.end)
            return names, [(self.start[name] - self.end[name]).to(dtype) for name in names]
        assert self.gradient is not None
        names = list(self.gradient)
        if point.direction == "gradient":
            return names, list(self.gradient.values())
        device = self.engine.shadow.device
        generator = seeded_generator(device, self.engine.seed, self.step, "direction", point.index)
        drawn = [torch.randn(g.shape, generator=generator, device=device).to(dtype) for g in self.gradient.values()]
        length = torch.stack([norm(g) for g in self.gradient.values()]).norm()
        scale = length / torch.stack([norm(d) for d in drawn]).norm()
        return names, [d * scale.to(dtype) for d in drawn]


def to_host(results: Results) -> Results:
    """All values as float64 on the CPU, in one transfer."""
    if not results:
        return {}
    flat = torch.cat([value.detach().reshape(-1).double() for value in results.values()]).cpu()
    parts = flat.split([value.numel() for value in results.values()])
    return {need: part.reshape(value.shape) for (need, value), part in zip(results.items(), parts, strict=True)}
