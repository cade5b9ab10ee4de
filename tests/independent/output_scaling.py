"""The largest eigenvalue at initialisation, the output normalised in part; imports nothing of the suite.

    python tests/independent/output_scaling.py     # two minutes

A relu network from He's weights on 512 digits, cross-entropy. "Scaling only" can be two things: dividing by the
deviation about the mean, which is left in, or by the root of the mean square, as the suite's `norm.center=false` does.
"""

from __future__ import annotations

import itertools

import torch
from sklearn.datasets import load_digits
from torch import Tensor

EPS = 1e-5
WIDTH, SAMPLES = 100, 512
STEPS = 60
KINDS = ("none", "centring", "by deviation", "by root mean square", "whole")


def normalised(z: Tensor, kind: str) -> Tensor:
    """Logits [n, classes] of a batch, normalised in part."""
    mean = z.mean(0)
    deviation, root = ((z - mean).square().mean(0) + EPS).sqrt(), (z.square().mean(0) + EPS).sqrt()
    forms = {"none": z, "centring": z - mean, "by deviation": z / deviation, "by root mean square": z / root}
    return forms.get(kind, (z - mean) / deviation)


def largest(kind: str, depth: int, seed: int) -> float:
    """The largest eigenvalue (algebraically) of the Hessian, by power iteration; shifted where that is negative."""
    draw = torch.Generator().manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    chosen = torch.randperm(len(images), generator=draw)[:SAMPLES]
    x, y = torch.tensor(images)[chosen].double(), torch.tensor(labels)[chosen]
    h = (x - x.mean()) / x.std()
    sizes = [x.shape[1], *[WIDTH] * depth, 10]
    parameters: list[Tensor] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weight = torch.randn(outputs, inputs, generator=draw, dtype=torch.float64) * (2 / inputs) ** 0.5
        parameters += [weight.requires_grad_(), torch.zeros(outputs, dtype=torch.float64, requires_grad=True)]
        z = h @ parameters[-2].T + parameters[-1]
        h = normalised(z, kind) if place == depth else z.relu()
    loss = torch.nn.functional.cross_entropy(h, y)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    v = [torch.randn(p.shape, generator=draw, dtype=torch.float64) for p in parameters]
    shift, found = 0.0, 0.0
    for _ in range(2):
        for _ in range(STEPS):
            length = torch.stack([one.square().sum() for one in v]).sum().sqrt()
            v = [one / length for one in v]
            products = torch.autograd.grad(gradient, parameters, v, retain_graph=True)
            moved = [product + shift * one for product, one in zip(products, v, strict=True)]
            found = float(torch.stack([(a * b).sum() for a, b in zip(moved, v, strict=True)]).sum()) - shift
            v = [one.detach() for one in moved]
        if found > 0:
            break
        shift = abs(found)
    return found


def main() -> None:
    """Prints the eigenvalue of each kind at depths 3 and 6, four seeds."""
    torch.set_num_threads(1)
    for depth in (3, 6):
        for kind in KINDS:
            print(depth, kind, [round(largest(kind, depth, seed), 1) for seed in range(4)])


if __name__ == "__main__":
    main()
