"""The engine: copies theta_t, lets the step train, evaluates the union of what the probes need, measures, records."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from probes.checks import Guard, check_answer, check_deterministic, check_differentiable, measure_costs
from probes.errors import ProbeError
from probes.evaluate import Ask, Evaluator, Results
from probes.network import batch_modes
from probes.objective import Objective
from probes.plan import Plan, answer_shape, make_plan, union
from probes.protocol import At, Declaration, Need, Probe
from probes.reductions import DifferenceProducts
from probes.schedule import Schedule
from probes.shadow import RandomState, Shadow, uncompiled
from probes.step import ProbedStep, Setting

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
        fixed = None if fixed_batch is None else inputs_and_targets(fixed_batch)
        inputs, targets = inputs_and_targets(example)
        source = uncompiled(network)
        self.shadow = Shadow(network, inputs, dtype)
        self.evaluator = Evaluator(self.shadow, objective, seed)
        self.view = self.shadow.view
        own_type = next(p.dtype for p in source.parameters() if p.requires_grad)
        same_program = network is source and self.shadow.dtype == own_type
        reuse = reuse_training_pass and self.view.ordered and same_program
        self._setting = Setting(source, self.evaluator, reuse, fixed, self._learning_rate)
        self._batch_modes = batch_modes(source)
        self.declarations = {name: self._declare(name, probe) for name, probe in self.probes.items()}
        asks = self._union(self.probes)
        cast = (self.shadow.cast(inputs), self.shadow.cast(targets))
        if asks:
            check_deterministic(self.evaluator, *cast)
            self._check_differentiable(*cast)
        samples = len(fixed[0]) if fixed is not None else 0
        self._costs = measure_costs(self.evaluator, asks, cast, samples, source)
        self._plans: dict[frozenset[str], Plan] = {}
        self.plan = self._plan(frozenset(self.probes))
        self._first: dict[str, dict[Need, Tensor]] = {}
        self._previous: dict[str, dict[Need, Tensor]] = {}
        self._guarded: set[str] = set()
        for name in self.probes:
            self._rehearse(name)

    # ---- before training

    def _declare(self, name: str, probe: Probe) -> Declaration:
        multiple = getattr(probe, "every", 1)
        if not isinstance(multiple, int) or multiple < 1:
            raise ProbeError(f"probe {name}: every={multiple!r} must be a whole number of base intervals, at least 1")
        try:
            declaration = probe.declare(self.view)
            for entry in declaration.fields.values():
                entry.sizes()
            union(declaration.needs, self.view, self._setting.fixed is not None)
        except ProbeError as error:
            raise ProbeError(f"probe {name}: {error}") from None
        missing = set(declaration.remember) - set(declaration.needs)
        if missing:
            raise ProbeError(f"probe {name}: remembers {next(iter(missing))}, which it does not need")
        return declaration

    def _check_differentiable(self, inputs: Tensor, targets: Tensor) -> None:
        for name, declaration in self.declarations.items():
            asked = [n.reduction for n in declaration.needs if n.reduction.level == "double"]
            twice = [reduction for reduction in asked if not isinstance(reduction, DifferenceProducts)]
            if twice:
                try:
                    check_differentiable(self.evaluator, twice[0], inputs, targets)
                except ProbeError as error:
                    raise ProbeError(f"probe {name}: {error}") from None

    def _union(self, names: Iterable[str]) -> list[Ask]:
        needs = [need for name in names for need in self.declarations[name].needs]
        return union(needs, self.view, self._setting.fixed is not None)

    def _plan(self, names: frozenset[str]) -> Plan:
        if names not in self._plans:
            asks = self._union(name for name in self.probes if name in names)
            self._plans[names] = make_plan(asks, self.view, self._costs, self._setting.reuse)
        return self._plans[names]

    def _rehearse(self, name: str) -> None:
        """Lets a probe measure once on made-up values, so that what it returns is known to fit before training."""
        needs = self.declarations[name].needs
        shapes = {need: answer_shape(need, need.reduction, self.view, self._costs) for need in needs}
        values = {need: torch.ones(shape, dtype=torch.float64) for need, shape in shapes.items()}
        state, guard = RandomState(self.shadow.device), Guard(self._setting.source, thorough=True)
        try:
            with torch.no_grad():
                answer = dict(self.probes[name].measure(At(0, self._learning_rate(0), self.view, values)))
        except ProbeError:
            raise
        except Exception:  # it may be the values, which no network would give; if not, the first probed step will tell
            return
        finally:
            state.restore()
        guard.check(name)
        check_answer(name, answer, self.declarations[name].fields)

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
        period = self.schedule.every * math.lcm(*multiples) if self.steps is None else self.steps
        return sum(self._plan(self.due(s)).passes for s in range(0, period, self.schedule.every)) / period

    def describe(self) -> str:
        """The plan, for people: what is evaluated, what it costs and what it holds."""
        order = "in order" if self.view.ordered else "no order of leaves (hybrids take full passes)"
        share, mebibyte = self.share_of_training(), 2**20
        trained = sum(parameter.numel() for parameter in self.shadow.trainable.values())
        multiples = {name: getattr(probe, "every", 1) for name, probe in self.probes.items()}
        spread = [f"{name} every {multiple}" for name, multiple in multiples.items() if multiple != 1]
        lines = [
            f"probes: {', '.join(self.probes) or 'none'}; {self.schedule}"
            + (f" ({', '.join(spread)})" if spread else ""),
            f"network: {type(self._setting.source).__name__}, {len(self.view.layers)} layers, {order}; "
            f"{trained:,} parameters; evaluated in {str(self.shadow.dtype).removeprefix('torch.')}",
            str(self.plan),
            f"share of training: {100 * share:.1f} %"
            if not math.isnan(share)
            else "share of training: length not known",
            "passes count the network's own arithmetic; what is read off it (norms, moments, quantiles) comes on top",
            f"memory: {self.plan.held_bytes / mebibyte:.1f} MiB kept, {self.plan.peak_bytes / mebibyte:.1f} MiB more "
            f"during a probed step ({self.plan.tap_bytes / mebibyte:.1f} MiB of them taps and their gradients)",
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
        self._check_modes(names)
        plan = self._plan(names)
        moment = ProbedStep(self._setting, step, *inputs_and_targets(batch), plan)
        try:
            yield moment.forward if moment.live_ask is not None else self.network
        finally:
            moment.close()
        state = RandomState(self.shadow.device)
        try:
            values = moment.evaluate()
            self._measure(step, names, values)
        finally:
            state.restore()

    def _check_modes(self, names: frozenset[str]) -> None:
        for name in self.probes:
            if name in names and self.declarations[name].modes:
                for module, by_batch in batch_modes(self._setting.source).items():
                    if by_batch != self._batch_modes.get(module, by_batch):
                        was, now = ("training", "evaluation") if not by_batch else ("evaluation", "training")
                        raise ProbeError(
                            f"probe {name}: batch normalisation {module!r} was in {was} mode when Probes was built and "
                            f"is in {now} mode now: build it anew"
                        )

    def _measure(self, step: int, names: frozenset[str], values: Results) -> None:
        guard: Guard | None = None
        for name in self.probes:
            if name not in names:
                continue
            declaration = self.declarations[name]
            remembered = {"previous": self._previous.get(name, {}), "first": self._first.get(name, {})}
            known = {need: values[need] for need in declaration.needs}
            at = At(step, self._learning_rate(step), self.view, known, remembered)
            if guard is None or name not in self._guarded:
                guard = Guard(self._setting.source, thorough=name not in self._guarded)
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
