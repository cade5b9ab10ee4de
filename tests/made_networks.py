"""Networks of the kinds that a copy made once, or a trace, gets wrong; each with what changes it between steps."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn

from probes.randomness import generator


class AsksForGradients(nn.Module):
    """Batch normalisation that asks whether gradients are on where it should ask for its mode."""

    def __init__(self, units):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(units)), nn.Parameter(torch.zeros(units))
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("var", torch.ones(units))

    def forward(self, x):
        on = torch.is_grad_enabled()
        mean, var = (x.mean(0), x.var(0, unbiased=False)) if on else (self.mean, self.var)
        if on:
            with torch.no_grad():
                self.mean.lerp_(mean, 0.1)
                self.var.lerp_(var, 0.1)
        return (x - mean) / (var + 1e-5).sqrt() * self.weight + self.bias


class AsksTheTensor(nn.Module):
    """Scales only what a gradient is asked of."""

    def forward(self, x):
        return 2 * x if x.requires_grad else x


class Scaled(nn.Module):
    """A temperature in a plain attribute."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * x


class Passing(nn.Module):
    """Attributes that are there at the first steps only: a number, and a list that holds one."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = 2.0, [0.5]

    def changed(self, step):
        vars(self).pop({1: "shift", 2: "scale"}.get(step), None)

    def forward(self, x):
        return x * getattr(self, "scale", 1.0) + getattr(self, "shift", [0.0])[0]


class Table(nn.Module):
    """Plain attributes that can be written into: a list, a dict and a tensor."""

    def __init__(self):
        super().__init__()
        self.steps, self.options, self.shift = [1.0], {"scale": 1.0}, torch.zeros(6)

    def forward(self, x):
        if self.training:
            self.steps.append(self.steps[-1] + 0.1)
            self.shift = self.shift + 0.1 * x.detach().mean(0)
        return self.options["scale"] * self.steps[-1] * x - self.shift


class Reassigned(nn.Module):
    """A buffer that is a new tensor after every training pass."""

    def __init__(self, units=6):
        super().__init__()
        self.register_buffer("mean", torch.zeros(units))

    def forward(self, x):
        if not self.training:
            return x - self.mean
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


class Recalls(nn.Module):
    """Adds what it put out last time, kept in a plain attribute with its graph."""

    def __init__(self):
        super().__init__()
        self.last = None

    def forward(self, x):
        earlier = 0.0 if self.last is None else self.last.detach()
        self.last = torch.tanh(x + 0.1 * earlier)
        return self.last


class Draws(nn.Module):
    """Noise from the global generators of Python, numpy and torch, and from one of its own."""

    def __init__(self):
        super().__init__()
        self.own = random.Random(3)

    def forward(self, x):
        drawn = random.random() + np.random.rand() + torch.rand(()).item() + self.own.random()  # noqa: NPY002
        return x * (1 + 0.2 * drawn)


class PlaceNoise(nn.Module):
    """Noise of (seed, step, place)."""

    def forward(self, x):
        return x * (1 + 0.2 * torch.rand(x.shape, generator=generator("here", x.device)).to(x))


class Skips(nn.Module):
    """A layer that is left out at random, as Python decides."""

    def __init__(self, draw=lambda: torch.rand(()).item()):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.draw = draw

    def forward(self, x):
        x = torch.tanh(self.first(x))
        if not self.training or self.draw() > 0.5:
            x = torch.tanh(self.middle(x))
        return self.last(x)


class ByMode(nn.Module):
    """Does something else in evaluation mode, as Python decides."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        x = self.linear(x)
        return x if self.training else torch.softmax(x, 1)


class Closure(nn.Module):
    """A forward that closes over a number, a dict and the network that it is a part of."""

    def __init__(self, function=None):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def counting(network):
    count, options = 0, {"scale": 1.0}

    def function(x):
        nonlocal count
        count += 1
        return options["scale"] * (1 + 0.1 * count) * x + network[0].bias.mean()

    return function


def sequential(*parts, units=6):
    """(n, 6) -> linear, the parts, linear -> (n, 3)."""
    return nn.Sequential(nn.Linear(6, units), *parts, nn.Linear(units, 3))


def closing():
    network = sequential(Closure())
    network[1].function = counting(network)
    return network


class Inside(nn.Module):
    """No chain of leaves: a part in the middle of a network with a skip connection."""

    def __init__(self, part):
        super().__init__()
        self.first, self.part, self.last = nn.Linear(6, 6), part, nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x)
        return self.last(x + torch.tanh(self.part(x)))


KINDS = {
    "asks for gradients": (lambda: AsksForGradients(6), lambda part, step: None),
    "asks the tensor": (AsksTheTensor, lambda part, step: None),
    "attribute": (Scaled, lambda part, step: setattr(part, "scale", 1.0 + step)),
    "attributes that come and go": (Passing, lambda part, step: part.changed(step)),
    "attributes written into": (Table, lambda part, step: part.options.update(scale=1.0 + step)),
    "reassigned buffer": (Reassigned, lambda part, step: part.train(step % 2 == 0)),
    "recalls": (Recalls, lambda part, step: None),
    "foreign generators": (Draws, lambda part, step: None),
    "noise of the step": (PlaceNoise, lambda part, step: None),
    "dropout whose share follows a schedule": (
        lambda: nn.Dropout(0.1),
        lambda part, step: setattr(part, "p", 0.1 + 0.2 * step),
    ),
    "eps that follows a schedule": (
        lambda: nn.BatchNorm1d(6),
        lambda part, step: setattr(part, "eps", 1e-5 * 10 ** (2 * step)),
    ),
}
"""kind -> the part, and what changes it before a step."""

NETWORKS = {
    **{f"{kind}, a chain": (lambda make=make: sequential(make()), lambda n, t, c=change: c(n[1], t))
       for kind, (make, change) in KINDS.items()},
    **{f"{kind}, a skip": (lambda make=make: Inside(make()), lambda n, t, c=change: c(n.part, t))
       for kind, (make, change) in KINDS.items()},
    "closures": (closing, lambda n, t: None),
    "skips, torch": (Skips, lambda n, t: None),
    "skips, Python": (lambda: Skips(random.random), lambda n, t: None),
    "skips, numpy": (lambda: Skips(np.random.rand), lambda n, t: None),
    "by mode": (lambda: ByMode().eval(), lambda n, t: n.train(t != 1)),
    "by mode, deeper": (lambda: nn.Sequential(nn.Linear(6, 6), ByMode()).eval(), lambda n, t: n.train(t != 1)),
}  # fmt: skip
"""name -> the network as it is built, and what changes it before a step."""
