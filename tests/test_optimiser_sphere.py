"""Descent on the sphere: the norm is kept, a step is the closed form, and the rate is the effective one."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import experiments
from analysis import load_runs
from experiments import selections
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.runs.records import ProbeRecorder
from experiments.train import Training, train_step
from tests.runs import MLP, VGG, assert_unnoticed_and_carried_on, refusal, small

SPHERE = ["optim=sphere", "optim.lr=0.1"]
INVARIANT = ["fc1.layer.weight", "fc2.layer.weight"]
FULLY = ["model.norm_at=all", "model.fixed_output=10", "norm.affine=false", "norm=batch"]


def training(*overrides: str) -> Training:
    config = plain_config(small(Path("nowhere"), *overrides))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    return build_training(config, data, torch.device("cpu"), ProbeRecorder())


def norms(network: nn.Module, names: list[str]) -> list[float]:
    named = dict(network.named_parameters())
    return [named[name].detach().double().norm().item() for name in names]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("norm", [1.0, 3.0, None])
def test_the_norm_is_kept_to_rounding(norm: float | None, together: bool) -> None:
    chosen = [f"optim.norm={'null' if norm is None else norm}", f"optim.together={together}", "optim.schedule=cosine"]
    start = norms(training(*MLP).network, INVARIANT)
    run = training(*MLP, *SPHERE, "steps=30", *chosen)
    begun = norms(run.network, INVARIANT)
    for step in range(30):
        train_step(run, run.network, run.data.batch(step))
        found = norms(run.network, INVARIANT)
        if together:
            expected = math.hypot(*start) if norm is None else norm
            assert math.hypot(*found) == pytest.approx(expected, rel=3e-7)
        else:
            assert found == pytest.approx(start if norm is None else [norm, norm], rel=3e-7)
    if together:
        assert abs(found[0] / begun[0] - 1) > 1e-4  # the shares of the layers may change


@pytest.mark.parametrize("together", [True, False])
def test_one_step_is_the_closed_form(together: bool) -> None:
    """norm (w - lr g) / ||w - lr g||, and since <w, g> = 0 that length is sqrt(norm^2 + lr^2 ||g||^2)."""
    run = training(*MLP, *SPHERE, f"optim.together={together}", "optim.norm=2", "norm.eps=1e-12")
    run.network.double()
    run.optimiser._project()
    batch = run.data.batch(0)
    start = copy.deepcopy(run.network)
    loss = nn.functional.cross_entropy(start(batch.inputs.double()), batch.targets)
    loss.backward()
    named = dict(start.named_parameters())
    for name in INVARIANT:  # gradients of scale-invariant weights are orthogonal to them
        w, g = named[name], named[name].grad
        assert abs((w * g).sum().item()) < 1e-8 * w.norm().item() * g.norm().item()
    run.network.zero_grad()
    nn.functional.cross_entropy(run.network(batch.inputs.double()), batch.targets).backward()
    run.optimiser.step()
    for group in [INVARIANT] if together else [[name] for name in INVARIANT]:
        squared = sum(named[name].grad.square().sum().item() for name in group)
        length = math.sqrt(4 + 0.01 * squared)
        for name in group:
            expected = 2 * (named[name] - 0.1 * named[name].grad) / length
            torch.testing.assert_close(run.network.get_parameter(name), expected, rtol=1e-8, atol=1e-10)
    for name in set(named) - set(INVARIANT):
        torch.testing.assert_close(run.network.get_parameter(name), named[name] - 0.1 * named[name].grad)


def test_only_the_quotient_of_rate_and_squared_norm_counts() -> None:
    """Of a fully scale-invariant network: 1.6 on a sphere of 4 is 0.1 on one of 1, turned by the same angles."""
    one, other = (
        training(*MLP, *FULLY, *SPHERE, f"optim.norm={norm}", f"optim.lr={lr}", "norm.eps=1e-12", "steps=8")
        for norm, lr in ((1, 0.1), (4, 1.6))
    )
    for run in (one, other):
        for step in range(8):
            train_step(run, run.network, run.data.batch(step))
    start = training(*MLP, *FULLY, *SPHERE).network.get_parameter("fc1.layer.weight")
    mine, theirs = (run.network.get_parameter("fc1.layer.weight") for run in (one, other))
    assert (mine - start).norm() > 0.05 * start.norm()
    torch.testing.assert_close(4 * mine, theirs, rtol=1e-2, atol=1e-3)


def test_a_penalty_makes_the_rate_larger_and_nothing_else() -> None:
    """lr g + lr decay w is pulled back along w: the step of the rate lr / (1 - lr decay), from the same start."""
    plain = training(*MLP, *FULLY, *SPHERE, f"optim.lr={0.1 / (1 - 0.1 * 0.5)}")
    decayed = training(*MLP, *FULLY, *SPHERE, "optim.weight_decay=0.5")
    for run in (plain, decayed):
        train_step(run, run.network, run.data.batch(0))
    for name in INVARIANT:
        torch.testing.assert_close(
            plain.network.get_parameter(name), decayed.network.get_parameter(name), rtol=1e-4, atol=1e-6
        )


def test_the_recorded_effective_rate_is_the_one_that_was_set(tmp_path: Path) -> None:
    chosen = [*SPHERE, "optim.together=false", "optim.norm=2", "probes=dynamics", "probes.every=1", "steps=4"]
    path = experiments.run(small(tmp_path, *chosen)).path
    table = load_runs(path.parent)
    of = table[(table.metric == "effective_rate") & table.layer.isin(["fc1", "fc2"])]
    assert len(of) == 8
    assert list(of.value) == pytest.approx([0.1 / 4] * 8, rel=1e-5)


def test_probes_change_no_bit_and_a_run_goes_on(tmp_path: Path) -> None:
    assert_unnoticed_and_carried_on(tmp_path, *VGG, *SPHERE, "optim.lr=0.02", "optim.norm=null")


WRONG = {
    "optim.norm=0": "optim: norm=0: must be above 0, or null",
    "optim.norm=x": "optim.norm=x: must be a number or null",
    "norm=none": "optim=sphere: match=scale_invariant: there is none",
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_one_line(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WRONG[wrong] in refusal([*MLP, *SPHERE, wrong], tmp_path, monkeypatch, capsys)


def test_frozen_weights_are_on_no_sphere() -> None:
    with pytest.raises(WrongInput, match="all scale-invariant weights are frozen"):
        training(*MLP, *SPHERE, "optim.groups=[{match: scale_invariant, train: false}]")
    run = training(*MLP, *SPHERE, "optim.groups=[{match: fc1.layer.weight, train: false}]")
    assert norms(run.network, INVARIANT)[1] == pytest.approx(1, rel=1e-6)
    assert norms(run.network, INVARIANT)[0] == pytest.approx(norms(training(*MLP).network, INVARIANT)[0], rel=1e-6)


def test_scale_invariant_weights_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By groups and by the optimiser; twice only where weights are put together anew in between."""
    asked, inner = [], selections.scale_invariant
    monkeypatch.setattr(selections, "scale_invariant", lambda *args: asked.append(1) or inner(*args))
    training(*MLP, *SPHERE, "optim.groups=[{match: scale_invariant, lr: x2}]")
    assert len(asked) == 1
    training(*MLP, *SPHERE, "optim.groups=[{match: fc1.layer.weight, random_per_channel: 2}]")
    training(
        *MLP,
        *SPHERE,
        "optim.groups=[{match: scale_invariant, lr: x2}, {match: head.layer.weight, random_per_channel: 2}]",
    )
    assert len(asked) == 4
