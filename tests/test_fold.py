"""Normalisations folded into their layers: the same function to rounding, or a refusal."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from experiments.data.torchvision_import import import_torchvision
from experiments.errors import WrongInput
from experiments.models import build_model
from experiments.norms import apply_norm
from experiments.norms.fold import fold
from probes import statistics
from probes.randomness import at_step
from tests.test_models import DIGITS, SPECS, build, inputs_for

NORMS: dict[str, dict[str, Any]] = {
    **{name: {"name": name} for name in ("batch", "noisy_batch", "batch_renorm", "l1", "l2", "linf", "whitening")},
    "uncentred": {"name": "batch", "center": False, "affine": False},
    "ghost": {"name": "batch", "per": "ghost", "ghost_size": 2},
    "running": {"name": "batch", "statistics": "running"},
    "population": {"name": "batch", "statistics": "population"},
}


def lived_in(network: nn.Module, *shape: int) -> nn.Module:
    """With running statistics, gammas, betas and biases that are nobody's defaults."""
    generator = torch.Generator().manual_seed(0)
    for step in range(3):
        x = torch.randn(16, *shape, generator=generator) * 2 + 1
        with statistics.of_population(network.train(), x), at_step(0, step):
            network(x)
    with torch.no_grad():
        for module in network.modules():
            if hasattr(module, "num_batches_tracked") and module.weight is not None:
                module.weight.uniform_(0.5, 2.0, generator=generator)
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(generator=generator)
    return network


def same_function(network: nn.Module, x: torch.Tensor, tolerance: float = 1e-10) -> nn.Module:
    network = network.double()
    state = copy.deepcopy(network.state_dict())
    folded = fold(network)
    assert not any("running" in name for name, _ in folded.named_buffers())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    expected = copy.deepcopy(network).eval()(x.double())
    torch.testing.assert_close(folded(x.double()), expected, rtol=tolerance, atol=tolerance)
    trained = copy.deepcopy(network).train()
    with statistics.taken_from("batch"):
        assert (trained(x.double()) - expected).abs().max() > 1e-3
    return folded


@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize("model", ["vgg_small", "mlp", "deep_linear"])
def test_outputs_change_by_rounding_only(model: str, norm: str) -> None:
    options: dict[str, Any] = {"width": 0.25} if model == "vgg_small" else {}
    spec = SPECS[model]
    same_function(lived_in(build(model, NORMS[norm], **options), *spec.input_shape), inputs_for(spec, 8))


def test_in_float32_it_is_rounding_too() -> None:
    network = lived_in(build("vgg_small", {"name": "batch"}), 1, 8, 8).eval()
    x = inputs_for(DIGITS, 8)
    exact = copy.deepcopy(network).double()(x.double())
    error, rounding = ((f(x) - exact).abs().max().item() for f in (fold(network), network))
    assert error < 4 * rounding


@pytest.mark.long
def test_a_residual_network_of_torchvisions() -> None:
    resnet = import_torchvision().models.resnet18(num_classes=4)
    folded = same_function(lived_in(resnet, 3, 32, 32), torch.randn(2, 3, 32, 32))
    assert sum(isinstance(module, nn.Identity) for module in folded.modules()) == 20


def test_given_statistics_are_folded_where_the_context_gives_them() -> None:
    network, other = (lived_in(build("mlp", {"name": "batch"}, seed=s), 1, 8, 8).eval() for s in (0, 1))
    x = inputs_for(DIGITS)
    given = {key: value for key, value in other.named_buffers() if "running" in key}
    with statistics.taken_from(given):
        folded, expected = fold(network), network(x)
    torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-5)
    assert (network(x) - expected).abs().max() > 1e-2
    with statistics.taken_from("batch"), pytest.raises(WrongInput, match=r"^fold: fc1.norm is no affine map of each"):
        fold(network)


def test_normalisations_without_running_statistics_stay() -> None:
    network = build("mlp", {"name": "layer"})
    assert isinstance(fold(network).fc1.norm, nn.LayerNorm)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return self.norm(y) + y


class Branches(Shared):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x)) if x.sum() > 0 else x


def test_what_cannot_be_folded_is_named() -> None:
    line = "^fold: {} does not follow a linear layer or convolution of its own, so it cannot"
    after = build("mlp", {"name": "batch"}, placement="after")
    with pytest.raises(WrongInput, match=line.format("fc1.norm")):
        fold(after)
    with pytest.raises(WrongInput, match=line.format("norm")):
        fold(Shared())
    with pytest.raises(WrongInput, match=line.format("0.norm")):
        fold(nn.Sequential(apply_norm(None, "batch", units=3, dims=1), nn.Linear(3, 2)))
    twice = nn.Linear(3, 3)
    with pytest.raises(WrongInput, match=line.format("1")):
        fold(nn.Sequential(twice, nn.BatchNorm1d(3), twice))
    with pytest.raises(WrongInput, match=r"^fold: Branches cannot be traced: symbolically traced variables"):
        fold(Branches())
    domains = build_model({"name": "mlp"}, {"name": "batch", "per": "domain", "running": "domain"}, DIGITS, 0)
    with statistics.in_domain(1):
        x = inputs_for(DIGITS)
        torch.testing.assert_close(fold(domains)(x), domains.eval()(x))  # of one domain at a time
