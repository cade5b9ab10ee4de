"""Sizes of gamma and beta, by hand."""

from __future__ import annotations

import pytest
import torch

from probes import Affine, ProbeError
from tests import slow_twins as twin
from tests.test_probes import assert_equal_states, build, everything, sgd, train_step


def planted(frozen: bool = False):
    network = twin.conv_net("batch")
    with torch.no_grad():
        network.c1.norm.weight.fill_(0.5)
        network.c1.norm.weight[:2] = torch.tensor([-0.009, 0.011])
        network.c2.norm.bias.fill_(-0.25)
        network.c3.norm.weight.fill_(-0.001)
    network.c1.norm.weight.requires_grad_(not frozen)
    return network


@pytest.mark.parametrize("frozen", [True, False])
def test_sizes_and_the_share_near_0_are_of_before_the_update_trained_or_not(frozen):
    network = planted(frozen)
    engine = build(network, None, {"a": Affine()})
    with engine.around(0, twin.image_batch()) as forward:
        train_step(forward, network, engine.objective, sgd(network, 0.1), twin.image_batch(), 7, 0)
    found, units = engine.records[0][2], len(network.c1.norm.weight)
    assert engine.fields()["a"]["gamma_small_share"]["layer"] == ["c1", "c2", "c3"]
    assert found["gamma_small_share"].tolist() == pytest.approx([1 / units, 0, 1])
    total = sum(len(block.norm.weight) for block in (network.c1, network.c2, network.c3))
    assert found["gamma_small_share_of_all"].item() == pytest.approx((1 + len(network.c3.norm.weight)) / total)
    assert found["gamma_size"].tolist() == pytest.approx([(0.5 * (units - 2) + 0.02) / units, 1, 0.001])
    assert found["beta_size"].tolist() == pytest.approx([0, 0.25, 0])
    assert engine.plan.passes == 0


def test_it_disturbs_nothing():
    states = []
    for probes in ({}, {"a": Affine(below=0.5, layers=("c2",))}):
        network = planted()
        optimiser = sgd(network, 0.1)
        engine = build(network, None, probes)
        with engine.around(0, twin.image_batch()) as forward:
            train_step(forward, network, engine.objective, optimiser, twin.image_batch(), 7, 0)
        states.append(everything(network, optimiser))
    assert_equal_states(*states)


def test_a_network_without_gamma_has_no_fields_and_a_layer_without_one_is_refused():
    network = twin.conv_net("none")
    assert build(network, None, {"a": Affine()}).fields()["a"] == {}
    with pytest.raises(ProbeError, match="affine: layer 'c1' has no normalisation with a gamma"):
        build(network, None, {"a": Affine(layers=("c1",))})
    with pytest.raises(ProbeError, match="affine below=0: must be more than 0"):
        Affine(below=0)
