"""Descent by length and direction: against a twin in numpy float64, and the paper's rate of convergence."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.runs.records import ProbeRecorder
from experiments.train import Training, train_step
from tests.runs import MLP, assert_unnoticed_and_carried_on, refusal, small

NEURON = ["model=linear_neuron", "data=least_squares", "data.samples=200", "data.dimension=6", "data.condition=20"]
NEURON += ["norm=batch", "norm.eps=1e-12", "optim=length_direction"]


def training(*overrides: str) -> Training:
    config = plain_config(small(Path("nowhere"), *NEURON, *overrides))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    return build_training(config, data, torch.device("cpu"), ProbeRecorder())


class Twin:
    """Least squares with x and y centred: f(w, g) = g^2 + 2 g <u, w> / ||w||_S + E y^2, S = E x x^T and u = -E y x."""

    def __init__(self, run: Training) -> None:
        batch = run.data.batch(0)
        x, y = batch.inputs.double().numpy(), batch.targets.double().numpy()[:, 0]
        self.mean = y.mean()
        x, y = x - x.mean(0), y - y.mean()
        self.S, self.u, self.y2 = x.T @ x / len(y), -x.T @ y / len(y), (y**2).mean()
        self.w = run.network.neuron.layer.weight.detach().double().numpy()[0]
        self.g = 1.0

    def size(self) -> float:
        return float(np.sqrt(self.w @ self.S @ self.w))

    def loss(self) -> float:
        return self.g**2 + 2 * self.g * (self.u @ self.w) / self.size() + self.y2

    def step(self, lr: float) -> None:
        size = self.size()
        gradient = 2 * self.g * (self.u / size - (self.u @ self.w) * (self.S @ self.w) / size**3)
        largest = np.linalg.eigvalsh(self.S)[-1]
        self.w = self.w - lr * size**2 / (2 * largest * self.g**2) * gradient
        self.g = -(self.u @ self.w) / self.size()


@pytest.mark.parametrize(("lr", "criterion", "factor"), [(1.0, "squared_error", 1.0), (0.4, "half_squared_error", 0.5)])
def test_it_is_the_twins_descent(lr: float, criterion: str, factor: float) -> None:
    """Whatever factor the loss has: the step is measured by its curvature."""
    run = training(f"optim.lr={lr}", f"optim.criterion={criterion}", "data.mean=0.5", "data.noise=0.3")
    twin = Twin(run)
    for step in range(12):
        loss = train_step(run, run.network, run.data.batch(step)).total.item()
        # beta starts at 0 and is best from the first step on
        assert loss / factor == pytest.approx(twin.loss() + (twin.mean**2 if step == 0 else 0), rel=1e-4, abs=1e-6)
        twin.step(lr)
        np.testing.assert_allclose(run.network.neuron.layer.weight.detach().numpy()[0], twin.w, rtol=2e-3, atol=2e-4)
        assert run.network.neuron.norm.weight.item() == pytest.approx(twin.g, rel=1e-4)
        assert run.network.neuron.norm.bias.item() == pytest.approx(twin.mean, rel=1e-4, abs=1e-5)


def test_it_converges_as_fast_as_the_paper_proves() -> None:
    """Theorem 1: what is left of the loss falls by (1 - mu / L)^2 a step at least, once the length is the best one."""
    run = training("data.condition=5")
    eigenvalues = np.linalg.eigvalsh(Twin(run).S)
    bound = (1 - eigenvalues[0] / eigenvalues[-1]) ** 2
    losses = [train_step(run, run.network, run.data.batch(step)).total.item() for step in range(12)]
    assert losses[1] > 0.01  # without noise the least loss is 0
    for before, after in itertools.pairwise(losses[1:]):
        assert after <= bound * before * 1.001 + 1e-9
    assert losses[-1] < 1e-3 * losses[1]


def test_the_penalty_of_the_length_counts() -> None:
    """With gamma decayed the best length is -<u, w> / ||w||_S / (1 + decay / 2)."""
    run, plain = training("optim.groups=[{match: gamma, decay: 0.5}]"), training()
    twin = Twin(plain)
    for each in (run, plain):
        train_step(each, each.network, each.data.batch(0))
    twin.step(1.0)
    assert plain.network.neuron.norm.weight.item() == pytest.approx(twin.g, rel=1e-4)
    twin.w = run.network.neuron.layer.weight.detach().double().numpy()[0]
    best = -(twin.u @ twin.w) / twin.size() / 1.25
    assert run.network.neuron.norm.weight.item() == pytest.approx(best, rel=1e-4)


def test_what_is_added_has_a_curvature_of_its_own() -> None:
    """With gamma decayed and a large eps beta is the targets' mean all the same, after one step."""
    run = training("optim.groups=[{match: gamma, decay: 4.0}]", "norm.eps=1.0", "data.mean=0.5")
    train_step(run, run.network, run.data.batch(0))
    mean = run.data.batch(0).targets.mean().item()
    assert abs(mean) > 0.1
    assert run.network.neuron.norm.bias.item() == pytest.approx(mean, rel=1e-4)


def test_probes_change_no_bit_and_a_run_goes_on(tmp_path: Path) -> None:
    assert_unnoticed_and_carried_on(tmp_path, *NEURON)


@pytest.mark.parametrize(
    "wrong",
    [
        ["norm=none"],
        ["norm=l2"],
        ["norm=batch", "norm.affine=false"],
        ["optim.groups=[{match: gamma, train: false}]"],
        ["model.bias=true"],
        [*MLP, "data=digits"],
    ],
    ids=lambda wrong: " ".join(wrong)[:30],
)
def test_other_networks_are_refused_in_one_line(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {option.partition("=")[0] for option in wrong}
    keys |= {"data.samples", "data.dimension", "data.condition"} if "data" in keys else set()
    keys |= {"norm.eps"} if "norm" in keys else set()
    chosen = [option for option in NEURON if option.partition("=")[0] not in keys]
    error = refusal([*chosen, *wrong], tmp_path, monkeypatch, capsys)
    assert "optim=length_direction: needs one trained neuron with batch normalisation" in error


@pytest.mark.parametrize("criterion", ["linear", "logistic"])
def test_a_loss_that_is_not_quadratic_is_refused(
    criterion: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is best for the length would be read off a curvature that changes."""
    data = ["data=gaussian_signs"] if criterion == "logistic" else []
    kept = [option for option in NEURON if not (data and option.startswith("data"))]
    error = refusal([*kept, *data, f"optim.criterion={criterion}"], tmp_path, monkeypatch, capsys)
    assert f"optim.criterion={criterion}: optim=length_direction needs a squared error; allowed: squared_error" in error
