"""The probes once more, written in the plain way: copy the model, load the parameters, ``.backward()``; in float64.

Nothing here uses the engine. A layer is a top-level block of the network, by name, so that what precedes it can be told
from the parameters' names alone.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import torch
from torch import nn

from probes.randomness import at_step, generator


class Snapshot:
    """The network at one moment: parameters and buffers in float64, the global random state, seed and step."""

    def __init__(self, network, objective, seed, step):
        self.network = copy.deepcopy(network).double()
        self.state = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.random_state = torch.get_rng_state()
        self.within = objective.within
        self.loss, self.decay = objective.data_loss, objective.weight_decay
        self.seed, self.step = seed, step

    def model(self, values=None):
        """A fresh copy with ``values`` in place of some parameters."""
        network = copy.deepcopy(self.network)
        network.load_state_dict({**self.state, **(values or {})})
        return network

    def run(self, batch, values=None):
        """(total loss, data loss, {name: gradient}, output) after a plain forward and backward pass."""
        network = self.model(values)
        inputs, targets = (v.double() if v.is_floating_point() else v for v in batch)
        before = torch.get_rng_state()
        torch.set_rng_state(self.random_state)
        with at_step(self.seed, self.step), self.within(network):
            output = network(inputs)
        torch.set_rng_state(before)
        data_loss = self.loss(output, targets)
        penalty = sum(
            (w**2).sum() for m in network.modules() for w in effective_weights(m) if w is not None and w.ndim >= 2
        )
        total = data_loss + self.decay / 2 * penalty
        network.zero_grad()
        total.backward()
        gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in network.named_parameters()}
        return total.item(), data_loss.item(), gradients, output.detach()


def effective_weights(module):
    """The weight that a convolution or linear layer applies."""
    return [module.weight] if isinstance(module, nn.Conv2d | nn.Linear) else []


def length(tensors):
    return math.sqrt(sum(float((t.double() ** 2).sum()) for t in tensors))


def inner(a, b):
    return sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True))


def landscape(before, batch, learning_rate, multiples, direction=None):
    """Losses, gradient differences, betas, cosines at theta - multiple * lr * direction (default: the gradient)."""
    total, _, g, _ = before.run(batch)
    d = g if direction is None else direction
    rows = []
    for multiple in multiples:
        moved = {name: before.state[name] - multiple * learning_rate * d[name] for name in d}
        loss, data_loss, there, _ = before.run(batch, moved)
        difference = length([there[n] - g[n] for n in g])
        distance = multiple * learning_rate * length(d.values())
        cosine = inner(there.values(), g.values()) / (length(there.values()) * length(g.values()))
        rows.append((loss, data_loss, difference, difference / distance if distance else math.nan, cosine))
    return total, length(g.values()), torch.tensor(rows, dtype=torch.float64)


def covariate_shift(before, after_state, batch, blocks, parameter_of, moves=lambda name: True):
    """(l2, relative, cosine) for each block: blocks before it take the values of ``after_state`` where ``moves``."""
    _, _, g, _ = before.run(batch)
    rows = []
    for place, block in enumerate(blocks):
        earlier = tuple(f"{b}." for b in blocks[:place])
        moved = {n: after_state[n].double() for n in g if n.startswith(earlier) and moves(n)} if earlier else {}
        _, _, there, _ = before.run(batch, moved)
        names = parameter_of(block)
        if not names:
            rows.append((math.nan,) * 3)
            continue
        difference = length([there[n] - g[n] for n in names])
        before_norm, there_norm = length([g[n] for n in names]), length([there[n] for n in names])
        dot = inner([g[n] for n in names], [there[n] for n in names])
        rows.append((difference, difference / before_norm, dot / (before_norm * there_norm)))
    return torch.tensor(rows, dtype=torch.float64)


# ---- networks


class StepNoise(nn.Module):
    """Noise that belongs to (seed, step, place), drawn in float32 whatever the input's type."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def forward(self, x):
        drawn = torch.rand(x.shape, generator=generator(self.place, x.device), device=x.device)
        return x * (1 + 0.2 * drawn.to(x.dtype))


