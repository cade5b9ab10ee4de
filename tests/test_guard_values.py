"""Counted once, whatever the type of a weight; batches, targets and gradients of any shape; against full copies."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from probes import Gradients, Landscape, Objective, ProbeError, Probes

CROSS_ENTROPY = nn.functional.cross_entropy


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X, Y = drawn(12, 6), torch.arange(12) % 3
TOKENS = torch.arange(36).reshape(12, 3) % 10


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6, bias=False), nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.b(torch.relu(self.a(x))))


class Spectral(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 4, dtype=torch.cfloat))

    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x) @ self.w, n=6)


class OfDicts(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, given):
        return {"logits": self.linear(given["x"]) * given["scale"]}


def frozen():
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    network[0].requires_grad_(False)
    return network


def partly_frozen():
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    network[0].weight.requires_grad_(False)
    network[2].requires_grad_(False)
    return network


def mixed(output, targets):
    return targets[2] * CROSS_ENTROPY(output, targets[0]) + (1 - targets[2]) * CROSS_ENTROPY(output, targets[1])


CASES = {
    "frozen": (frozen, (X, Y), CROSS_ENTROPY, ["0.weight", "2.weight"]),
    "partly frozen": (partly_frozen, (X, Y), CROSS_ENTROPY, ["0.weight", "2.weight", "4.weight"]),
    "tied": (Tied, (X, Y), CROSS_ENTROPY, ["a.weight", "a.weight", "head.weight"]),
    "complex": (lambda: nn.Sequential(nn.Linear(6, 6), Spectral(), nn.Linear(6, 3)), (X, Y), CROSS_ENTROPY,
                ["0.weight", "1.w", "2.weight"]),
    "complex first": (lambda: nn.Sequential(Spectral(), nn.Linear(6, 3)), (X, Y), CROSS_ENTROPY, ["0.w", "1.weight"]),
    "sparse": (lambda: nn.Sequential(nn.EmbeddingBag(10, 4, sparse=True), nn.Linear(4, 3)), (TOKENS, Y), CROSS_ENTROPY,
               ["0.weight", "1.weight"]),
    "sparse, a mean": (lambda: nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Flatten(), nn.Linear(12, 3)),
                       (TOKENS, Y), CROSS_ENTROPY, ["0.weight", "2.weight"]),
    "targets of mixup": (lambda: nn.Sequential(nn.Linear(6, 3)), (X, (Y, Y.flip(0), 0.3)), mixed, ["0.weight"]),
    "no targets": (lambda: nn.Sequential(nn.Linear(6, 3)), (X, None), lambda o, t: o.square().mean(), ["0.weight"]),
    "dicts": (OfDicts, ({"x": X, "scale": 2.0}, {"y": Y}), lambda o, t: CROSS_ENTROPY(o["logits"], t["y"]),
              ["linear.weight"]),
    "float targets": (lambda: nn.Sequential(nn.Linear(6, 2)), (X, (drawn(12, 2), {"w": drawn(12, 2, seed=1)})),
                      lambda o, t: (t[1]["w"] * (o - t[0])).square().mean(), ["0.weight"]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("kind", list(CASES))
def test_norms_losses_and_gradients_are_those_of_a_full_copy(kind, reuse, dtype):
    make, batch, loss, weights = CASES[kind]
    torch.manual_seed(3)
    network = make()
    before = copy.deepcopy(network)
    probes = Probes(network, Objective(loss), {"g": Gradients(), "l": Landscape(multiples=(0.5,), random=1)}, batch,
                    learning_rate=0.1, every=1, reuse_training_pass=reuse, dtype=dtype)  # fmt: skip
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    with probes.around(0, batch) as forward:
        optimiser.zero_grad()
        value = loss(forward(batch[0]), batch[1])
        value.backward()
        optimiser.step()
    found = {name: values for name, _, values in probes.records}

    loss(before(batch[0]), batch[1]).backward()
    start, end = dict(before.named_parameters()), dict(network.named_parameters())
    dense = lambda g: g.to_dense() if g.is_sparse else g  # noqa: E731
    gradients = {n: dense(p.grad).to(torch.complex128) for n, p in start.items() if p.grad is not None}
    length = lambda tensors: math.sqrt(sum(x.abs().double().square().sum().item() for x in tensors))  # noqa: E731
    close = {"rel": 1e-5, "abs": 1e-7}
    assert found["l"]["loss_before"].item() == pytest.approx(value.item(), **close)
    assert found["l"]["gradient_norm"].item() == pytest.approx(length(gradients.values()), **close)
    for place, name in enumerate(weights):
        assert found["g"]["weight_norm"][place].item() == pytest.approx(length([start[name]]), **close), name
        norm, product = (found["g"][key][place].item() for key in ("gradient_norm", "weight_gradient_product"))
        if start[name].requires_grad:
            assert norm == pytest.approx(length([gradients[name]]), **close)
            both = (start[name].detach().to(torch.complex128).conj() * gradients[name]).sum().real.item()
            assert product == pytest.approx(both, **close)
        else:
            assert math.isnan(norm)
            assert math.isnan(product)
            assert found["g"]["relative_update"][place] == 0
    trained = [n for n, p in start.items() if p.requires_grad]
    assert found["g"]["total_parameter_norm"].item() == pytest.approx(length(start[n] for n in trained), **close)
    moved = length(end[n].detach() - start[n].detach() for n in trained)
    assert found["g"]["update_norm"].item() == pytest.approx(moved, rel=1e-4)
    walked = copy.deepcopy(before)
    with torch.no_grad():
        for n, p in walked.named_parameters():
            if n in gradients:
                p -= 0.05 * dense(start[n].grad)
    there = loss(walked(batch[0]), batch[1]).item()
    assert found["l"]["landscape_loss"].item() == pytest.approx(there, rel=1e-4)


class Uncentred(nn.Module):
    """Divides by the root mean square; its mean is a constant, spelled in one of several ways."""

    def __init__(self, constant):
        super().__init__()
        self.constant = constant

    def forward(self, x):
        return (x - self.constant(x)) / (x.square().mean(0) + 1e-5).sqrt()


CONSTANTS = {
    "zeros_like": lambda x: torch.zeros_like(x).mean(0),
    "new_zeros": lambda x: x.new_zeros(x.shape[1]),
    "full_like": lambda x: torch.full_like(x, 0.5)[0],
    "new_tensor": lambda x: x.new_tensor(0.25),
}


@pytest.mark.parametrize("name", list(CONSTANTS))
def test_a_constant_mean_stops_no_gradient(name):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 6), Uncentred(CONSTANTS[name]), nn.Tanh(), nn.Linear(6, 3)).double()
    found = {}
    for limit in ("hessian", "difference"):
        own, batch = copy.deepcopy(network), (X.double(), Y)
        probes = Probes(own, Objective(CROSS_ENTROPY), {"l": Landscape(limit=limit)}, batch, learning_rate=0.1, every=1)
        with probes.around(0, batch):
            CROSS_ENTROPY(own(batch[0]), Y).backward()
        found[limit] = probes.records[0][2][f"effective_beta_limit_by_{limit}"].item()
    assert found["hessian"] == pytest.approx(found["difference"], rel=1e-5)


def test_a_mean_that_is_taken_for_a_constant_still_stops_gradients():
    for stopped in (lambda x: x.detach().mean(0), lambda x: torch.zeros_like(x) + x.detach()):
        network = nn.Sequential(nn.Linear(6, 6), Uncentred(stopped), nn.Linear(6, 3))
        with pytest.raises(ProbeError, match=r"'1' .* stops gradients"):
            Probes(network, Objective(CROSS_ENTROPY), {"l": Landscape(limit="hessian")}, (X, Y), learning_rate=0.1)


class Attention(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).mean(1))


@pytest.mark.parametrize("heads", [1, 2])
def test_a_fused_attention_without_a_second_derivative_is_one_line(heads):
    given = Objective(CROSS_ENTROPY), {"l": Landscape(limit="hessian")}, (drawn(12, 5, 8), Y)
    with pytest.raises(ProbeError, match=r"no second derivative .*sdpa_kernel") as caught:
        Probes(Attention(heads), *given, learning_rate=0.1)
    assert "\n" not in str(caught.value)
    with sdpa_kernel(SDPBackend.MATH):
        assert Probes(Attention(heads), *given, learning_rate=0.1).plan.passes > 0
