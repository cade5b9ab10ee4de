"""Sharpness-aware minimisation: the second pass is the step's own function at another place, and leaves no trace."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import experiments
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.optimisers import BatchAgain
from experiments.runs.records import ProbeRecorder
from experiments.train import Training, train_step
from probes.randomness import at_step
from tests.runs import MLP, VGG, checkpoint, differences, refusal, small

SAM = ["optim=sam", "optim.lr=0.1"]
NEURON = ["model=linear_neuron", "data=least_squares", "data.samples=50", "data.dimension=5", "data.condition=10"]
NEURON += ["norm=none", "optim.batch_size=null"]


def training(*overrides: str) -> Training:
    config = plain_config(small(Path("nowhere"), *overrides))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    return build_training(config, data, torch.device("cpu"), ProbeRecorder())


@pytest.mark.parametrize("adaptive", [False, True])
def test_least_squares_by_hand(adaptive: bool) -> None:
    """L = mean (x w - y)^2 + (decay / 2) |w|^2, five steps with momentum, in numpy float64."""
    chosen = ["optim.rho=0.3", "optim.momentum=0.9", "optim.weight_decay=0.2", f"optim.adaptive={adaptive}"]
    run = training(*NEURON, *SAM, "optim.lr=0.05", "optim.eta=0.05", *chosen)
    weight = run.network.neuron.layer.weight
    batch = run.data.batch(0)
    x, y = batch.inputs.double().numpy(), batch.targets.double().numpy()[:, 0]
    w, velocity = weight.detach().double().numpy()[0].copy(), np.zeros(5)

    def gradient(at: np.ndarray) -> np.ndarray:
        return 2 * x.T @ (x @ at - y) / len(y)

    for step in range(5):
        g = gradient(w)
        size = np.abs(w) + 0.05 if adaptive else np.ones(5)
        e = 0.3 * size**2 * g / np.linalg.norm(size * g)
        velocity = 0.9 * velocity + gradient(w + e) + 0.2 * w
        w = w - 0.05 * velocity
        train_step(run, run.network, run.data.batch(step))
        np.testing.assert_allclose(weight.detach().numpy()[0], w, rtol=2e-5, atol=1e-6)
    assert np.linalg.norm(gradient(w + e) - gradient(w)) > 0.05  # so that the perturbation counts


CHOSEN = {
    "all": ("all", lambda name: True),
    "gamma and beta": ("[gamma,beta]", lambda name: ".norm." in name),
    "the scale-invariant": ("scale_invariant", lambda name: name in ("fc1.layer.weight", "fc2.layer.weight")),
}


@pytest.mark.parametrize("which", list(CHOSEN))
def test_a_network_by_hand_with_dropout_noise_and_decay(which: str) -> None:
    """The second pass on a copy of the network as it was before the first one; e is of the data loss alone."""
    pattern, perturbed = CHOSEN[which]
    usual = ["norm=noisy_batch", "model.dropout=0.3", "optim.weight_decay=0.1", "optim.rho=0.5"]
    run = training(*MLP, *SAM, *usual, f"optim.perturb={pattern}")
    own = copy.deepcopy(run.network)
    for step in range(3):
        batch = run.data.batch(step)
        there, plain = copy.deepcopy(own), dict(own.named_parameters())

        def gradients(network: nn.Module, batch=batch) -> dict[str, torch.Tensor]:
            with at_step(0, batch.step):
                loss = nn.functional.cross_entropy(network(batch.inputs), batch.targets)
            names, values = zip(*network.named_parameters(), strict=True)
            return dict(zip(names, torch.autograd.grad(loss, values), strict=True))

        g = gradients(own)
        length = torch.stack([v.square().sum() for n, v in g.items() if perturbed(n)]).sum().sqrt()
        with torch.no_grad():
            for name, parameter in there.named_parameters():
                if perturbed(name):
                    parameter += 0.5 * g[name] / length
        moved = gradients(there)
        with torch.no_grad():
            for name, parameter in plain.items():
                decay = 0.1 * parameter if name.endswith("layer.weight") else 0.0
                parameter -= 0.1 * (moved[name] + decay)
        train_step(run, run.network, batch)
        for name, value in own.state_dict().items():
            torch.testing.assert_close(run.network.state_dict()[name], value, rtol=2e-4, atol=2e-6, msg=name)


DRAWS = (
    "import random\nimport torch\nfrom torch import nn\nclass Draws(nn.Module):\n"
    "    def __init__(self, layer):\n        super().__init__()\n"
    "    def forward(self, x):\n        return x * (1 + 0.1 * (torch.rand(()).item() + random.random()))\n"
)


@pytest.mark.parametrize(
    "chosen",
    [
        ["norm=noisy_batch", "model.dropout=0.3", "optim.momentum=0.9"],
        ["norm=batch_renorm", "norm.warmup=0"],  # its function depends on the running statistics
        ["norm=none", "norm.name=Draws"],  # draws from the global generators
        [*VGG, "norm=batch", "model.dropout=0.2", "data.augment=true"],
    ],
    ids=lambda chosen: " ".join(chosen)[:30],
)
def test_without_a_perturbation_it_is_plain_descent_bit_by_bit(chosen: list[str], tmp_path: Path) -> None:
    if "norm.name=Draws" in chosen:
        (tmp_path / "own.py").write_text(DRAWS)
        chosen = [*chosen, f"norm.file={tmp_path}/own.py"]
    one, other = (
        checkpoint(experiments.run(small(tmp_path / how[0][6:], *chosen, *how)).path)
        for how in (["optim=sgd", "optim.lr=0.1"], [*SAM, "optim.rho=0"])
    )
    for part in ("network", "generators"):
        assert differences(one[part], other[part], part) == []
    assert differences(one["optimiser"]["state"], other["optimiser"]["state"]) == []


def test_probes_change_no_bit_and_the_guard_compares_the_first_pass(tmp_path: Path) -> None:
    usual = [*SAM, "optim.rho=0.5", "optim.momentum=0.9", "norm=noisy_batch", "model.dropout=0.3"]
    probed = ["probes=[landscape,ics,gradients]", "probes.every=1", "probes.use.landscape.update=true"]
    for more in ([], probed):  # two of one training must end with equal bits, or the second fails
        experiments.run(small(tmp_path / "whole", *usual, *more))
    one, other = (checkpoint(path)["network"] for path in sorted((tmp_path / "whole").glob("digits*")))
    assert differences(dict(one), dict(other)) == []


def test_a_residual_network_is_probed_too(tmp_path: Path) -> None:
    """There the training pass is not reused, but watched."""
    usual = ["model=resnet_small", "data.subset=32", "data.test_subset=20", "optim.batch_size=8", "steps=2"]
    outcome = experiments.run(small(tmp_path, *usual, *SAM, "probes=[gradients,ics]", "probes.every=1"))
    assert outcome.state == "finished"


def test_the_gradient_at_the_start_stays_where_probes_read_it() -> None:
    run, plain = training(*MLP, *SAM, "optim.rho=0.5"), training(*MLP)
    for each in (run, plain):
        train_step(each, each.network, each.data.batch(0))
    for (name, mine), theirs in zip(run.network.named_parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad), name
        assert not torch.equal(mine, theirs), name


def test_what_is_frozen_is_not_perturbed_and_a_gradient_of_0_moves_nothing() -> None:
    run = training(*MLP, *SAM, "optim.groups=[{match: '*', except: gamma, train: false}]")
    assert len(run.optimiser._perturbed) == 2
    zeros = [torch.zeros(3)]
    run.optimiser._perturbed[id(zeros[0])] = False
    assert torch.equal(run.optimiser.perturbation(zeros, zeros)[0], zeros[0])


WRONG = {
    "optim.rho=-1": "optim: rho=-1.0: must be at least 0",
    "optim.eta=-1": "optim: eta=-1.0: must be at least 0",
    "optim.momentum=1": "optim: momentum=1.0: must be at least 0 and below 1",
    "optim.nesterov=true": "optim: nesterov=true needs momentum above 0",
    "optim.perturb=gama": "optim.perturb=gama: matches no parameter; there are fc1.layer.weight",
    "optim.adaptive=3": "optim.adaptive=3: must be true or false",
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_one_line(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WRONG[wrong] in refusal([*MLP, *SAM, wrong], tmp_path, monkeypatch, capsys)


def test_perturbing_only_what_is_frozen_is_refused() -> None:
    with pytest.raises(WrongInput, match=r"optim\.perturb=gamma: chooses only what is not trained"):
        training(*MLP, *SAM, "optim.perturb=gamma", "optim.groups=[{match: gamma, train: false}]")


def test_asking_again_leaves_the_global_generators_where_the_step_left_them() -> None:
    run = training(*MLP)
    again = BatchAgain(run.network, run.objective, run.data.batch(0), 0)
    torch.rand(3)
    there = torch.get_rng_state()
    again.data_gradients(list(run.network.parameters()))
    assert torch.equal(torch.get_rng_state(), there)
