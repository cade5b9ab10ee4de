"""How weights move, against plain arithmetic on copies; closed forms of scale-invariant weights."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from probes import Dynamics, Objective, ProbeError
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step


def angle(a, b):
    return math.acos(min(1.0, twin.inner([a], [b]) / (twin.length([a]) * twin.length([b]))))


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("norm", ["none", "batch", "weight"])
def test_dynamics_are_plain_arithmetic(norm, reuse):
    network, objective, lr = twin.conv_net(norm).double(), Objective(CROSS_ENTROPY, 1e-2), 0.3
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    engine = build(network, objective, {"d": Dynamics()}, example=batch, learning_rate=lr, reuse_training_pass=reuse)
    optimiser, first = sgd(network, lr, momentum=0.9), copy.deepcopy(dict(network.named_parameters()))
    for step in (0, 1):
        before = twin.Snapshot(network, objective, 7, step)
        start = {n: p.detach().clone() for n, p in network.named_parameters()}
        with engine.around(step, batch) as forward:
            train_step(forward, network, objective, optimiser, batch, 7, step)
    g, end = before.run(batch)[2], {n: p.detach() for n, p in network.named_parameters()}
    found = engine.records[-1][2]
    for i, block in enumerate(twin.BLOCKS):
        names = [n for n in start if n.startswith(f"{block}.layer") and not n.endswith("bias")]
        w, v, dw, w0 = (
            torch.cat([x[n].detach().flatten() for n in names]) for x in (start, end, g, first)
        )  # fmt: skip
        rows = [pair for n in names if start[n][0].numel() > 1 for pair in zip(start[n], end[n], strict=True)]
        radial = (w @ dw / w.norm()).item()
        expected = {
            "weight_norm": w.norm().item(),
            "update_angle": angle(w, v),
            "unit_update_angle": math.sqrt(sum(angle(a, b) ** 2 for a, b in rows) / len(rows)),
            "effective_rate": lr / w.norm().item() ** 2,
            "gradient_radial": radial,
            "gradient_tangential": (dw - radial * w / w.norm()).norm().item(),
            "distance_from_start": (w - w0).norm().item(),
        }
        assert expected["distance_from_start"] > 0
        for key, value in expected.items():
            assert found[key][i].item() == pytest.approx(value, rel=1e-6), (block, key)
    assert engine.records[0][2]["distance_from_start"].tolist() == [0] * 4


def test_running_statistics_against_the_batchs_by_hand():
    """Numbers of one batch normalisation from its own formula; at momentum 1 and rest only the bias is left."""
    network = twin.conv_net("batch").double()
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    norm = network.c1.norm
    norm.momentum, norm.eps = 1.0, 1e-3
    engine = build(network, None, {"d": Dynamics()}, example=batch, learning_rate=0.0)
    for step in (0, 1):
        with engine.around(step, batch) as forward:
            train_step(forward, network, engine.objective, sgd(network, 0.0), batch, 7, step)
    x = network.c1.layer(batch[0]).transpose(0, 1).flatten(1).detach()
    sigma = (x.var(1, correction=0) + 1e-3).sqrt()
    first, second = (values for _, _, values in engine.records)
    assert engine.fields()["d"]["running_mean_discrepancy"]["layer"] == ["c1", "c2", "c3"]
    # torch begins at mean 0 and variance 1
    assert first["running_mean_discrepancy"][0].item() == pytest.approx((x.mean(1).abs() / sigma).mean().item())
    expected = (math.sqrt(1 + 1e-3) / sigma - 1).abs().mean().item()
    assert first["running_deviation_discrepancy"][0].item() == pytest.approx(expected)
    assert second["running_mean_discrepancy"][0].item() == pytest.approx(0, abs=1e-12)
    expected = ((x.var(1) + 1e-3).sqrt() / sigma - 1).mean().item()
    assert second["running_deviation_discrepancy"][0].item() == pytest.approx(expected)
    assert second["running_mean_discrepancy"][1] > 0.1


def test_weights_before_a_normalisation_grow_by_the_squared_step_and_have_no_radial_gradient():
    """Scale-invariant weights: ||w'||^2 = ||w||^2 + lr^2 ||g||^2, and the angle is atan(lr ||g|| / ||w||)."""
    network, objective, lr = twin.conv_net("batch").double(), Objective(CROSS_ENTROPY), 0.5
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12
    engine = build(network, objective, {"d": Dynamics()}, example=batch, learning_rate=lr)
    for step in (0, 1):
        with engine.around(step, batch) as forward:
            train_step(forward, network, objective, sgd(network, lr), batch, 7, step)
    one, two = (values for _, _, values in engine.records)
    size, step = one["weight_norm"][:3], lr * one["gradient_tangential"][:3]
    assert (one["gradient_radial"][:3].abs() < 1e-9 * one["gradient_tangential"][:3]).all()
    assert one["gradient_radial"][3].abs() > 1e-3  # the output is not
    torch.testing.assert_close(two["weight_norm"][:3].square(), size.square() + step.square(), rtol=1e-9, atol=0)
    torch.testing.assert_close(one["update_angle"][:3], torch.atan(step / size), rtol=1e-7, atol=0)


