"""Watches layers at work at theta_t and at theta_{t+1}, and runs each with the other's weights or inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes import statistics
from probes.engine.ask import Ask
from probes.engine.collector import Collector, Results
from probes.errors import ProbeError
from probes.reductions.reduction import ChangeReduction

See = Callable[[ChangeReduction, nn.Module, Tensor, Tensor], None]


class Watch:
    """What layers are given and put out on one batch at theta_t, kept until theta_{t+1} is evaluated on it.

    Args:
        ask: what is asked at theta_{t+1}.
        ordered: whether what a layer is given and puts out stays as it is while the network runs (a chain sees to it).
    """

    def __init__(self, ask: Ask, ordered: bool) -> None:
        self._ask, self._ordered = ask, ordered
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}

    @contextlib.contextmanager
    def start(self, network: nn.Module) -> Iterator[None]:
        """Within it ``network`` runs at theta_t."""

        def keep(reduction: ChangeReduction, module: nn.Module, given: Tensor, output: Tensor) -> None:
            found = (given.detach(), output.detach())
            self._kept[reduction.module] = found if self._ordered else (found[0].clone(), found[1].clone())

        with self._seen(network, keep):
            yield

    @contextlib.contextmanager
    def end(self, network: nn.Module, start: Mapping[str, Tensor], results: Results) -> Iterator[None]:
        """Within it ``network`` runs at theta_{t+1}; ``start`` is theta_t, by parameter.

        Raises:
            ProbeError: nobody asked for a pass at theta_t on this batch.
        """
        collector = Collector(self._ask, results)

        def compare(reduction: ChangeReduction, module: nn.Module, given: Tensor, output: Tensor) -> None:
            if reduction.module not in self._kept:
                raise ProbeError(f"{type(reduction).__name__}: the loss at Before on the same batch must be asked too")
            before, put_out = (value.to(given.dtype) for value in self._kept.pop(reduction.module))
            # forward itself: hooks would take it for the network's own call
            new_weights = module.forward(before)
            with _parameters(module, reduction.module, start):
                new_inputs = module.forward(given)
            collector.add(reduction, reduction.reduce(put_out, new_weights, new_inputs, output.detach()))

        with self._seen(network, compare):
            yield
        for reduction in self._ask.asked.changes:
            if self._ask.need_of[id(reduction)] not in results:
                raise ProbeError(f"module {reduction.module!r}: its weights are used, but it was not called itself")

    @contextlib.contextmanager
    def _seen(self, network: nn.Module, see: See) -> Iterator[None]:
        """Shows ``see`` what each module that is asked for is given and puts out, at its first call."""
        handles: dict[str, RemovableHandle] = {}

        def watch(reduction: ChangeReduction) -> None:
            def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                if statistics.gathering():  # not the batch's pass
                    return
                handles[reduction.module].remove()
                with torch.no_grad():
                    see(reduction, module, args[0], output)

            handles[reduction.module] = network.get_submodule(reduction.module).register_forward_hook(hook)

        for reduction in self._ask.asked.changes:
            watch(reduction)
        try:
            yield
        finally:
            for handle in handles.values():
                handle.remove()


@contextlib.contextmanager
def _parameters(module: nn.Module, name: str, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it the parameters of ``module``, called ``name``, are those of ``values``; no graph notices."""
    own = dict(module.named_parameters(prefix=name))
    there = {key: parameter.data for key, parameter in own.items()}
    try:
        for key, parameter in own.items():
            parameter.data = values[key].to(parameter.dtype)
        yield
    finally:
        for key, parameter in own.items():
            parameter.data = there[key]
