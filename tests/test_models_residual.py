"""Residual networks and the linear neuron against their formulas, written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.errors import WrongInput
from experiments.models.residual import Residual, Shortcut, Standardise
from experiments.norms.fold import fold
from probes import (
    Activations,
    Dynamics,
    Gradients,
    InternalCovariateShift,
    Landscape,
    Objective,
    Probes,
    Representations,
    Shift,
    Spectrum,
    Theory,
    statistics,
)
from tests.test_fold import lived_in, same_function
from tests.test_models import CIFAR, DIGITS, VECTORS, build, inputs_for
from tests.test_probes import assert_equal_states, everything, sgd, train_step

BATCH = {"name": "batch"}


def batch_norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return functional.batch_norm(x, None, None, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"], True)


def linear(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return functional.linear(x, state[f"{name}.layer.weight"], state[f"{name}.layer.bias"])


JOINED = {
    "plain": lambda x, f, alpha: x + f,
    "skipinit": lambda x, f, alpha: x + alpha * f,
    "scaled": lambda x, f, alpha: x + f / math.sqrt(3),
    "undone": lambda x, f, alpha: (x / (x.detach().var(correction=0) + 1e-5).sqrt() + f) / math.sqrt(2),
}


@pytest.mark.parametrize("branch", list(JOINED))
def test_a_fully_connected_one_is_as_written(branch: str) -> None:
    options = {"branch": branch, "alpha": 0.5, "layers_per_block": 2, "width": 7, "activation": "tanh"}
    network, x = build("residual_mlp", BATCH, **options).double(), inputs_for(DIGITS, 9).double()
    parameters = dict(network.named_parameters())
    h = linear(x.flatten(1), parameters, "stem")
    for block in ("block1", "block2", "block3"):
        f = h
        for layer in ("layer1", "layer2"):
            name = f"{block}.branch.{layer}"
            f = linear(batch_norm(f, parameters, name).tanh(), parameters, name)
        h = JOINED[branch](h, f, parameters.get(f"{block}.branch.scale.alpha"))
    expected = linear(batch_norm(h, parameters, "final").tanh(), parameters, "head")
    y = network(x)
    torch.testing.assert_close(y, expected)
    g = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).view_as(y)
    ours, theirs = (torch.autograd.grad(v, list(parameters.values()), g, allow_unused=True) for v in (y, expected))
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, msg=name)
    assert sum("alpha" in name for name in parameters) == (3 if branch == "skipinit" else 0)


def test_skipinit_at_0_is_the_identity() -> None:
    network, x = build("residual_mlp", BATCH, branch="skipinit"), inputs_for(DIGITS, 9)
    stem = network.stem(network.flatten(x))
    assert torch.equal(network(x), network.head(network.final(stem)))
    network(x).square().sum().backward()
    assert network.block1.branch.scale.alpha.grad.abs() > 0
    assert not network.block1.branch.layer1.layer.weight.grad.any()


def test_where_growth_is_undone_evaluation_takes_the_running_deviation() -> None:
    standardise = Standardise()
    standardise.place = "here"
    running = 1.0
    for seed in range(3):
        x = 3 * torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(standardise(x), x / (x.var(correction=0) + 1e-5).sqrt())
        running = 0.9 * running + 0.1 * (x.var(correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(standardise.running_deviation, running.view(1))
    torch.testing.assert_close(standardise.eval()(x), x / running)
    with statistics.taken_from({"here.running_deviation": torch.tensor([4.0])}):
        torch.testing.assert_close(standardise(x), x / 4)
    with statistics.taken_from("batch"):
        torch.testing.assert_close(standardise(x).std(correction=0), torch.tensor(1.0))
    torch.testing.assert_close(standardise.running_deviation, running.view(1))


def second_moments(norm: str) -> Tensor:
    """Mean squares after each of 60 blocks of width 64, on average over four starts."""
    found = []
    for seed in range(4):
        network = build("residual_mlp", {"name": norm}, blocks=60, initialisation="he", seed=seed)
        h, rows = network.stem(network.flatten(inputs_for(DIGITS, 128))), []
        for number in range(1, 61):
            h = network.get_submodule(f"block{number}")(h)
            rows.append(h.square().mean().detach())
        found.append(torch.stack(rows))
    return torch.stack(found).log().mean(0)


def test_at_the_start_a_plain_one_doubles_with_each_block_and_a_normalised_one_grows_linearly() -> None:
    """De & Smith 2020, section 2: E h^2 is 2^l without normalisation, and l with it."""
    depth = torch.arange(1.0, 61.0)
    plain = second_moments("none")
    assert ((plain[-1] - plain[0]) / 59).item() == pytest.approx(math.log(2), rel=0.1)
    normalised = second_moments("batch")
    slope = (normalised[-1] - normalised[9]) / (depth[-1] / depth[9]).log()
    assert slope.item() == pytest.approx(1, abs=0.1)


def slow_resnet(x: Tensor, state: dict[str, Tensor], per_stage: int, pre: bool) -> Tensor:
    def convolution(h: Tensor, name: str, stride: int = 1) -> Tensor:
        return functional.conv2d(h, state[f"{name}.layer.weight"], state[f"{name}.layer.bias"], stride, 1)

    h = convolution(x, "stem")
    if not pre:
        h = batch_norm(h, state, "stem").relu()
    for stage in (1, 2, 3):
        for number in range(1, per_stage + 1):
            name, stride = f"stage{stage}_block{number}.residual.branch", 2 if stage > 1 and number == 1 else 1
            one, two = f"{name}.layer1", f"{name}.layer2"
            if pre:
                f = convolution(batch_norm(h, state, one).relu(), one, stride)
                f = convolution(batch_norm(f, state, two).relu(), two)
            else:
                f = batch_norm(convolution(h, one, stride), state, one).relu()
                f = batch_norm(convolution(f, two), state, two)
            beside = torch.zeros_like(f)
            first = (f.shape[1] - h.shape[1]) // 2
            beside[:, first : first + h.shape[1]] = h[:, :, ::stride, ::stride]
            h = beside + f if pre else (beside + f).relu()
    if pre:
        h = batch_norm(h, state, "final").relu()
    return linear(h.mean((2, 3)), state, "head")


@pytest.mark.parametrize("pre", [False, True])
def test_a_convolutional_one_is_as_written(pre: bool) -> None:
    network = build("resnet", BATCH, depth=14, width=0.25, pre_activation=pre).double()
    x = inputs_for(DIGITS, 4).double()
    torch.testing.assert_close(network(x), slow_resnet(x, network.state_dict(), 2, pre))


def test_resnet_20_has_the_published_size() -> None:
    """269,722 parameters without biases before the normalisations, of which there are 16 x 7 + 32 x 6 + 64 x 6."""
    network = build("resnet", BATCH, spec=CIFAR, depth=20, width=1.0)
    assert sum(p.numel() for p in network.parameters()) == 269_722 + 688
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 20
    assert sum(isinstance(m, Shortcut) for m in network.modules()) == 2
    assert network.stage3_block3(network.stage3_block2(torch.zeros(1, 64, 8, 8))).shape == (1, 64, 8, 8)


@pytest.mark.parametrize("norm", ["batch", "whitening"])
def test_every_normalisation_of_a_published_one_folds(norm: str) -> None:
    network = lived_in(build("resnet", {"name": norm}), 1, 8, 8)
    folded = same_function(network, inputs_for(DIGITS, 8))
    assert sum(isinstance(module, nn.Identity) for module in folded.modules()) == 7 + 1  # one shortcut is one


def test_of_one_with_pre_activation_the_first_is_named() -> None:
    with pytest.raises(WrongInput, match=r"^fold: stage1_block1.residual.branch.layer1.norm does not follow a linear"):
        fold(build("resnet", BATCH, pre_activation=True))


PROBED: list[tuple[str, dict[str, Any], str]] = [
    ("resnet", {"width": 0.25}, "batch"),
    ("resnet", {"width": 0.25, "pre_activation": True, "branch": "skipinit"}, "whitening"),
    ("residual_mlp", {"branch": "undone", "width": 6}, "batch"),
    ("residual_mlp", {"branch": "skipinit", "width": 6}, "cosine"),
    ("linear_neuron", {}, "batch"),
]


@pytest.mark.parametrize(("model", "options", "norm"), PROBED)
def test_training_does_not_notice_the_probes(model: str, options: dict[str, Any], norm: str) -> None:
    states = []
    for probing in (False, True):
        spec = VECTORS if model == "linear_neuron" else DIGITS
        network = build(model, {"name": norm}, **options)
        objective, optimiser = Objective(functional.cross_entropy, 1e-2), sgd(network, 0.05, momentum=0.9)
        batches = [(torch.randn(6, *spec.input_shape, generator=torch.Generator().manual_seed(i)), torch.arange(6))
                   for i in range(2)]  # fmt: skip
        chosen: dict[str, Any] = {"landscape": Landscape(multiples=(1.0,)), "ics": InternalCovariateShift()}
        chosen |= {"gradients": Gradients(), "activations": Activations(batches=("train",)), "theory": Theory()}
        chosen |= {"dynamics": Dynamics(channels=True, units=True, values=True), "shift": Shift()}
        chosen |= {"representations": Representations()} | (
            {"spectrum": Spectrum(1)} if norm != "whitening" and options.get("branch") != "undone" else {}
        )
        if probing:
            probes = Probes(network, objective, chosen, batches[0], learning_rate=0.05, every=1, seed=7)
        for step, batch in enumerate(batches):
            if probing:
                with probes.around(step, batch) as forward:
                    train_step(forward, network, objective, optimiser, batch, 7, step)
            else:
                train_step(network, network, objective, optimiser, batch, 7, step)
        states.append(everything(network, optimiser))
    assert_equal_states(*states)
    assert len(probes.records) == 2 * len(chosen)


def test_the_linear_neuron_without_normalisation_is_least_squares() -> None:
    network, x = build("linear_neuron").double(), inputs_for(VECTORS, 40).double()
    target = torch.randn(40, 10, dtype=torch.float64)
    solution = torch.linalg.lstsq(x, target).solution
    assert [name for name, _ in network.named_parameters()] == ["neuron.layer.weight"]
    with torch.no_grad():
        network.neuron.layer.weight.copy_(solution.T)
    functional.mse_loss(network(x), target).backward()
    assert network.neuron.layer.weight.grad.abs().max() < 1e-12
    normalised = build("linear_neuron", BATCH, bias=True)
    assert list(normalised.neuron._modules) == ["layer", "norm"]
    assert normalised.neuron.layer.bias is not None


def test_a_block_is_the_sum_of_its_parts() -> None:
    block = Residual({"layer1": nn.Linear(3, 3)}, "plain", 1)
    x = torch.randn(2, 3)
    assert torch.equal(block(x), x + block.branch.layer1(x))
