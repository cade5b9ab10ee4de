"""Weights whose size changes nothing, because a normalisation divides by the size of what they give."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from probes.engine.flow import first_tensor
from probes.generators import RandomState
from probes.randomness import at_step, seeded_generator
from probes.statistics import in_domain, of_population


def scale_invariant(
    network: nn.Module, inputs: Tensor, candidates: Iterable[str], seed: int, domain: Tensor | None = None
) -> frozenset[str]:
    """Those of some parameters w for which f(2 w) = f(w), f the network in its present mode with everything else held.

    Found by trying, one parameter at a time, on a copy in double precision whose normalisations have next to no eps (it
    is what makes trained networks a little less than invariant) and whose parameters are all disturbed, so that
    neither biases nor factors that happen to start at zero hide a dependence. A parameter that changes nothing
    whatever it is, is none of them. It asks the function and no names: a layer before a normalisation that only
    centres is not found, a layer whose own rule divides by its weight's norm is.

    Args:
        network: which is only read.
        inputs: (samples, ...); of many samples some suffice.
        candidates: names of parameters.
        seed: what is random is drawn from it.
        domain: (samples,), where samples belong to domains.

    Raises:
        WrongInput: the network cannot be run on the inputs.
    """
    trial = copy.deepcopy(network).double()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    parameters = dict(trial.named_parameters(remove_duplicate=False))
    _disturb(dict(trial.named_parameters()), seed)
    for module in trial.modules():
        if isinstance(getattr(module, "eps", None), float):
            setattr(module, "eps", _EPSILON)  # noqa: B010 (nn.Module takes attributes for tensors)
    buffers = {name: buffer.clone() for name, buffer in trial.named_buffers()}
    random = RandomState(inputs.device)

    def output(rows: Tensor) -> Tensor:
        for name, buffer in trial.named_buffers():
            buffer.copy_(buffers[name])
        random.restore()
        own = nullcontext() if domain is None else in_domain(domain[: len(rows)])
        with at_step(seed, 0), own, of_population(trial, rows):
            found = first_tensor(trial(rows))
        assert found is not None
        return found

    found = set()
    try:
        with torch.no_grad():
            rows = _few(output, inputs)
            before = output(rows)
            for name in candidates:
                weight = parameters[name]
                kept = weight.clone()
                changes = []
                for other in (2 * kept, kept + _noise(kept, seed, name)):
                    weight.copy_(other)
                    changes.append((output(rows) - before).norm().item())
                weight.copy_(kept)
                by_size, by_noise = changes
                if by_noise > _NOTHING * before.norm().item() and by_size <= _INVARIANT * by_noise:
                    found.add(name)
    except WrongInput:
        raise
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise WrongInput(f"scale_invariant: the network fails on a batch: {type(error).__name__}: {first}") from error
    finally:
        random.restore()
    return frozenset(found)


_EPSILON = 1e-20
"""Beside a variance; units that are dead have none, so not 0."""
_INVARIANT = 1e-4
"""What doubling changes, in what other weights of the same size change; rounding and eps stay far below."""
_NOTHING = 1e-12
_SAMPLES = (8, 32)


def _few(output: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The first samples, where the network takes fewer than a batch (parts of one size may not fit into them)."""
    for count in _SAMPLES:
        if count < len(inputs):
            try:
                output(inputs[:count])
            except WrongInput:
                continue
            return inputs[:count]
    return inputs


def _disturb(parameters: dict[str, nn.Parameter], seed: int) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.add_(0.5 * _noise(parameter, seed, f"{name} at the start"))


def _noise(like: Tensor, seed: int, place: str) -> Tensor:
    """Gaussian numbers of the size of those in ``like``; of size 1 where they are all 0."""
    drawn = torch.randn(like.shape, generator=seeded_generator("cpu", seed, "scale_invariant", place))
    size = like.detach().square().mean().sqrt()
    return drawn.to(like) * torch.where(size > 0, size, torch.ones_like(size))
