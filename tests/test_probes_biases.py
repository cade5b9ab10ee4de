"""Biases, against plain arithmetic on copies; closed forms before a normalisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from experiments.norms.batch import batch as batch_norm
from probes import Biases, Objective, ProbeError
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step


def network_of(detach: str = "none") -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)]
    made: list[nn.Module] = []
    for layer in layers[:-1]:
        made += [layer, batch_norm(layer, detach=detach, eps=1e-12), nn.Sigmoid()]
    return nn.Sequential(*made, layers[-1]).double()


def data(n: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=generator).double(), torch.randint(3, (n,), generator=generator)


def trained(network: nn.Module, steps: int, lr: float = 0.3) -> list[dict[str, list[float]]]:
    engine = build(network, Objective(CROSS_ENTROPY), {"b": Biases()}, example=data(), learning_rate=lr)
    optimiser = sgd(network, lr)
    for step in range(steps):
        with engine.around(step, data()) as forward:
            train_step(forward, network, engine.objective, optimiser, data(), 7, step)
    return [{key: value.tolist() for key, value in found.items()} for _, _, found in engine.records]


@pytest.mark.parametrize("reuse", [True, False])
def test_biases_are_plain_arithmetic(reuse: bool) -> None:
    network, objective = twin.conv_net("none").double(), Objective(CROSS_ENTROPY, 1e-2)
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    engine = build(network, objective, {"b": Biases()}, example=batch, learning_rate=0.3, reuse_training_pass=reuse)
    optimiser = sgd(network, 0.3)
    for step in (0, 1):
        before = twin.Snapshot(network, objective, 7, step)
        start = {n: p.detach().clone() for n, p in network.named_parameters()}
        with engine.around(step, batch) as forward:
            train_step(forward, network, objective, optimiser, batch, 7, step)
    gradients, found = before.run(batch)[2], engine.records[-1][2]
    blocks = [block for block in twin.BLOCKS if f"{block}.layer.bias" in start]
    assert engine.fields()["b"]["bias_norm"]["layer"] == blocks
    for i, block in enumerate(blocks):
        pull, weight = (gradients[f"{block}.layer.{which}"].norm().item() for which in ("bias", "weight"))
        expected = {
            "bias_norm": start[f"{block}.layer.bias"].norm().item(),
            "bias_gradient_norm": pull,
            "bias_gradient_share": pull / weight,
        }
        for key, value in expected.items():
            assert found[key][i].item() == pytest.approx(value, rel=1e-6), (block, key)


def test_before_a_normalisation_a_bias_is_idle_unless_its_mean_is_detached() -> None:
    first = trained(network_of(), 1)[0]
    assert max(first["bias_gradient_share"][:2]) < 1e-12
    assert first["bias_gradient_share"][2] > 0.1  # no normalisation follows
    detached = trained(network_of("mean"), 1)[0]
    assert min(detached["bias_gradient_share"][:2]) > 0.01


def test_with_a_detached_mean_and_nothing_else_trained_a_bias_walks_on_a_straight_line() -> None:
    network = network_of("mean")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in ("0.bias", "3.bias"))
        if name in ("0.bias", "3.bias"):
            nn.init.zeros_(parameter)
    found = trained(network, 4)
    for layer in (0, 1):
        lengths = [one["bias_norm"][layer] for one in found]
        assert lengths[1] > 0
        assert lengths == pytest.approx([lengths[1] * step for step in range(4)], rel=1e-6)
    assert all(math.isnan(share) for one in found for share in one["bias_gradient_share"])


def test_a_layer_without_a_trained_bias_is_refused() -> None:
    network = network_of()
    network[0].bias.requires_grad_(False)  # type: ignore[union-attr]
    with pytest.raises(ProbeError, match="biases: layer '0' has no trained bias"):
        build(network, None, {"b": Biases(layers=("0",))}, example=data())
    assert build(network, None, {"b": Biases()}, example=data()).fields()["b"]["bias_norm"]["layer"] == ["3", "6"]
    none = build(nn.Sequential(nn.Linear(6, 3, bias=False)), None, {"b": Biases()}, example=data())
    assert none.fields()["b"] == {}
    assert "b: no layer has a trained bias" in none.describe()
