"""The training pass as the evaluation Before: run leaf by leaf on the live network, and read where it passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from probes.engine.ask import Ask
from probes.engine.collector import Collector
from probes.engine.evaluation import dense
from probes.engine.hooks import torchs_own
from probes.engine.training_pass import autocast_type, relative_distance, same_values, tolerance
from probes.errors import ProbeError
from probes.generators import RandomState

if TYPE_CHECKING:
    from probes.engine.step import ProbedStep

_WITHOUT = "; without reuse_training_pass the evaluation Before has a pass of its own"


class ReusedPass:
    """Runs the training pass and answers what is asked Before from it.

    The step must run :meth:`forward` once, on its batch, and descend the objective from there: what would make
    ``.grad`` something else than the gradient at theta_t is noticed.

    Args:
        moment: the probed step.
        ask: what is asked.
    """

    def __init__(self, moment: ProbedStep, ask: Ask) -> None:
        self.moment, self.ask = moment, ask
        self.shadow = moment.apparatus.shadow
        self.output: Tensor | None = None
        self.output_gradient: Tensor | None = None
        self.held: dict[str, Tensor] = {}
        self.versions: dict[str, int] = {}
        self._marks: list[RemovableHandle] = []
        self._earlier: str | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """The live network leaf by leaf; what is asked of its taps is read on the way."""
        shadow, moment = self.shadow, self.moment
        source, own = moment.apparatus.source, moment.inputs
        if self.output is not None or not same_values(inputs, own):
            raise ProbeError("reuse_training_pass: the step must run forward exactly once, on the batch's own inputs")
        if autocast_type(inputs) is not None:
            raise ProbeError(f"reuse_training_pass: training runs under autocast, evaluations do not{_WITHOUT}")
        assert shadow.program is not None
        moment.look()  # what this pass draws from, whatever the step drew before it
        self._mark_gradients()
        moment.apparatus.evaluator.begin(moment.step, moment.instant)
        steps: list[Callable[..., Any]] = shadow.program.bind(source)
        unknown = [
            place
            for place, (step, live) in enumerate(zip(shadow.program.steps, steps, strict=True))
            if isinstance(live, nn.Module) and not (step.module not in shadow.left_out and torchs_own(live))
        ]
        if unknown:
            shadow.load(moment.start)
            moment.apparatus.evaluator.reset()
        steps = [self._compared(place, live) if place in unknown else live for place, live in enumerate(steps)]
        collector = Collector(self.ask, moment.results, ordered=True)
        with moment.watching(self.ask, source):
            output, self.held = shadow.program.run(steps, inputs, collector.visit, self.ask.hold)
        collector.flush()
        for value in self.held.values():
            if value.requires_grad:
                value.retain_grad()
        if output.requires_grad:
            self._marks.append(output.register_hook(self._backward_begins))
        self.output, self.random = output.detach().clone(), RandomState(shadow.device)
        return output

    def _compared(self, place: int, live: Callable[..., Any]) -> Callable[..., Any]:
        """A leaf of the user's own, run again in the copy on what enters it; torch's depend on what is carried only."""
        shadow, evaluator = self.shadow, self.moment.apparatus.evaluator
        assert shadow.program is not None
        step, name = shadow.steps[place], shadow.program.steps[place].name
        changes = bool(shadow.program.overwritten[place])

        def apart(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return (x.detach().clone() if changes else x.detach()).requires_grad_(x.requires_grad)

        def run(*args: Any, **kwargs: Any) -> Any:
            given = tree_map(apart, (args, kwargs))
            before = RandomState(shadow.device)
            output = live(*args, **kwargs)
            after = RandomState(shadow.device)
            before.restore()
            with evaluator.within():
                again = step(*given[0], **given[1])
            after.restore()
            distance = relative_distance(output, again)
            if distance > tolerance(output, again, True, None):
                raise ProbeError(
                    f"leaf {name!r}: what it computed in training is not what it computes "
                    f"again (they differ by {distance:.1e} of their norm). Possible causes: {self.moment.causes()}"
                )
            return output

        return run

    def _mark_gradients(self) -> None:
        """Notes the version of each live gradient when the backward pass has made it.

        An optimiser may change ``.grad`` in place (torch's Nesterov momentum with foreach does), and so may clipping;
        what is read after the step would then not be the gradient at theta_t.
        """
        for name in self.shadow.trainable:
            parameter = self.moment.live[name]
            if parameter._backward_hooks:
                raise ProbeError(f"reuse_training_pass: a hook on {name!r} may change its gradient{_WITHOUT}")

            def mark(parameter: Tensor, name: str = name) -> None:
                assert parameter.grad is not None
                self.versions[name] = parameter.grad._version

            self._marks.append(parameter.register_post_accumulate_grad_hook(mark))

    def _backward_begins(self, gradient: Tensor) -> None:
        """Looks for gradients that were there before (of an earlier micro-batch); receives that at the output."""
        for name in self.shadow.trainable:
            earlier = self.moment.live[name].grad
            if name not in self.versions and earlier is not None and bool(dense(earlier).any()):
                self._earlier = self._earlier or name
        self.output_gradient = gradient if self.output_gradient is None else self.output_gradient + gradient

    def check_ran(self) -> None:
        """Refuses a step that did not run :meth:`forward`."""
        if self.output is None:
            raise ProbeError("reuse_training_pass: the step must run forward exactly once, on the batch's own inputs")

    def close(self) -> None:
        """Takes the marks off the live network."""
        for handle in self._marks:
            handle.remove()

    def evaluate(self) -> dict[str, Tensor]:
        """Answers what is asked; the gradient at theta_t."""
        moment, shadow, collector = self.moment, self.shadow, Collector(self.ask, self.moment.results)
        live = moment.live
        assert self.output is not None
        if all(live[name].grad is None for name in shadow.trainable):
            raise ProbeError("reuse_training_pass: the step must leave its gradient in .grad, but there is none")
        if self._earlier is not None:
            raise ProbeError(
                f"reuse_training_pass: {self._earlier!r} had a gradient before the backward pass (of an earlier "
                f"micro-batch?), to which that of this batch was added{_WITHOUT}"
            )
        found = {}
        for name in shadow.trainable:
            gradient = live[name].grad
            if gradient is not None and self.versions.get(name, gradient._version) != gradient._version:
                raise ProbeError(
                    f"reuse_training_pass: the step changed the gradient of {name!r} in place (clipping, or an "
                    "optimiser that does so); what is left is not the gradient at theta_t"
                )
            found[name] = torch.zeros_like(live[name]) if gradient is None else dense(gradient.detach())
        self._answer_loss(self.output, collector)
        collector.parameters(shadow.trainable, moment.start)
        collector.gradients(found, found, shadow.trainable)
        zeros = {tap: torch.zeros_like(value) for tap, value in self.held.items() if value.grad is None}
        collector.tap_gradients(
            self.held, {tap: zeros[tap] if v.grad is None else v.grad for tap, v in self.held.items()}
        )
        self.held, self.output = {}, None
        return found

    def _answer_loss(self, output: Tensor, collector: Collector) -> None:
        """The loss of the pass, and whether it is the one that the step descended."""
        moment, evaluator = self.moment, self.moment.apparatus.evaluator
        evaluator.reset()
        self.random.restore()
        output.requires_grad_(output.is_floating_point() or output.is_complex())
        with evaluator.within():
            # the output is there already, so that there is nothing for a population's statistics to be found for
            objective = dataclasses.replace(evaluator.objective, population=None)
            loss: Any = objective(lambda _: output.clone(), self.shadow.network, moment.inputs, moment.targets)
            depends = loss.data_loss.requires_grad
            own = torch.autograd.grad(loss.data_loss, output, materialize_grads=True)[0] if depends else None
        collector.loss(loss)
        if own is not None and self.output_gradient is not None:
            distance = relative_distance(own, self.output_gradient)
            if distance > tolerance(own, own, True, None):
                raise ProbeError(
                    "reuse_training_pass: the step descends another loss than the objective's (scaled, divided over "
                    f"micro-batches, or another): the gradients at the network's output differ by {distance:.1e} of "
                    f"their norm{_WITHOUT}"
                )
