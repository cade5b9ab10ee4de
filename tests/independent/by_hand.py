"""Two results once more, by a script that imports nothing of the suite: numpy, gradients written out by hand.

    python tests/independent/by_hand.py     # two minutes

1. Full-batch gradient descent of rate lr settles where the largest eigenvalue of the Hessian is 2 / lr, with batch
   normalisation as without (Cohen et al. 2021).
2. With batch normalisation, training on data that were shuffled once ends at a greater loss over all training samples
   than on data that are shuffled in every epoch, and without it does not (Wu, Yun & Sra 2023).
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits

EPS = 1e-5
PIXELS, CLASSES = 64, 10


def initial(widths: list[int], normalised: bool, draw: np.random.Generator) -> list[np.ndarray]:
    """Layer by layer W [out, in] (Glorot), b [out], and of normalised hidden layers gamma, beta [out]."""
    found: list[np.ndarray] = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        limit = np.sqrt(6 / (inputs + outputs))
        found += [draw.uniform(-limit, limit, (outputs, inputs)), np.zeros(outputs)]
        if normalised and i < len(widths) - 2:
            found += [np.ones(outputs), np.zeros(outputs)]
    return found


def loss_and_gradient(
    theta: list[np.ndarray], x: np.ndarray, y: np.ndarray, normalised: bool, tanh: bool, squared: bool
) -> tuple[float, list[np.ndarray]]:
    """Mean over samples of half the squared error, or of the cross-entropy; x [n, in], y one-hot [n, out]."""
    n, kept, h = len(x), [], x
    layers, place = [], 0
    while place < len(theta):
        last = place + 2 >= len(theta)
        size = 2 if last or not normalised else 4
        layers.append(theta[place : place + size])
        place += size
    for parts in layers:
        z = h @ parts[0].T + parts[1]
        if len(parts) == 4:
            centred = z - z.mean(0)
            root = np.sqrt((centred**2).mean(0) + EPS)
            unit = centred / root
            z = parts[2] * unit + parts[3]
        else:
            root = unit = np.empty(0)
        out = z if parts is layers[-1] or not tanh else np.tanh(z)
        kept.append((h, root, unit, out))
        h = out
    if squared:
        loss, back = float(((h - y) ** 2).sum() / (2 * n)), (h - y) / n
    else:
        shifted = h - h.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        loss, back = float(-(logs * y).sum() / n), (np.exp(logs) - y) / n
    gradient: list[np.ndarray] = []
    for parts, (h, root, unit, out) in zip(reversed(layers), reversed(kept), strict=True):
        if parts is not layers[-1] and tanh:
            back = back * (1 - out**2)
        own: list[np.ndarray] = []
        if len(parts) == 4:
            own = [(back * unit).sum(0), back.sum(0)]
            back = back * parts[2]
            back = (back - back.mean(0) - unit * (back * unit).mean(0)) / root
        gradient = [back.T @ h, back.sum(0), *own, *gradient]
        back = back @ parts[0]
    return loss, gradient


def sharpness(gradient_at, theta: list[np.ndarray], start: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest eigenvalue (algebraically) of the Hessian, and its vector; products by central differences."""
    sizes = [part.size for part in theta]
    flat = np.concatenate([part.ravel() for part in theta])

    def shaped(vector: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum(sizes)[:-1]
        return [part.reshape(one.shape) for part, one in zip(np.split(vector, ends), theta, strict=True)]

    def product(v: np.ndarray) -> np.ndarray:
        v = v.ravel()
        step = 1e-4 / max(float(np.linalg.norm(v)), 1e-30)
        ends = [np.concatenate([g.ravel() for g in gradient_at(shaped(flat + s * step * v))]) for s in (1, -1)]
        return (ends[0] - ends[1]) / (2 * step)

    operator = LinearOperator((flat.size, flat.size), matvec=product, dtype=np.float64)
    values, vectors = eigsh(operator, k=1, which="LA", v0=start, tol=1e-3)
    return float(values[0]), vectors[:, 0]


def digits(count: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """So many of scikit-learn's digits, drawn at random: pixels in [0, 1], labels as one-hot rows."""
    images, labels = load_digits(return_X_y=True)
    chosen = draw.permutation(len(images))[:count]
    return images[chosen] / 16, np.eye(CLASSES)[labels[chosen]]


def at_the_edge(normalised: bool, rate: float, seed: int, steps: int = 1000, every: int = 25) -> float:
    """Median of lr x sharpness over the last half of full-batch gradient descent: tanh, 64-100-100-10, 500 digits."""
    draw = np.random.default_rng(seed)
    x, y = digits(500, draw)
    x = x - x.mean(0)
    theta = initial([PIXELS, 100, 100, CLASSES], normalised, draw)

    def gradient_at(parts: list[np.ndarray]) -> list[np.ndarray]:
        return loss_and_gradient(parts, x, y, normalised, tanh=True, squared=True)[1]

    vector, found = draw.standard_normal(sum(part.size for part in theta)), []
    for step in range(steps):
        if step >= steps // 2 and step % every == 0:
            value, vector = sharpness(gradient_at, theta, vector)
            found.append(rate * value)
        theta = [part - rate * g for part, g in zip(theta, gradient_at(theta), strict=True)]
    return float(np.median(found))


def final_loss(normalised: bool, once: bool, seed: int, epochs: int = 250, size: int = 16, rate: float = 0.1) -> float:
    """Median, over the last tenth of epochs, of the loss of all 512 digits as one batch: linear 64-32-32-10."""
    draw = np.random.default_rng(seed)
    x, y = digits(512, draw)
    x = (x - x.mean()) / x.std()
    theta = initial([PIXELS, 32, 32, CLASSES], normalised, draw)
    order, losses = draw.permutation(len(x)), []
    for _ in range(epochs):
        order = order if once else draw.permutation(len(x))
        for batch in order.reshape(-1, size):
            _, gradient = loss_and_gradient(theta, x[batch], y[batch], normalised, tanh=False, squared=False)
            theta = [part - rate * g for part, g in zip(theta, gradient, strict=True)]
        losses.append(loss_and_gradient(theta, x, y, normalised, tanh=False, squared=False)[0])
    return float(np.median(losses[-epochs // 10 :]))


def main() -> None:
    """Prints both results, seed by seed."""
    for normalised in (False, True):
        name = "batch" if normalised else "none"
        print(f"lr x sharpness, {name}, lr 0.2:", [round(at_the_edge(normalised, 0.2, seed), 3) for seed in range(3)])
    for normalised in (False, True):
        name = "batch" if normalised else "none"
        ratios = [final_loss(normalised, True, seed) / final_loss(normalised, False, seed) for seed in range(3)]
        print(f"loss shuffled once / in every epoch, {name}:", [round(ratio, 3) for ratio in ratios])


if __name__ == "__main__":
    main()