class Renorm(nn.Module):
    """Normalises by the running statistics that it also updates, so that evaluating it twice is not the same."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running", torch.ones(channels))

    def forward(self, x):
        shape = (1, -1) + (1,) * (x.ndim - 2)
        with torch.no_grad():
            self.running += 0.3 * (x.detach().transpose(0, 1).flatten(1).std(1) - self.running)
        return x / self.running.clone().view(shape) * self.weight.view(shape) + self.bias.view(shape)


NORMS = {
    "none": lambda c, place: [],
    "batch": lambda c, place: [("norm", nn.BatchNorm2d(c))],
    "noisy": lambda c, place: [("norm", nn.Sequential(nn.BatchNorm2d(c), StepNoise(place)))],
    "group": lambda c, place: [("norm", nn.GroupNorm(2, c))],
    "renorm": lambda c, place: [("norm", Renorm(c))],
    "weight": lambda c, place: [],
}


def block(layer, channels, norm, place, last):
    if norm == "weight":
        layer = nn.utils.parametrizations.weight_norm(layer)
    return nn.Sequential(OrderedDict([("layer", layer), *NORMS[norm](channels, place), *last]))


def conv_net(norm="batch", inplace=False, dropout=0.0, seed=0):
    """Three convolutions and a head on (n, 2, 6, 6); blocks c1, c2, c3, head."""
    torch.manual_seed(seed)
    parts = OrderedDict()
    parts["c1"] = block(nn.Conv2d(2, 4, 3, padding=1), 4, norm, "c1", [("activation", nn.ReLU(inplace=inplace))])
    parts["c2"] = block(
        nn.Conv2d(4, 6, 3, padding=1), 6, norm, "c2", [("activation", nn.Tanh()), ("pool", nn.MaxPool2d(2))]
    )
    parts["c3"] = block(nn.Conv2d(6, 4, 3, padding=1), 4, norm, "c3", [("activation", nn.ReLU(inplace=inplace))])
    parts["flatten"] = nn.Flatten()
    if dropout:
        parts["dropout"] = nn.Dropout(dropout)
    parts["head"] = nn.Sequential(OrderedDict([("layer", nn.Linear(36, 3))]))
    return nn.Sequential(parts)


BLOCKS = ("c1", "c2", "c3", "head")


def linear_net(depth=6, width=5, norm=True, seed=0):
    """Deep linear network on (n, width), batch normalisation after each layer but the last; blocks layer1, ..."""
    torch.manual_seed(seed)
    parts = OrderedDict()
    for i in range(1, depth + 1):
        inner_parts = [("layer", nn.Linear(width, width, bias=False))]
        if norm and i < depth:
            inner_parts.append(("norm", nn.BatchNorm1d(width)))
        parts[f"layer{i}"] = nn.Sequential(OrderedDict(inner_parts))
    return nn.Sequential(parts)


class Residual(nn.Module):
    """A small residual network with torchvision's habits: `out += identity`, one ReLU module called twice, in place."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.c1, self.b1 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.c2, self.b2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        identity = self.relu(self.b1(self.c1(x)))
        out = self.b2(self.c2(identity))
        out += identity
        out = self.relu(out)
        return self.head(out.mean((2, 3)))


class LikeTorchvision(nn.Module):
    """torchvision's VGG in small: features, pooling, flatten by a function, classifier with dropout."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(nn.Linear(16, 8), nn.ReLU(True), nn.Dropout(0.4), nn.Linear(8, 3))

    def forward(self, x):
        x = self.avgpool(self.features(x))
        x = torch.flatten(x, 1)
        return self.classifier(x)


class Unordered(nn.Module):
    """A network behind a forward that resists tracing."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) if x.sum() < torch.inf else x


def image_batch(n=8, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, 6, 6, generator=g), torch.randint(3, (n,), generator=g)


class PreActivation(nn.Module):
    """Normalisation first (He et al. 2016): what enters it was added up by a function, or is used again further on."""

    def __init__(self, seed=0, stem_norm=False):
        super().__init__()
        torch.manual_seed(seed)
        self.entry = nn.BatchNorm2d(2) if stem_norm else nn.Identity()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.b1, self.c1 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.b2, self.c2 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.b3, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(self.entry(x))
        y = self.c1(torch.relu(self.b1(x)))
        y = self.c2(torch.relu_(self.b2(y)))
        y += x
        return self.head(torch.relu(self.b3(y)).mean((2, 3)))


# ---- what happens at modules, by hooks


def execution_order(network, inputs):
    """Names of the modules without children in the order in which they run, each at its first call."""
    network, found = copy.deepcopy(network), []
    for name, module in network.named_modules():
        if not any(True for _ in module.children()) or hasattr(module, "parametrizations"):
            module.register_forward_hook(lambda m, a, o, n=name: found.append(n))
    network(inputs)
    return list(dict.fromkeys(found))


