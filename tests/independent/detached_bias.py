"""A bias before a normalisation whose mean is outside of the gradient step, in bare torch: apart from the suite.

    python -m tests.independent.detached_bias     # a minute on one core

Ioffe & Szegedy 2015, section 2: where the mean is subtracted outside of the gradient step, the bias grows without bound
while the loss stays. Three layers of 100 sigmoids on scikit-learn's digits. First nothing but the biases before the
normalisations is trained, by full-batch descent; then everything is, on batches of 60. Normalisation is written out,
with its statistics inside of the gradient step, with the mean as a constant of it, or the deviation.
"""

from __future__ import annotations

import math
import statistics
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tests.independent.best_rates import DEVIATION, SIZE, WIDTH, Digits, digits

Constant = Literal["nothing", "mean", "deviation"]
CONSTANTS: tuple[Constant, ...] = ("nothing", "mean", "deviation")
RATE, EPS = 0.1, 1e-5


class Layer(NamedTuple):
    """W (out, in), b (out,), and of normalised layers gamma and beta (out,)."""

    weight: Tensor
    bias: Tensor
    gamma: Tensor | None = None
    beta: Tensor | None = None


class Grown(NamedTuple):
    """Norms of the biases before the normalisations, (steps, 3), before each step, and the loss at it."""

    norms: Tensor
    losses: Tensor


def layers(seed: int) -> list[Layer]:
    """Weights of deviation 0.1; the last layer is not normalised."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for inputs in (64, WIDTH, WIDTH):
        weight = torch.randn(WIDTH, inputs, generator=draw) * DEVIATION
        found.append(Layer(weight, torch.zeros(WIDTH), torch.ones(WIDTH), torch.zeros(WIDTH)))
    return [*found, Layer(torch.randn(10, WIDTH, generator=draw) * DEVIATION, torch.zeros(10))]


def outputs(network: list[Layer], x: Tensor, constant: Constant) -> Tensor:
    """Logits (n, 10) by the batch's statistics."""
    h = x
    for weight, bias, gamma, beta in network:
        z = h @ weight.T + bias
        if gamma is None or beta is None:
            return z
        mean = z.mean(0).detach() if constant == "mean" else z.mean(0)
        deviation = ((z - z.mean(0)).square().mean(0) + EPS).sqrt()
        if constant == "deviation":
            deviation = deviation.detach()
        h = torch.sigmoid(gamma * (z - mean) / deviation + beta)
    raise AssertionError("no last layer")


def descent(data: Digits, seed: int, constant: Constant, steps: int, size: int | None, biases_alone: bool) -> Grown:
    """Plain descent of rate 0.1 on batches of this size, drawn with replacement; None: on all training samples."""
    network = layers(seed)
    hidden = [layer.bias for layer in network[:-1]]
    trained = hidden if biases_alone else [part for layer in network for part in layer if part is not None]
    for part in trained:
        part.requires_grad_()
    draw = torch.Generator().manual_seed(1000 + seed)
    norms, losses = [], []
    for _ in range(steps):
        chosen = torch.randint(len(data.y), (size,), generator=draw) if size else slice(None)
        loss = functional.cross_entropy(outputs(network, data.x[chosen], constant), data.y[chosen])
        norms.append(torch.stack([bias.detach().norm() for bias in hidden]))
        losses.append(loss.detach())
        for part, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
            part.data -= RATE * gradient
    return Grown(torch.stack(norms), torch.stack(losses))


def exponent(grown: Grown) -> float:
    """Least-squares slope of log ||b|| on log step, median over layers: 1 is growth in proportion to the step."""
    steps = torch.arange(1, len(grown.norms)).double().log()
    x = steps - steps.mean()
    slopes = [float((x * norms[1:].double().log()).sum() / x.square().sum()) for norms in grown.norms.T]
    return statistics.median(slopes)


def growth(grown: Grown) -> float:
    """||b|| in the last third of training over that in the first, each the median over steps and layers.

    With nothing, or the deviation alone, outside of the gradient step it is a quotient of rounding errors.
    """
    third = len(grown.norms) // 3
    late, early = grown.norms[-third:], grown.norms[:third]
    return float(late.median(0).values.median() / early.median(0).values.median())


def main() -> None:
    """Prints both, with what is outside of the gradient step and six seeds."""
    torch.set_num_threads(1)
    data = digits()
    for constant in CONSTANTS:
        alone = [descent(data, seed, constant, 200, None, biases_alone=True) for seed in range(6)]
        told = [f"{exponent(one):.4f}" if one.norms[-1].max() > 1e-4 else "stays" for one in alone]
        moved = max(float((one.losses / one.losses[0] - 1).abs().max()) for one in alone)
        print(f"biases alone, {constant} outside: exponents {told}; loss moves by {moved:.1e} at most;", end=" ")
        print("||b|| at the end", [float(f"{float(one.norms[-1].median()):.2g}") for one in alone])
    for constant in CONSTANTS:
        every = [descent(data, seed, constant, 1000, SIZE, biases_alone=False) for seed in range(6)]
        ends = [float(one.norms[-1].median()) for one in every]
        ratios = [round(growth(one), 2) if end > 1e-4 else math.nan for one, end in zip(every, ends, strict=True)]
        left = [round(float(one.losses[-20:].median() / one.losses[0]), 3) for one in every]
        print(f"everything, {constant} outside: last third / first {ratios};", end=" ")
        print(f"loss left {left}; ||b|| at the end", [float(f"{end:.2g}") for end in ends])


if __name__ == "__main__":
    main()
