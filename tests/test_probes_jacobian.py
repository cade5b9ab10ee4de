"""Singular values of maps between taps, against torch.autograd.functional.jacobian of the modules in between."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from probes import Jacobian, Objective, ProbeError
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step


def data(n=8, seed=1):
    return twin.image_batch(n, seed)[0].double(), twin.image_batch(n, seed)[1]


def held(norm, x):
    """The module that is left of a batch normalisation whose statistics on ``x`` are constants."""
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean, sigma = x.mean(axes), (x.var(axes, correction=0) + norm.eps).sqrt()
    scale, shift = (v.detach().view(shape) for v in (norm.weight / sigma, norm.bias - norm.weight * mean / sigma))
    return lambda y: y * scale + shift


@pytest.mark.parametrize("statistics", ["moving", "held"])
@pytest.mark.parametrize("narrow", [500, 1])
def test_singular_values_are_the_dense_jacobians(statistics, narrow):
    """From the first block's output to the second's: convolution, batch normalisation, tanh, pooling."""
    network, batch = twin.conv_net("batch", inplace=True).double(), data()
    with torch.no_grad():
        network.c2.norm.weight.uniform_(0.5, 2)
        network.c2.norm.bias.normal_()
    old = copy.deepcopy(network)
    probe = Jacobian(
        taps=("c1.activation", "c2.pool"), statistics=statistics, samples=3, narrow=narrow, steps=60, batch="train"
    )
    engine = build(network, None, {"j": probe}, example=batch, reuse_training_pass=True)
    with engine.around(0, batch) as forward:
        train_step(forward, network, engine.objective, sgd(network), batch, 7, 0)
    found = engine.records[0][2]
    x = old.c1(batch[0]).detach()
    norm = old.c2.norm if statistics == "moving" else held(old.c2.norm, old.c2.layer(x))

    def between(x):
        return old.c2.pool(old.c2.activation(norm(old.c2.layer(x))))

    largest, smallest, logs = [], [], []
    for i in range(3):

        def own(sample, i=i):
            return between(torch.cat([x[:i], sample[None], x[i + 1 :]]))[i]

        j = torch.autograd.functional.jacobian(own, x[i]).reshape(6 * 9, 4 * 36)
        values = torch.linalg.svdvals(j)
        largest.append(values[0])
        smallest.append(values[-1])
        logs.append(values.log().mean())
        if narrow > 54:
            torch.testing.assert_close(found["singular_values.c2.pool"][i], values, rtol=1e-8, atol=1e-12)
    assert ("singular_values.c2.pool" in found) == (narrow > 54)
    expected = {"largest": largest, "smallest": smallest}
    for key, values in expected.items():  # as many steps as the space has dimensions: the ends are found exactly
        assert found[f"singular_value_{key}"].item() == pytest.approx(torch.stack(values).mean().item(), rel=1e-6), key
    logarithm = torch.stack(logs).mean().item()
    if narrow > 54:
        assert found["singular_value_mean_logarithm"].item() == pytest.approx(logarithm)
    else:  # from one Gaussian vector for each sample
        assert found["singular_value_mean_logarithm"].item() == pytest.approx(logarithm, abs=0.4)
    away = max(max(abs(a - 1), abs(b - 1)) for a, b in zip(largest, smallest, strict=True)).item()
    assert found["singular_value_deviation"].item() == pytest.approx(away, rel=1e-6)
    assert not any(len(m._forward_hooks) for m in network.modules())


def test_moving_statistics_make_a_difference_and_the_default_is_all_layers_outputs():
    network, batch = twin.conv_net("batch").double(), data()
    engine = build(network, None, {"m": Jacobian(), "h": Jacobian(statistics="held")}, example=batch)
    with engine.around(0, batch):
        pass
    moving, still = (values for _, _, values in engine.records)
    assert engine.fields()["m"]["singular_value_largest"]["layer"] == ["c2", "c3", "head"]
    assert (moving["singular_value_largest"] - still["singular_value_largest"])[:2].abs().min() > 1e-3
    torch.testing.assert_close(moving["singular_values.head"], still["singular_values.head"])
    reference = engine.fields()["m"]["singular_value_largest"]["reference"]
    assert reference == "averaged over samples; statistics moving; estimated in c2"


def test_an_orthogonal_linear_layer_stretches_nothing():
    network = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(3))).double()
    for layer in network:
        nn.init.orthogonal_(layer.weight)
    batch = (torch.randn(5, 6, dtype=torch.float64), torch.randint(6, (5,)))
    engine = build(network, Objective(CROSS_ENTROPY), {"j": Jacobian()}, example=batch)
    with engine.around(0, batch):
        pass
    assert (engine.records[0][2]["singular_value_deviation"] < 1e-12).all()


@pytest.mark.parametrize("reuse", [True, False])
def test_on_a_residual_network_training_does_not_notice(reuse):
    states = []
    for probing in (False, True):
        network, batch = twin.Residual(), twin.image_batch()
        chosen = {"j": Jacobian(taps=("c1", "b2"), statistics="held"), "m": Jacobian(taps=("c1", "b2"))}
        engine = build(network, None, chosen if probing else {}, reuse_training_pass=reuse)
        with engine.around(0, batch) as forward:
            train_step(forward, network, engine.objective, sgd(network), batch, 7, 0)
        states.append([v.clone() for v in (*network.parameters(), *network.buffers())])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert engine.records[0][2]["singular_value_largest"] > 0


def test_a_diverged_network_is_not_a_number():
    network, batch = twin.conv_net("none"), twin.image_batch()
    with torch.no_grad():
        network.c2.layer.weight.fill_(float("inf"))
    engine = build(network, None, {"a": Jacobian(), "b": Jacobian(narrow=1)}, example=batch)
    with engine.around(0, batch):
        pass
    for _, _, values in engine.records:
        assert values["singular_value_largest"][0].isnan()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": ("c1.layer",)}, "at least two"),
        ({"taps": ("c2.layer", "c1.layer")}, "the first must come before the second"),
        ({"taps": ("c1.layer", "c9")}, "tap 'c9': not in this network"),
        ({"samples": 0}, "samples=0"),
        ({"statistics": "given"}, "must be 'moving' or 'held'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ProbeError, match=message):
        build(twin.conv_net(), None, {"j": Jacobian(**options)})


def test_one_activation_function_has_no_map_to_another():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 2))
    with pytest.raises(ProbeError, match="fewer than two layers with an activation function, so"):
        build(network, None, {"j": Jacobian(place="into_activation")}, example=(torch.randn(2, 64), torch.arange(2)))


def test_statistics_that_cannot_be_held_are_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(4))

        def forward(self, x):
            return x - x.mean((0, 2, 3), keepdim=True)

    network = twin.conv_net("none")
    network.c1.norm = Own()
    with pytest.raises(ProbeError, match=r"normalisation 'c1\.norm' \(Own\)"):
        build(network, None, {"j": Jacobian(statistics="held")})
    build(network, None, {"j": Jacobian()})


def test_standardised_maps_run_between_vectors_of_deviation_one():
    """D_2^-1 J D_1 from what enters one activation function to what enters the next, statistics held."""
    network, batch = twin.conv_net("batch").double(), data(32)
    old = copy.deepcopy(network)
    probe = Jacobian(place="into_activation", statistics="held", standardised=True, samples=2, narrow=500)
    engine = build(network, None, {"j": probe}, example=batch)
    with engine.around(0, batch) as forward:
        train_step(forward, network, engine.objective, sgd(network), batch, 7, 0)
    found = engine.records[0][2]
    assert "head" not in engine.fields()["j"]["singular_value_largest"]["layer"]
    x = old.c1.norm(old.c1.layer(batch[0])).detach()
    norm = held(old.c2.norm, old.c2.layer(old.c1.activation(x)).detach())

    def between(x):
        return norm(old.c2.layer(old.c1.activation(x)))

    y = between(x).detach()
    one, two = (v.flatten(1).std(0, correction=0) for v in (x, y))
    for i in range(2):
        j = torch.autograd.functional.jacobian(lambda v: between(v[None])[0], x[i]).reshape(y[0].numel(), x[0].numel())
        values = torch.linalg.svdvals(j * one / two[:, None])
        torch.testing.assert_close(found["singular_values.c2"][i], values, rtol=1e-8, atol=1e-12)
    with pytest.raises(ProbeError, match=r"jacobian standardised: between .* let narrow=1 be as many"):
        build(network, None, {"j": Jacobian(standardised=True, narrow=1)}, example=batch)
    with pytest.raises(ProbeError, match="jacobian place='into': must be 'output' or 'into_activation'"):
        Jacobian(place="into")
