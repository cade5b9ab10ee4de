"""One probed step: theta_t is kept, the step trains, and what was planned is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes.errors import ProbeError
from probes.evaluate import Ask, Collector, Evaluator, Results
from probes.hybrid import hybrids
from probes.plan import Plan, after_in_ascent, is_before
from probes.points import After, Along, Before, Hybrid, Point
from probes.protocol import Need
from probes.randomness import seeded_generator
from probes.reductions import norms
from probes.shadow import RandomState, Shadow, walk


@dataclass(frozen=True)
class Setting:
    """What stays the same from step to step.

    Args:
        source: the network that is trained.
        evaluator: evaluates on its shadow.
        reuse: whether the training pass is the evaluation Before.
        fixed: the fixed batch, if there is one.
        learning_rate: step -> learning rate.
    """

    source: nn.Module
    evaluator: Evaluator
    reuse: bool
    fixed: tuple[Tensor, Tensor] | None
    learning_rate: Callable[[int], float]

    @property
    def shadow(self) -> Shadow:
        """The copy that is evaluated."""
        return self.evaluator.shadow

    def live(self) -> dict[str, nn.Parameter]:
        """The parameters of the network that is trained."""
        return dict(self.source.named_parameters())


class ProbedStep:
    """Remembers theta_t and buffers_t, runs the training pass if it is reused, then evaluates the plan.

    Args:
        setting: the engine's.
        step: the training step.
        inputs, targets: its batch.
        plan: what is due.

    Raises:
        ProbeError: the network is not the one that the plan was made for.
    """

    def __init__(self, setting: Setting, step: int, inputs: Tensor, targets: Tensor, plan: Plan) -> None:
        self.setting, self.step, self.plan = setting, step, plan
        self.inputs, self.targets = inputs, targets
        source, shadow = setting.source, setting.shadow
        self.random = RandomState(shadow.device)
        self.live = live = setting.live()
        buffers = dict(source.named_buffers())
        for ours, theirs in ((shadow.parameters, live), (shadow.buffers, buffers)):
            if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
                raise ProbeError(
                    "the network has other parameters or buffers than when Probes was built: build it anew"
                )
        if [name for name, parameter in live.items() if parameter.requires_grad] != list(shadow.trainable):
            raise ProbeError("the network trains other parameters than when Probes was built: build it anew")
        with torch.no_grad():
            self.start = {name: parameter.detach().clone() for name, parameter in live.items()}
            self.buffers = {name: buffer.detach().clone() for name, buffer in buffers.items()}
        self.modes = [module.training for module in source.modules()]
        self.results: Results = {}
        first = plan.rows[0].ask if plan.rows else None
        self.live_ask = (
            first
            if setting.reuse and first is not None and first.point == Before() and first.batch == "train"
            else None
        )
        self.output: Tensor | None = None
        self.held: dict[str, Tensor] = {}

    def forward(self, inputs: Tensor) -> Tensor:
        """The live network leaf by leaf; what is asked of its taps is read on the way."""
        assert self.live_ask is not None
        shadow, source = self.setting.shadow, self.setting.source
        if self.output is not None or inputs.data_ptr() != self.inputs.data_ptr() or inputs.shape != self.inputs.shape:
            raise ProbeError("reuse_training_pass: the step must run forward exactly once, on the batch's own inputs")
        assert shadow.links is not None
        self.random = RandomState(shadow.device)  # what this pass draws from, whatever the step drew before it
        self._mark_gradients()
        steps = [link.bind(source) for link in shadow.links]
        collector = Collector(self.live_ask, self.results, ordered=True)
        output, self.held = walk(shadow.taps, steps, shadow.in_place, inputs, collector.visit, self.live_ask.hold)
        collector.flush()
        for value in self.held.values():
            if value.requires_grad:
                value.retain_grad()
        self.output = output.detach()
        return output

    def _mark_gradients(self) -> None:
        """Notes the version of each live gradient when the backward pass has made it.

        An optimiser may change ``.grad`` in place (torch's Nesterov momentum with foreach does), and so may clipping;
        what is read after the step would then not be the gradient at theta_t.
        """
        self.versions: dict[str, int] = {}
        self._marks: list[RemovableHandle] = []
        for name in self.setting.shadow.trainable:

            def mark(parameter: Tensor, name: str = name) -> None:
                assert parameter.grad is not None
                self.versions[name] = parameter.grad._version

            self._marks.append(self.live[name].register_post_accumulate_grad_hook(mark))

    def close(self) -> None:
        """Takes the marks off the live network."""
        for handle in getattr(self, "_marks", []):
            handle.remove()

    def evaluate(self) -> Results:
        """Everything planned; float64 tensors on the CPU."""
        setting = self.setting
        self.live = live = setting.live()
        self.end = {name: live[name].detach() for name in setting.shadow.trainable}
        self.learning_rate = setting.learning_rate(self.step)
        setting.evaluator.begin(self.step, self.buffers, self.modes, self.random)
        self.gradient: dict[str, Tensor] | None = None  # g_t
        batches: list[tuple[str, tuple[Tensor, Tensor] | None]] = [("train", (self.inputs, self.targets))]
        batches.append(("fixed", setting.fixed))
        for batch, data in batches:
            asks = self.plan.asks(batch)
            if asks and data is not None:
                self._evaluate_batch(batch, asks, *(setting.shadow.cast(values) for values in data))
        return to_host(self.results)

    def _evaluate_batch(self, batch: str, asks: Sequence[Ask], inputs: Tensor, targets: Tensor) -> None:
        evaluator, view = self.setting.evaluator, self.setting.shadow.view
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
                only = view.layer(point.layer).parameters if isinstance(point, Hybrid) else None
                evaluator.evaluate(ask, inputs, targets, self.results, reference, self.start, only)
        for moves, ascent in ascents.items():
            last = after if moves == "all" else None
            hybrids(evaluator, ascent, last, inputs, targets, self.results, reference, self.start, self.end)

    def _before(self, ask: Ask, inputs: Tensor, targets: Tensor) -> dict[str, Tensor] | None:
        evaluator, shadow = self.setting.evaluator, self.setting.shadow
        shadow.load(self.start)
        if ask is not self.live_ask:
            found = evaluator.evaluate(ask, inputs, targets, self.results, None, self.start)
        else:
            found = self._from_training(ask)
        if ask.asks("double"):
            evaluator.double(ask, inputs, targets, self.results)
        return found

    def _from_training(self, ask: Ask) -> dict[str, Tensor]:
        shadow, collector = self.setting.shadow, Collector(ask, self.results)
        if self.output is None:
            raise ProbeError("reuse_training_pass: the step must run forward exactly once, on the batch's own inputs")
        live = self.live
        if all(live[name].grad is None for name in shadow.trainable):
            raise ProbeError("reuse_training_pass: the step must leave its gradient in .grad, but there is none")
        found = {}
        for name in shadow.trainable:
            gradient = live[name].grad
            if gradient is not None and self.versions.get(name, gradient._version) != gradient._version:
                raise ProbeError(
                    f"reuse_training_pass: the step changed the gradient of {name!r} in place (clipping, or an "
                    "optimiser that does so); what is left is not the gradient at theta_t"
                )
            found[name] = torch.zeros_like(live[name]) if gradient is None else gradient.detach()
        output = self.output
        with torch.no_grad():
            collector.loss(
                self.setting.evaluator.objective(lambda _: output, shadow.network, self.inputs, self.targets)
            )
        collector.parameters(shadow.trainable, self.start)
        collector.gradients(found, None, shadow.trainable)
        zeros = {tap: torch.zeros_like(value) for tap, value in self.held.items() if value.grad is None}
        collector.tap_gradients(
            self.held, {tap: zeros[tap] if v.grad is None else v.grad for tap, v in self.held.items()}
        )
        self.held, self.output = {}, None
        return found

    def _move_to(self, point: Point) -> None:
        """Puts the shadow at ``point``."""
        shadow = self.setting.shadow
        shadow.load(self.start)
        if isinstance(point, Along):
            names, directions = self._direction(point)
            length = -point.multiple * self.learning_rate
            if point.direction == "update":
                length = -point.multiple
            with torch.no_grad():
                torch._foreach_add_([shadow.parameters[name] for name in names], directions, alpha=length)
        elif isinstance(point, After):
            shadow.load(self.end)
        elif isinstance(point, Hybrid):
            moved = shadow.view.moved_before(point.layer, point.moves)
            shadow.load({name: self.end[name] for name in moved})

    def _direction(self, point: Along) -> tuple[list[str], list[Tensor]]:
        """Parameters and the direction in them; for "update" theta_t - theta_{t+1}, the learning rate included."""
        dtype = self.setting.shadow.dtype
        if point.direction == "update":
            names = list(self.end)
            return names, [self.start[name].to(dtype) - self.end[name].to(dtype) for name in names]
        assert self.gradient is not None
        names = list(self.gradient)
        if point.direction == "gradient":
            return names, list(self.gradient.values())
        device = self.setting.shadow.device
        generator = seeded_generator(device, self.setting.evaluator.seed, self.step, "direction", point.index)
        drawn = [torch.randn(g.shape, generator=generator, device=device).to(dtype) for g in self.gradient.values()]
        scale = norms(list(self.gradient.values())).norm() / norms(drawn).norm()
        torch._foreach_mul_(drawn, scale.to(dtype))
        return names, drawn


def to_host(results: Results) -> Results:
    """All values as float64 on the CPU, in one transfer."""
    if not results:
        return {}
    kinds: dict[torch.dtype, list[Need]] = {}
    for need, value in results.items():
        kinds.setdefault(value.dtype, []).append(need)
    joined = [torch.cat([results[need].reshape(-1) for need in needs]).double() for needs in kinds.values()]
    order = [need for needs in kinds.values() for need in needs]
    parts = torch.cat(joined).cpu().split([results[need].numel() for need in order])
    return {need: part.view(results[need].shape) for need, part in zip(order, parts, strict=True)}