@pytest.mark.parametrize("norm", ["none", "batch", "weight"])
def test_norms_grow_by_the_squared_step_less_twice_the_radial_part_in_any_network(norm):
    """||w'||^2 = ||w||^2 + lr^2 ||g||^2 - 2 lr <w, g>, with a penalty too."""
    network, objective, lr = twin.conv_net(norm).double(), Objective(CROSS_ENTROPY, 1e-2), 0.5
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    engine = build(network, objective, {"d": Dynamics()}, example=batch, learning_rate=lr)
    for step in (0, 1):
        with engine.around(step, batch) as forward:
            train_step(forward, network, objective, sgd(network, lr), batch, 7, step)
    one, two = (values for _, _, values in engine.records)
    size, radial, tangential = (one[key] for key in ("weight_norm", "gradient_radial", "gradient_tangential"))
    grown = size.square() + lr**2 * (radial.square() + tangential.square()) - 2 * lr * radial * size
    torch.testing.assert_close(two["weight_norm"].square(), grown, rtol=1e-12, atol=0)


def test_what_it_keeps_is_in_the_plan_and_in_the_saved_state():
    network = twin.conv_net()
    engine = build(network, None, {"d": Dynamics()})
    without = build(network, None, {})
    numbers = sum(p.numel() for n, p in network.named_parameters() if n.endswith("layer.weight"))
    assert engine.plan.held_bytes - without.plan.held_bytes == 4 * numbers
    assert engine.plan.passes == pytest.approx(1)  # without reuse it is Before's own; nothing else
    with engine.around(0, twin.image_batch()) as forward:
        train_step(forward, network, engine.objective, sgd(network), twin.image_batch(), 7, 0)
    (kept,) = engine.state_dict()["carried"].values()
    assert sum(v.numel() for v in kept.values()) == numbers
    with pytest.raises(ProbeError, match="other options"):
        without.load_state_dict(engine.state_dict())


