"""The engine: copies theta_t, lets the step train, evaluates the union of what the probes need, measures, records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from probes.engine import checks
from probes.engine.ask import Ask, union
from probes.engine.batches import Batches, inputs_and_targets
from probes.engine.collector import Results
from probes.engine.costs import measure_costs
from probes.engine.curvature import check_curvature
from probes.engine.evaluation import Evaluator
from probes.engine.memory import answer_shape
from probes.engine.outlook import Outlook
from probes.engine.plan import Plan, make_plan
from probes.engine.rates import LearningRate, rates_by_step
from probes.engine.reduction_state import ReductionState
from probes.engine.remembered import Remembered
from probes.engine.shadow import Shadow, uncompiled
from probes.engine.step import Apparatus, ProbedStep, same_program
from probes.engine.table import rows, save
from probes.errors import ProbeError
from probes.generators import RandomState
from probes.network import batch_modes
from probes.objective import Objective
from probes.protocol import At, Declaration, Probe
from probes.schedule import ByProgress, Schedule

Sink = Callable[[str, int, dict[str, Tensor]], None]
Forward = Callable[[Tensor], Tensor]


class Probes:
    """Measures on training steps without being noticed.

    Args:
        network: the network that is trained; never written to.
        objective: the loss that training descends.
        probes: what to measure, by name.
        example: a batch of the size that training uses, (inputs, targets) or with these attributes; shapes, costs and
            the determinism check are worked out on it.
        learning_rate: of the training, in which step lengths are told: a constant; or a function of the step that
            gives it, or the rate of each trained parameter by name; None: read from ``optimiser``. It is asked for
            when the block under :meth:`around` is entered, so that a scheduler may step within.
        optimiser: of the training; its groups' rates, where ``learning_rate`` is not given. What it does not hold has
            the rate 0.
        every: the base schedule: a step length, a list of steps, a :class:`Schedule`, or one :class:`ByProgress`, which
            is told the loss of each step by :meth:`tell`.
        seed: the run's seed; random layers that use ``probes.randomness`` and random directions are drawn from
            (seed, step, place).
        steps: length of the run, to refuse a schedule past its end and to state the plan's share of training.
        batches: those that are the same at every step, by the name under which probes ask for them; "train" is the
            step's own.
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
        learning_rate: LearningRate = None,
        optimiser: torch.optim.Optimizer | None = None,
        every: int | Iterable[int] | Schedule | ByProgress = 100,
        seed: int = 0,
        steps: int | None = None,
        batches: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        reuse_training_pass: bool = False,
        sink: Sink | None = None,
    ) -> None:
        checks.check_objective(objective)
        self.network, self.objective, self.probes = network, objective, dict(probes)
        self.schedule, self.seed, self.steps = Schedule.of(every), seed, steps
        if steps is not None:
            self.schedule.check(steps)
        self.records: list[tuple[str, int, dict[str, Tensor]]] = []
        self._sink: Sink = sink or (lambda probe, step, values: self.records.append((probe, step, values)))
        inputs, targets = inputs_and_targets(example)
        known = Batches(batches or {}, (inputs, targets))
        source = uncompiled(network)
        self._rates = rates_by_step(learning_rate, optimiser, source)
        self.shadow = Shadow(network, inputs, dtype, objective.within)
        self.evaluator = Evaluator(self.shadow, objective, seed)
        self._batches = known
        self.view = self.shadow.view
        # a residual network's own forward is run in training, as it may do more than it computes
        chain = self.shadow.program is not None and self.shadow.program.is_chain
        self._batch_modes = batch_modes(source)
        self.declarations = {name: self._declare(name, probe) for name, probe in self.probes.items()}
        needs = [need for declaration in self.declarations.values() for need in declaration.needs]
        self._reduction_state = ReductionState(needs, self.shadow.device)
        given = (network, source, self.evaluator)
        reuse = reuse_training_pass and chain and same_program(*given)
        self._apparatus = Apparatus(*given, reuse, known, self._rates, self._reduction_state)
        asks = self._union(self.probes)
        cast = (self.shadow.cast(inputs), self.shadow.cast(targets))
        if asks:
            checks.check_separate(self.evaluator, source, *cast)
            checks.check_deterministic(self.evaluator, *cast)
            self._check_differentiable(*cast)
        self._costs = measure_costs(self.evaluator, asks, cast, known.samples, source)
        self._plans: dict[tuple[frozenset[str], frozenset[str]], Plan] = {}
        self.plan = self._plan(frozenset(self.probes))
        of = self.declarations
        self._remembered = Remembered({n: of[n].remember for n in of}, {n: of[n].step_before for n in of})
        before = frozenset(name for name in of if of[name].step_before)
        multiples = {name: getattr(probe, "every", 1) for name, probe in self.probes.items()}
        self.outlook = Outlook(self.schedule, multiples, before, self._plan, steps)
        self._guarded: set[str] = set()
        for name in self.probes:
            self._rehearse(name)

    # ---- before training

    def _declare(self, name: str, probe: Probe) -> Declaration:
        checks.check_probe(name, probe)
        try:
            declaration = probe.declare(self.view)
            checks.check_declaration(declaration)
            for entry in declaration.fields.values():
                entry.sizes()
            union(declaration.needs, self.view, self._batches)
        except ProbeError as error:
            raise ProbeError(f"probe {name}: {error}") from None
        missing = {*declaration.remember, *declaration.step_before} - set(declaration.needs)
        if missing:
            raise ProbeError(f"probe {name}: remembers {next(iter(missing))}, which it does not need")
        return declaration

    def _check_differentiable(self, inputs: Tensor, targets: Tensor) -> None:
        for name in self.probes:
            for ask in self._union([name]):
                try:
                    check_curvature(self.evaluator, ask, inputs, targets)
                except ProbeError as error:
                    raise ProbeError(f"probe {name}: {error}") from None

    def _union(self, names: Iterable[str], ahead: Iterable[str] = ()) -> list[Ask]:
        needs = [need for name in names for need in self.declarations[name].needs]
        return union(
            [*needs, *(n for name in ahead for n in self.declarations[name].step_before)], self.view, self._batches
        )

    def _plan(self, names: frozenset[str], ahead: frozenset[str] = frozenset()) -> Plan:
        if (names, ahead) not in self._plans:
            asks = self._union(*([name for name in self.probes if name in chosen] for chosen in (names, ahead)))
            self._plans[names, ahead] = make_plan(asks, self.view, self._costs, self._apparatus.reuse)
        return self._plans[names, ahead]

    def _rehearse(self, name: str) -> None:
        """Lets a probe measure once on made-up values, so that what it returns is known to fit before training."""
        needs = self.declarations[name].needs
        shapes = {need: answer_shape(need, self.view, self._costs) for need in needs}
        values = {need: torch.ones(shape, dtype=torch.float64) for need, shape in shapes.items()}
        state, guard = RandomState(self.shadow.device), checks.Guard(self._apparatus.source, thorough=True)
        rates = self._rates(0)
        try:
            with torch.no_grad():
                answer = dict(self.probes[name].measure(At(0, rates.unit, self.view, values, own_rates=rates.own)))
        except ProbeError:
            raise
        except Exception:  # it may be the values, which no network would give; if not, the first probed step will tell
            return
        finally:
            state.restore()
        guard.check(name)
        checks.check_answer(name, answer, self.declarations[name].fields)

    def due(self, step: int) -> frozenset[str]:
        """Names of the probes that measure at ``step``."""
        return self.outlook.due(step)

    def share_of_training(self) -> tuple[float, float]:
        """Forward-backward passes that probing adds, per pass of training, at least and at most; NaN: not known."""
        return self.outlook.share_of_training()

    def probed_steps(self, start: int, end: int) -> dict[str, tuple[int, int]]:
        """At how many of the steps ``start``, ..., ``end`` - 1 each probe measures, at least and at most."""
        return self.outlook.probed_steps(start, end)

    def describe(self) -> str:
        """The plan, for people: what is evaluated, what it costs and what it holds."""
        order = "in order" if self.view.ordered else "no order of leaves (hybrids take full passes)"
        mebibyte = 2**20
        trained = sum(parameter.numel() for parameter in self.shadow.trainable.values())
        spread = [f"{name} every {multiple}" for name, multiple in self.outlook.multiples.items() if multiple != 1]
        autocast = "autocast off, whatever training does: differences between points would drown in its rounding"
        lines = [
            f"probes: {', '.join(self.probes) or 'none'}; {self.schedule}"
            + (f" ({', '.join(spread)})" if spread else ""),
            f"network: {type(self._apparatus.source).__name__}, {len(self.view.layers)} layers, {order}; "
            f"{trained:,} parameters; evaluated in {str(self.shadow.dtype).removeprefix('torch.')}, {autocast}",
            *self.view.remarks(),
            str(self.plan),
            *self.outlook.lines(),
            "passes count the network's own arithmetic; what is read off it (norms, moments, quantiles) comes on top",
            f"memory: {self.plan.held_bytes / mebibyte:.1f} MiB kept, {self.plan.peak_bytes / mebibyte:.1f} MiB more "
            f"during a probed step ({self.plan.tap_bytes / mebibyte:.1f} MiB of them taps and their gradients)",
        ]
        lines += [f"{name}: {d.nothing}, so nothing is measured" for name, d in self.declarations.items() if d.nothing]
        return "\n".join(lines)

    def fields(self) -> dict[str, dict[str, dict[str, Any]]]:
        """What every key of every probe is, as in fields.json."""
        return {
            name: {key: entry.as_json() for key, entry in declaration.fields.items()}
            for name, declaration in self.declarations.items()
        }

    def table(self) -> list[dict[str, Any]]:
        """What was measured so far, one row per number: step, probe, metric, batch, point, layer, x, value, unit.

        Arrays with other dims than layer and x are in :attr:`records` only.
        """
        return rows(self.declarations, self.records)

    def save(self, folder: Any, **described: Any) -> Any:
        """Writes what was measured so far as a run folder that the analysis reads; the suite must be installed.

        Args:
            folder, described: its name is the run's; what is said of that: data, model, norm, optim, lr, seed, task.

        Raises:
            ProbeError: the numbers went to a sink, or nothing that writes run folders is installed.
        """
        return save(self.fields(), self.records, folder, described)

    # ---- during training

    def around(self, step: int, batch: Any, trains: bool = True) -> AbstractContextManager[Forward]:
        """Goes around one training step: ``with probes.around(step, batch) as forward: train(forward, batch)``.

        ``forward`` is the network itself; on probed steps whose training pass is reused, the same arithmetic leaf by
        leaf.

        Args:
            step, batch: of training; the batch as (inputs, targets) or with these two attributes. Its attribute
                ``domain``, if it has one, is where its samples belong whenever it is evaluated
                (:func:`probes.statistics.in_domain`).
            trains: false where the block runs forward and backward but nothing is updated: After is then Before. A step
                that should have moved something and did not is refused otherwise.
        """
        if self.schedule.place(step) is None and not self.outlook.due_next(step):
            return contextlib.nullcontext(self.network)
        return self._probed(step, batch, trains)

    @contextlib.contextmanager
    def _probed(self, step: int, batch: Any, trains: bool) -> Iterator[Forward]:
        names, ahead = self.due(step), self.outlook.due_next(step)
        if not names and not ahead:
            yield self.network
            return
        self._check_modes(names | ahead)
        plan = self._plan(names, ahead)
        moment = ProbedStep(self._apparatus, step, batch, plan, trains)
        try:
            yield moment.forward
        finally:
            moment.close()
        state = RandomState(self.shadow.device)
        try:
            values = moment.evaluate()
            self._measure(moment, names, values)
            for name in ahead:
                self._remembered.keep_step(name, step, values)
        finally:
            state.restore()

    def _check_modes(self, names: frozenset[str]) -> None:
        told = [name for name in self.probes if name in names and self.declarations[name].modes]
        modes = batch_modes(self._apparatus.source) if told else {}
        for name in told:
            for module, by_batch in modes.items():
                if by_batch != self._batch_modes.get(module, by_batch):
                    was, now = ("training", "evaluation") if not by_batch else ("evaluation", "training")
                    raise ProbeError(
                        f"probe {name}: batch normalisation {module!r} was in {was} mode when Probes was built and "
                        f"is in {now} mode now: build it anew"
                    )

    def _measure(self, moment: ProbedStep, names: frozenset[str], values: Results) -> None:
        guard: checks.Guard | None = None
        for name in self.probes:
            if name not in names:
                continue
            declaration = self.declarations[name]
            known = {need: values[need] for need in declaration.needs}
            at = At(
                moment.step,
                moment.rates.unit,
                self.view,
                known,
                self._remembered.of(name, moment.step),
                moment.rates.own,
            )
            if guard is None or name not in self._guarded:
                guard = checks.Guard(self._apparatus.source, thorough=name not in self._guarded)
            with torch.no_grad():
                answer = dict(self.probes[name].measure(at))
            guard.check(name)
            self._guarded.add(name)
            answer = checks.check_answer(name, answer, declaration.fields)
            self._remembered.keep(name, values)
            self._sink(name, moment.step, answer)

    def tell(self, step: int, data_loss: Tensor | float) -> None:
        """Tells what the data loss of ``step`` was, before its update; schedules by progress go by it.

        Args:
            step: each step in turn, after its training, whether it was probed or not.
            data_loss: of the mini-batch, without the penalty, a scalar.
        """
        self.schedule.tell(step, data_loss)

    # ---- checkpoint

    def state_dict(self) -> dict[str, Any]:
        """What the steps to come need of the past: tensors by probe and need, what reductions keep, the schedule."""
        kept = {"carried": self._reduction_state.state_dict(), "schedule": self.schedule.state_dict()}
        return {**self._remembered.state_dict(), **kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from :meth:`state_dict`.

        Raises:
            ProbeError: it belongs to other probes.
        """
        self._remembered.load_state_dict(state)
        self._reduction_state.load_state_dict(state.get("carried", {}))
        self.schedule.load_state_dict(state.get("schedule", {}))
