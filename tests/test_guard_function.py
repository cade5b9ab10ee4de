"""The function that trained is the function that is probed: on networks that a copy made once would get wrong."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from probes import Activations, Gradients, InternalCovariateShift, Landscape, Objective, Probes
from probes.randomness import at_step
from tests.made_networks import NETWORKS

CROSS_ENTROPY = nn.functional.cross_entropy
STEPS, RATE = 3, 0.2


def seed_all():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002


def batch(step):
    drawn = torch.Generator().manual_seed(step)
    return 1 + torch.randn(12, 6, generator=drawn), torch.randint(3, (12,), generator=drawn)


def generators():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def trained(name, reuse=None, watch=lambda *a: None):
    """A network after some steps, with probes or (``reuse`` None) without; its losses, and the probes."""
    make, change = NETWORKS[name]
    seed_all()
    network = make()
    chosen = {"l": Landscape(update=True), "g": Gradients(), "i": InternalCovariateShift()}
    chosen |= {"a": Activations(batches=("train",), bins=4, units=2, resolution=2)}
    if reuse is not None:
        probes = Probes(network, Objective(CROSS_ENTROPY), chosen, batch(0), learning_rate=RATE, every=1, seed=5,
                        reuse_training_pass=reuse)  # fmt: skip
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.5)

    def step(forward, t):
        torch.rand(2)  # as an augmentation would
        with at_step(5, t):
            loss = CROSS_ENTROPY(forward(batch_of[0]), batch_of[1])
        optimiser.zero_grad()
        loss.backward()
        watch(network, t, loss)
        optimiser.step()
        return loss.item()

    losses = []
    for t in range(STEPS):
        change(network, t)
        batch_of = batch(t)
        if reuse is None:
            losses.append(step(network, t))
        else:
            with probes.around(t, batch_of) as forward:
                losses.append(step(forward, t))
    return network, losses, probes if reuse is not None else None, generators()


CASES = [
    pytest.param(name, reuse, marks=pytest.mark.long if reuse != name.endswith("a chain") else ())
    for name in NETWORKS
    for reuse in (False, True)
]


@pytest.mark.parametrize(("name", "reuse"), CASES)
def test_training_does_not_notice_and_the_loss_is_trainings(name, reuse):
    plain, plain_losses, _, drawn = trained(name)
    gradients = []
    network, losses, probes, drawn_too = trained(
        name, reuse, lambda n, t, loss: gradients.append([p.grad.clone() for p in n.parameters() if p.grad is not None])
    )
    assert losses == plain_losses
    for key, value in plain.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key
    assert drawn_too == drawn
    found = {(probe, step): values for probe, step, values in probes.records}
    for t in range(STEPS):
        assert found["l", t]["loss_before"].item() == pytest.approx(losses[t], rel=1e-6), t
        norm = torch.stack([g.double().norm() for g in gradients[t]]).norm().item()
        assert found["l", t]["gradient_norm"].item() == pytest.approx(norm, rel=1e-5), t


def full_copy_after(name, head):
    """||G - G'|| of the head's weight at the first step, by full copies of the network and its generators."""
    make, change = NETWORKS[name]
    seed_all()
    network = make()
    change(network, 0)
    torch.rand(2)
    state, x, y = (torch.get_rng_state(), random.getstate(), np.random.get_state()), *batch(0)  # noqa: NPY002

    def gradient(copied):
        torch.set_rng_state(state[0])
        random.setstate(state[1])
        np.random.set_state(state[2])  # noqa: NPY002
        copied.zero_grad()
        with at_step(5, 0):
            CROSS_ENTROPY(copied(x), y).backward()
        return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in copied.named_parameters()}

    before = gradient(copy.deepcopy(network))
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for n, p in moved.named_parameters():
            if not n.startswith(f"{head}."):
                p -= RATE * before[n]
    return (gradient(moved)[f"{head}.weight"] - before[f"{head}.weight"]).norm().item()


HEADS = {name: "2" if name.endswith("a chain") else "last" for name in NETWORKS if name.endswith(("chain", "a skip"))}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long][: i % 2]) for i, name in enumerate(HEADS)]
)
def test_the_covariate_shift_of_the_last_layer_is_that_of_full_copies(name):
    _, _, probes, _ = trained(name, reuse=False)
    values = next(values for probe, step, values in probes.records if (probe, step) == ("i", 0))
    assert values["ics_l2"][-1].item() == pytest.approx(full_copy_after(name, HEADS[name]), rel=1e-4, abs=1e-7)
