"""The spectrum against another library: curvlinops's operator, its eigenvalues by scipy's eigsh."""

from __future__ import annotations

import copy
import fnmatch
import warnings

import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from experiments.data.batches import DataSpec
from experiments.models import build_model
from probes import Objective, Spectrum, statistics
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step
from tests.test_probes_spectrum import CASES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what that library uses of torch
    from curvlinops import HessianLinearOperator

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

IMAGES = DataSpec((1, 8, 8), 3, "classification")


def images():
    g = torch.Generator().manual_seed(0)
    return torch.randn(12, 1, 8, 8, generator=g, dtype=torch.float64), torch.arange(12) % 3


def vgg():
    return build_model({"name": "vgg_small", "width": 0.0625}, {"name": "batch"}, IMAGES, 1)


NETWORKS = {**{name: (make, data, None) for name, (make, data, patterns) in CASES.items() if patterns is None},
            "vgg_small, one layer": (vgg, images, ("conv2.*",))}  # fmt: skip


class Written(nn.Module):
    """Batch normalisation in training mode by single operations: the library differentiates forward through the
    backward pass, which torch's own kernel answers with numbers that are 1 % off those of finite differences.
    """

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x):
        dims, shape = [d for d in range(x.ndim) if d != 1], (1, -1, *[1] * (x.ndim - 2))
        centred = x - x.mean(dims, keepdim=True)
        normal = centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + self.eps)
        return normal * self.weight.view(shape) + self.bias.view(shape)


def operator(network, batch, patterns):
    network = copy.deepcopy(network)
    for name, module in [*network.named_modules()] if network.training else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            network.set_submodule(name, Written(module))
    named = network.named_parameters()
    parameters = [p for name, p in named if patterns is None or fnmatch.fnmatch(name, patterns[0])]
    loss = nn.CrossEntropyLoss()
    return HessianLinearOperator(network, loss, parameters, [batch], check_deterministic=False).to_scipy()


def found_by_us(network, batch, probe):
    network = copy.deepcopy(network)
    engine = build(network, Objective(CROSS_ENTROPY), {"s": probe}, example=batch, learning_rate=0.1)
    with engine.around(0, batch) as forward:
        train_step(forward, network, engine.objective, sgd(network, 0.1), batch, 7, 0)
    return engine.records[0][2]


@pytest.mark.parametrize("case", list(NETWORKS))
def test_eigenvalues_are_curvlinopss(case):
    """With batch normalisation in training mode."""
    make, data, patterns = NETWORKS[case]
    network, batch = make().double().train(), data()
    theirs = operator(network, batch, patterns)
    largest, smallest = (eigsh(theirs, k=k, which=which, tol=1e-9)[0] for k, which in ((4, "LA"), (2, "SA")))
    probe = Spectrum(largest=4, smallest=2, tolerance=1e-7, products=400, parameters=patterns)
    found = found_by_us(network, batch, probe)
    close = {"rtol": 1e-7, "atol": 1e-8 * float(largest.max())}
    torch.testing.assert_close(found["largest_eigenvalues"], torch.tensor(sorted(largest)[::-1]), **close)
    torch.testing.assert_close(found["smallest_eigenvalues"], torch.tensor(sorted(smallest)), **close)


def test_by_running_statistics_it_is_that_of_evaluation_mode():
    network, batch = vgg().double(), images()
    with statistics.taken_from("batch"):
        network(batch[0])
    for _ in range(3):
        network.train()(batch[0] + 0.3)
    evaluated = copy.deepcopy(network).eval()
    largest = eigsh(operator(evaluated, batch, None), k=3, which="LA", tol=1e-9)[0]
    probe = Spectrum(largest=3, tolerance=1e-7, products=400, statistics="running")
    found = found_by_us(network, batch, probe)["largest_eigenvalues"]
    torch.testing.assert_close(found, torch.tensor(sorted(largest)[::-1]), rtol=1e-7, atol=1e-9)