def test_units_are_compared_with_their_start_row_by_row():
    """Norm, distance and angle of every row of every weight, in arrays and as their means."""
    network = twin.conv_net("batch")
    engine = build(network, None, {"d": Dynamics(units=True)})
    first, optimiser = copy.deepcopy(dict(network.named_parameters())), sgd(network, 0.3)
    for step in (0, 1):
        end = copy.deepcopy(dict(network.named_parameters()))
        with engine.around(step, twin.image_batch()) as forward:
            train_step(forward, network, engine.objective, optimiser, twin.image_batch(), 7, step)
    (_, _, start), (_, _, found) = engine.records
    for place, block in enumerate(twin.BLOCKS):
        name = f"{block}.layer.weight"
        rows = [(a.detach().double(), b.detach().double()) for a, b in zip(first[name], end[name], strict=True)]
        expected = {
            "unit_norm": [twin.length([b]) for _, b in rows],
            "unit_distance_from_start": [twin.length([b - a]) for a, b in rows],
            "unit_angle_from_start": [angle(a, b) for a, b in rows],
        }
        assert min(expected["unit_angle_from_start"]) > 1e-4
        for key, values in expected.items():
            array = f"channel_norms.{name}" if key == "unit_norm" else f"{key}.{block}"
            assert found[array].tolist() == pytest.approx(values, rel=1e-6), (block, key)
            assert found[key][place].item() == pytest.approx(sum(values) / len(values), rel=1e-6)
        assert start[f"unit_angle_from_start.{block}"].abs().max() == 0
    fields = {
        options: build(network, None, {"d": Dynamics(**dict.fromkeys(options, True))}).fields()["d"]
        for options in ((), ("units",), ("channels", "units"))
    }
    assert not [key for key in fields[()] if key.startswith(("unit_norm", "channel_norms"))]
    assert fields["channels", "units"] == fields["units",]  # here every weight is one of units: no norm is there twice
    assert sum(
        "norm" in field["metric"] and "layer" not in field["dims"] for field in fields["units",].values()
    ) == len(twin.BLOCKS)


def test_a_layer_without_trained_weights_is_refused():
    network = twin.conv_net()
    network.c2.layer.weight.requires_grad_(False)
    with pytest.raises(ProbeError, match="dynamics: layer 'c2' has no trained weights"):
        build(network, None, {"d": Dynamics(layers=("c2",))})
    assert build(network, None, {"d": Dynamics()}).fields()["d"]["weight_norm"]["layer"] == ["c1", "c3", "head"]


@pytest.mark.parametrize("norm", ["batch", "weight"])
def test_norms_by_channel_are_those_of_the_rows(norm):
    network = twin.conv_net(norm).double()
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    engine = build(network, None, {"d": Dynamics(channels=True)}, example=batch)
    without = build(network, None, {"d": Dynamics()}, example=batch)
    assert engine.plan.passes == without.plan.passes
    start = {n: p.detach().clone() for n, p in network.named_parameters()}
    with engine.around(0, batch) as forward:
        train_step(forward, network, engine.objective, sgd(network), batch, 7, 0)
    found = {key: value for key, value in engine.records[0][2].items() if key.startswith("channel_norms.")}
    names = [n for n in start if ".layer." in f".{n}" and not n.endswith("bias")]
    assert set(found) == {f"channel_norms.{name}" for name in names}
    assert any("original1" in name for name in names) == (norm == "weight")
    for name in names:
        rows = [twin.length([row]) for row in start[name]]
        assert found[f"channel_norms.{name}"].tolist() == pytest.approx(rows, rel=1e-12)
    described = engine.fields()["d"][f"channel_norms.{names[0]}"]
    assert (described["metric"], described["dims"], described["layer"]) == ("channel_norms", ["channel"], ["c1"])


@pytest.mark.parametrize("norm", ["batch", "weight"])
def test_values_are_the_weights_before_the_update_a_row_for_each_unit(norm):
    network = twin.conv_net(norm)
    engine = build(network, None, {"d": Dynamics(values=True)})
    without = build(network, None, {"d": Dynamics()})
    assert engine.plan.passes == without.plan.passes
    optimiser = sgd(network, 0.3)
    for step in (0, 1):
        now = {n: p.detach().clone().double() for n, p in network.named_parameters()}
        with engine.around(step, twin.image_batch()) as forward:
            train_step(forward, network, engine.objective, optimiser, twin.image_batch(), 7, step)
    found = {key: value for key, value in engine.records[1][2].items() if key.startswith("weight_values.")}
    names = [n for n in now if ".layer." in f".{n}" and not n.endswith("bias")]
    assert set(found) == {f"weight_values.{name}" for name in names}
    for name in names:
        assert torch.equal(found[f"weight_values.{name}"], torch.stack([row.flatten() for row in now[name]]))
    described = engine.fields()["d"][f"weight_values.{names[0]}"]
    assert (described["dims"], described["layer"], described["unit"]) == (["unit", "input"], ["c1"], "parameter")
    assert not [key for key in without.fields()["d"] if key.startswith("weight_values")]
