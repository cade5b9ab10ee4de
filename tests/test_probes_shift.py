"""The refined coordinate check, against modules called by hand with either weights on either inputs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from probes import Activations, InternalCovariateShift, Objective, ProbeError, Shift
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, Custom, build, sgd, train_step

MODELS = {
    "chain": (lambda: twin.conv_net("batch"), [f"{b}.layer" for b in twin.BLOCKS]),
    "inplace": (lambda: twin.conv_net("none", inplace=True), [f"{b}.layer" for b in twin.BLOCKS]),
    "weight": (lambda: twin.conv_net("weight"), [f"{b}.layer" for b in twin.BLOCKS]),
    "residual": (twin.Residual, ["c1", "c2", "head"]),
}


def seen(network, inputs, names):
    """name -> what the module is given, copied."""
    found, network = {}, copy.deepcopy(network)
    for name in names:
        network.get_submodule(name).register_forward_pre_hook(lambda m, a, n=name: found.update({n: a[0].clone()}))
    network(inputs)
    return found


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("batch", ["train", "fixed"])
def test_the_parts_are_those_of_modules_called_by_hand(model, reuse, batch):
    make, names = MODELS[model]
    network, objective = make().double(), Objective(CROSS_ENTROPY, 1e-2)
    data = {"train": (twin.image_batch()[0].double(), twin.image_batch()[1])}
    data["fixed"] = (twin.image_batch(5, seed=9)[0].double(), twin.image_batch(5, seed=9)[1])
    old = copy.deepcopy(network)
    engine = build(
        network, objective, {"s": Shift(batch=batch)}, example=data["train"], batches={"fixed": data["fixed"]},
        reuse_training_pass=reuse,
    )  # fmt: skip
    with engine.around(0, data["train"]) as forward:
        train_step(forward, network, objective, sgd(network, 0.3), data["train"], 7, 0)
    assert not any(len(m._forward_hooks) for m in network.modules())
    inputs = data[batch][0]
    h, h_new = seen(old, inputs, names), seen(network, inputs, names)
    found = engine.records[0][2]
    for i, name in enumerate(names):
        w, w_new = old.get_submodule(name), network.get_submodule(name)
        z, z_new, own, moved = w(h[name]), w_new(h_new[name]), w_new(h[name]), w(h_new[name])
        both = z_new - own - moved + z
        change = z_new - z
        expected = {
            "output_change": change.norm() / z.norm(),
            "own_part": (own - z).norm() / z.norm(),
            "input_part": (moved - z).norm() / z.norm(),
            "interaction_part": both.norm() / z.norm(),
            "own_share": ((own - z + both / 2) * change).sum() / change.square().sum(),
            "input_share": ((moved - z + both / 2) * change).sum() / change.square().sum(),
        }
        for key, value in expected.items():
            torch.testing.assert_close(found[key][i], value.detach(), rtol=1e-8, atol=1e-10, msg=f"{name} {key}")
    torch.testing.assert_close(found["own_share"] + found["input_share"], torch.ones(len(names)).double())
    assert found["input_part"][0] == 0
    assert found["interaction_part"][1] > 1e-4


def test_two_forward_passes_beside_the_evaluation_after_the_update():
    network = twin.conv_net("batch")
    alone = build(network, None, {"s": Shift()}, reuse_training_pass=True)
    forward = sum(leaf.operations for leaf in alone.view.leaves)
    assert alone.plan.operations == 3 * forward
    after = {"a": Activations(batches=("train",))}
    both = build(network, None, {"s": Shift(), **after}, reuse_training_pass=True)
    assert both.plan.operations - build(network, None, after, reuse_training_pass=True).plan.operations == 2 * forward


def test_the_ascent_of_the_hybrids_does_not_pass_for_the_evaluation_after_the_update():
    network, values = twin.conv_net("batch").double(), []
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    for more in ({}, {"ics": InternalCovariateShift()}):
        fresh = copy.deepcopy(network)
        engine = build(fresh, None, {"s": Shift(), **more}, example=batch, reuse_training_pass=True)
        with engine.around(0, batch) as forward:
            train_step(forward, fresh, engine.objective, sgd(fresh, 0.3), batch, 7, 0)
        values.append(engine.records[0][2])
    for key in values[0]:
        assert torch.equal(values[0][key], values[1][key]), key


def test_a_change_that_is_asked_alone_is_refused():
    from probes import After, Need
    from probes.reductions import ChangeParts

    network = twin.conv_net()
    engine = build(network, None, {"own": Custom([Need("train", After(), ChangeParts("c1.layer"))])})
    with pytest.raises(ProbeError, match="the loss at Before on the same batch"), engine.around(0, twin.image_batch()):
        pass


def test_a_network_without_weights_is_refused():
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten())
    with pytest.raises(ProbeError, match="no layer with weights"):
        build(network, Objective(lambda output, _: output.mean()), {"s": Shift()})
