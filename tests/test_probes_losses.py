"""The loss of whole batches, against the network called on them."""

from __future__ import annotations

import copy

import pytest
import torch

from probes import Losses, Objective, ProbeError
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_loss_of_a_batch_is_the_networks_in_train_mode_without_the_penalty(norm: str) -> None:
    network, objective = twin.conv_net(norm).double(), Objective(CROSS_ENTROPY, 1e-2)
    batches = {"train": twin.image_batch(), "fixed": twin.image_batch(11, seed=9)}
    batches = {name: (x.double(), y) for name, (x, y) in batches.items()}
    chosen = {"l": Losses(batches=("fixed", "train"))}
    engine = build(network, objective, chosen, example=batches["train"], batches={"fixed": batches["fixed"]})
    for step in (0, 1):
        old = copy.deepcopy(network).train()
        with engine.around(step, batches["train"]) as forward:
            train_step(forward, network, objective, sgd(network, 0.3), batches["train"], 7, step)
        found = engine.records[step][2]
        for name, (x, y) in batches.items():
            assert found[f"data_loss.{name}"].item() == pytest.approx(CROSS_ENTROPY(copy.deepcopy(old)(x), y).item())
    if norm == "batch":  # by the batch's own statistics, which the running ones are not
        x, y = batches["fixed"]
        assert found["data_loss.fixed"].item() != pytest.approx(CROSS_ENTROPY(old.eval()(x), y).item(), rel=1e-3)
    first, second = (values["data_loss.fixed"] for _, _, values in engine.records)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("batches", [(), ("fixed", "fixed")])
def test_batches_are_names_each_once(batches: tuple[str, ...]) -> None:
    with pytest.raises(ProbeError, match=r"losses batches=.*each once, at least one"):
        Losses(batches=batches)
