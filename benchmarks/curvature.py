"""What the Hessian's largest eigenvalues cost: in products, in the time of plain double backward passes, and elsewhere.

    python benchmarks/curvature.py [--model vgg_small] [--rounds 3] [--steps 20] [--tolerance 0.01] [--batch 32]

On one network, after some steps of training and on one batch: the time of a product with the Hessian over that of
torch's own double backward; the time of the five largest eigenvalues over that of as many products; products of a warm
start, one training step later, over those of a cold one; and the same eigenvalues by curvlinops's operator with scipy's
eigsh, at the residual that ours has reached.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from curvlinops import HessianLinearOperator
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

import experiments
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.train import Training, train_step
from probes import Probes, Spectrum
from probes.engine.curvature import Curvature

DATA = {"vgg_small": ["data=digits"], "vgg11": ["data=cifar10"]}


def seconds(run: Callable[[], Any]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def double_backward(training: Training, batch: Any) -> Callable[[], Any]:
    """A product with the Hessian as torch's own tutorial writes it, its first pass done."""
    network = training.network
    parameters = list(network.parameters())
    loss = training.objective(network, network, batch.inputs, batch.targets).total
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    vector = [torch.randn_like(parameter) for parameter in parameters]
    return lambda: torch.autograd.grad(first, parameters, vector, retain_graph=True)


def with_curvlinops(training: Training, batch: Any, count: int, tolerance: float) -> tuple[float, int]:
    """Seconds and products of scipy's eigsh on curvlinops's operator.

    Its derivatives allow no buffer to move, so it gets a copy without running statistics.
    """
    network = copy.deepcopy(training.network)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean = module.running_var = module.num_batches_tracked = None
    parameters = [p for p in network.parameters() if p.requires_grad]
    data, loss = [(batch.inputs, batch.targets)], torch.nn.CrossEntropyLoss()
    operator = HessianLinearOperator(network, loss, parameters, data, check_deterministic=False).to_scipy()
    products = 0

    def counted(v: Any) -> Any:
        nonlocal products
        products += 1
        return operator @ v

    wrapped = LinearOperator(operator.shape, matvec=counted, dtype=operator.dtype)
    return seconds(lambda: eigsh(wrapped, k=count, which="LA", tol=tolerance)), products


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vgg_small", choices=list(DATA))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--batch", type=int, default=32, help="samples")
    options = parser.parse_args()
    torch.set_num_threads(1)
    overrides = [f"model={options.model}", "norm=batch", "optim.lr=0.01", *DATA[options.model]]
    overrides.append(f"optim.batch_size={options.batch}")
    config = plain_config(experiments.compose(overrides))
    data = load_data(config["data"], 0, config["optim"]["batch_size"], torch.device("cpu"), stand_in=True)
    training = build_training(config, data, torch.device("cpu"), lambda *a: None)
    for step in range(options.steps):
        train_step(training, training.network, data.batch(step))
    batch = data.batch(options.steps)
    spent: list[float] = []
    inner = Curvature.hessian

    def timed(self: Curvature, v: Tensor) -> Tensor:
        begun = time.perf_counter()
        result = inner(self, v)
        spent.append(time.perf_counter() - begun)
        return result

    Curvature.hessian = timed  # type: ignore[method-assign]
    rate = config["optim"]["lr"]
    example, probe = data.batch(0), {"spectrum": Spectrum(tolerance=options.tolerance)}

    def probes() -> Probes:
        return Probes(training.network, training.objective, probe, example, learning_rate=rate, every=1)

    product, whole = [], []
    for _ in range(options.rounds):
        plain = double_backward(training, batch)
        plain()
        by_hand = statistics.median(seconds(plain) for _ in range(5))
        measured = probes()
        spent.clear()
        with measured.around(0, batch):
            begun = time.perf_counter()
        took = time.perf_counter() - begun
        product.append(statistics.median(spent) / by_hand)
        whole.append(took / sum(spent))
    numbers = sum(parameter.numel() for parameter in training.network.parameters())
    print(f"{options.model}: {numbers:,} parameters, {len(batch.inputs)} samples")
    print(f"a product / torch's double backward: {statistics.median(product):.2f}")
    print(f"five eigenvalues, all that it takes / their products: {statistics.median(whole):.2f} ({took:.2f} s)")
    train_step(training, training.network, batch)
    with measured.around(1, batch):
        pass
    warm = measured.records[-1][2]
    fresh = probes()
    with fresh.around(1, batch):
        pass
    again = fresh.records[-1][2]
    counts = [int(values["hessian_products"]) for values in (warm, again)]
    print(f"one step later, products warm / cold: {counts[0]} / {counts[1]}")
    residual = float(again["largest_residuals"].max() / again["largest_eigenvalues"][0])
    others = with_curvlinops(training, batch, 5, max(residual, 1e-6))
    print(f"ours / curvlinops with eigsh, wall time: {took / others[0]:.2f} ({others[1]} products there)")


if __name__ == "__main__":
    main()