def at_modules(before, batch, names, values=None):
    """{name: (input, output, dL/dinput through this module alone, dL/doutput)} of one pass, in float64."""
    network, found = before.model(values), {}

    def enter(module, args, name):
        found[name] = [args[0].clone()]
        found[name][0].retain_grad()
        return (found[name][0].clone(), *args[1:])

    def leave(module, args, output, name):
        found[name].append(output)
        output.retain_grad()
        return output.clone()

    inputs, targets = (v.double() if v.is_floating_point() else v for v in batch)
    inputs = inputs.clone().requires_grad_()
    state = torch.get_rng_state()
    torch.set_rng_state(before.random_state)
    with at_step(before.seed, before.step), before.within(network):
        for name in names:
            network.get_submodule(name).register_forward_pre_hook(lambda m, a, n=name: enter(m, a, n))
            network.get_submodule(name).register_forward_hook(lambda m, a, o, n=name: leave(m, a, o, n))
        output = network(inputs)
    torch.set_rng_state(state)
    weights = [w for m in network.modules() for w in effective_weights(m)]
    (before.loss(output, targets) + before.decay / 2 * sum((w**2).sum() for w in weights)).backward()
    return {n: (x.detach(), z.detach(), x.grad, z.grad) for n, (x, z) in found.items()}


def units(values):
    """(units, observations)."""
    return values.transpose(0, 1).flatten(1)


def activations(before, after, batch, taps):
    """{layer: (mean, variance per unit, drift of both by the update)}; taps: {layer: (module, 0 input or 1 output)}."""
    names = list(dict.fromkeys(name for name, _ in taps.values()))
    start, end = (at_modules(before, batch, names, values) for values in (None, after))
    result = {}
    for layer, (name, side) in taps.items():
        x, y = units(start[name][side]), units(end[name][side])
        means, variances = (x.mean(1), y.mean(1)), (((u - u.mean(1)[:, None]) ** 2).mean(1) for u in (x, y))
        v, w = variances
        result[layer] = (means[0], v, (means[1] - means[0]).abs().mean(), (w - v).abs().mean())
    return result


def theorem_4_1(before, batch, names):
    """{norm: {quantity: per unit}} of Theorem 4.1 at torch's batch normalisations, written out as the paper does."""
    result = {}
    for name, tensors in at_modules(before, batch, names).items():
        norm = before.network.get_submodule(name)
        y, _, v, g = (units(t) for t in tensors)
        gamma = torch.ones(len(y)).double() if norm.weight is None else before.state[f"{name}.weight"]
        beta = torch.zeros(len(y)).double() if norm.bias is None else before.state[f"{name}.bias"]
        m, mean = y.shape[1], y.mean(1)
        variance = ((y - mean[:, None]) ** 2).mean(1)
        sigma = torch.sqrt(variance + norm.eps)
        correlation = (g * ((y - mean[:, None]) / sigma[:, None])).sum(1)
        scaling, of_mean = (gamma / sigma) ** 2 * (g**2).sum(1), (gamma / sigma) ** 2 * g.sum(1) ** 2 / m
        result[name] = {
            "activation_gradient_squared": (v**2).sum(1),
            "scaling_term": scaling,
            "mean_term": of_mean,
            "correlation_term": (gamma / sigma) ** 2 * correlation**2 * (1 / m + norm.eps / sigma**2 / m),
            "as_printed": scaling - of_mean - (gamma / sigma) ** 2 * correlation**2 / math.sqrt(m),
            "sigma": sigma,
            "gamma_over_sigma": gamma / sigma,
            "shift_over_sigma": (beta - mean) / sigma,
        }
    return result


def covariate_shift_in_order(before, after_state, batch, order, names, moves=lambda module: True):
    """As :func:`covariate_shift`, at weights ``names``: modules before theirs in ``order`` have moved."""
    _, _, g, _ = before.run(batch)
    rows = []
    for name in names:
        earlier = [m for m in order[: order.index(name.rpartition(".")[0])] if moves(m)]
        moved = {n: after_state[n].double() for n in g if n.rpartition(".")[0] in earlier}
        there = before.run(batch, moved)[2][name]
        rows.append((length([there - g[name]]), inner([there], [g[name]]) / (length([there]) * length([g[name]]))))
    return torch.tensor(rows, dtype=torch.float64)
