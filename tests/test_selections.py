"""Parameters chosen by what they do: weights whose size changes nothing, and a few random weights per channel."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import experiments
from experiments.building import build_training
from experiments.chosen_entries import choose_entries
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.norms.fold import fold
from experiments.parameter_groups import parameter_groups, thin_out
from experiments.runs.records import ProbeRecorder
from experiments.selections import Parameters
from experiments.train import Training, train_step
from tests.runs import MLP, VGG, checkpoint, differences, refusal, small

HIDDEN = ["fc1.layer.weight", "fc2.layer.weight"]
CONVOLUTIONS = [f"conv{i}.layer.weight" for i in range(1, 7)]


def training(*overrides: str) -> Training:
    config = plain_config(small(Path("nowhere"), *overrides))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    return build_training(config, data, torch.device("cpu"), ProbeRecorder())


def found_in(*overrides: str) -> list[str]:
    run = training(*overrides)
    parameters = Parameters(run.network, lambda: run.data.batch(0).inputs, 0)
    return sorted(parameters.matching("k", "scale_invariant"))


# Which weights are scale-invariant, by what is known of each normalisation

INVARIANT: list[tuple[list[str], list[str]]] = [
    (["norm=batch"], HIDDEN),
    (["norm=noisy_batch"], HIDDEN),
    (["norm=batch", "norm.per=ghost", "norm.ghost_size=8"], HIDDEN),
    (["norm=whitening"], HIDDEN),
    (["norm=l1", "norm.centered=true"], HIDDEN),
    (["norm=cosine"], HIDDEN),  # divides by the weight's norm itself
    (["norm=weight"], [f"fc{i}.layer.parametrizations.weight.original1" for i in (1, 2)]),
    (["norm=batch", "model.norm_at=[fc2]"], HIDDEN[1:]),
    (["norm=batch", "model.norm_at=all", "model.fixed_output=10"], [*HIDDEN, "head.layer.weight"]),
    ([*VGG, "norm=batch", "model.dropout=0.2"], CONVOLUTIONS),
    # before the sum of a pre-activation block nothing is normalised
    (
        ["model=resnet_small", "norm=batch", "model.pre_activation=true", "data.subset=16", "optim.batch_size=8"],
        [f"stage{i}_block1.residual.branch.layer1.layer.weight" for i in (1, 2, 3)],
    ),
]


@pytest.mark.parametrize(("chosen", "expected"), INVARIANT, ids=lambda value: " ".join(value)[:40])
def test_scale_invariant_are_the_weights_that_a_normalisation_divides_by(
    chosen: list[str], expected: list[str]
) -> None:
    assert found_in(*chosen) == expected


@pytest.mark.parametrize(
    "chosen",
    [["norm=none"], ["norm=dyt"], ["norm=noise"], ["norm=batch", "norm.scale=false"], ["norm=layer"], ["norm=l1"]],
    ids=lambda value: " ".join(value),
)
def test_where_no_size_is_divided_by_there_is_none(chosen: list[str]) -> None:
    """Layer normalisation, or dividing by an uncentred norm, leaves a bias, beside which the weight's size counts."""
    with pytest.raises(WrongInput, match="k=scale_invariant: there is none: each weight's size"):
        found_in(*chosen)


class Own(nn.Module):
    """Two weights that are normalised, one that is not, one that is never used, and a factor that starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(4, 5, bias=False), nn.Linear(5, 5), nn.Linear(2, 2)
        self.last = nn.Linear(5, 3)
        self.factor = nn.Parameter(torch.zeros(1))
        self.standard = nn.LayerNorm(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.standard(self.first(x))
        return self.last(hidden + self.factor * torch.tanh(self.second(hidden)))


def test_it_asks_the_function_and_neither_names_nor_the_start() -> None:
    torch.manual_seed(0)
    network = Own()
    before = copy.deepcopy(network.state_dict())
    parameters = Parameters(network, lambda: torch.randn(100, 4))
    assert parameters.matching("k", "scale_invariant") == {"first.weight"}
    assert differences(dict(before), dict(network.state_dict())) == []
    (others,) = parameter_groups(network, [{"match": "weights", "except": "scale_invariant", "lr": "x2"}], parameters)
    assert others.names == {"second.weight", "last.weight", "unused.weight"}
    with pytest.raises(WrongInput, match=r"overlaps with optim\.groups\.0 in first\.weight"):
        parameter_groups(
            network,
            [{"match": "first.*", "lr": "x2"}, {"match": "scale_invariant", "train": False}],
            parameters,
        )
    with pytest.raises(WrongInput, match="cannot be told without a batch"):
        Parameters(network).matching("k", "scale_invariant")


def test_all_but_the_scale_invariant_are_frozen_by_one_group(tmp_path: Path) -> None:
    group = "optim.groups=[{match: '*', except: scale_invariant, train: false}]"
    start, end = (
        checkpoint(experiments.run(small(tmp_path, group, "optim.momentum=0.9", *more)).path)["network"]
        for more in (["optim.lr=1e-30"], [])
    )
    moved = {name for name, value in end.items() if not torch.equal(value, start[name]) and "running" not in name}
    assert moved == set(HIDDEN)


# A few random weights per channel

FEW = "optim.groups=[{match: weights, except: 'head*', random_per_channel: 2}]"
ENTRIES = "layer.parametrizations.weight.original"


def test_the_few_are_trained_as_by_a_masked_gradient_and_the_rest_is_frozen(tmp_path: Path) -> None:
    """Against the plain network, whose gradient is masked by hand before each step of torch's own momentum."""
    usual = ["optim.momentum=0.9", "optim.weight_decay=0.01", "steps=5"]
    run = training(*usual)
    slim = experiments.load_network(experiments.run(small(tmp_path, FEW, *usual)).path)
    masks = {}
    for name in HIDDEN:
        module = slim.get_submodule(name.removesuffix(".weight"))
        places = module.parametrizations.weight[0].places
        masks[name] = torch.zeros(module.weight.shape).scatter(1, places, 1.0)
    optimiser = torch.optim.SGD(run.network.parameters(), lr=0.1, momentum=0.9)
    named = dict(run.network.named_parameters())
    begun = {name: p.detach().clone() for name, p in named.items()}
    for step in range(5):
        batch = run.data.batch(step)
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(run.network(batch.inputs), batch.targets)
        (loss + 0.005 * sum(named[n].square().sum() for n in (*HIDDEN, "head.layer.weight"))).backward()
        for name, mask in masks.items():
            named[name].grad *= mask
        optimiser.step()
    for name, mask in masks.items():
        weight = slim.get_submodule(name.removesuffix(".weight")).weight
        assert mask.sum(1).tolist() == [2.0] * 16
        torch.testing.assert_close(weight, named[name], rtol=1e-5, atol=1e-7)
        assert torch.equal(weight[mask == 0], begun[name][mask == 0])
        assert not torch.isclose(weight[mask == 1], begun[name][mask == 1], rtol=1e-3).any()
    torch.testing.assert_close(slim.head.layer.weight, named["head.layer.weight"], rtol=1e-5, atol=1e-7)


OPTIMISERS = {
    "momentum and decay": ["optim.momentum=0.9", "optim.weight_decay=0.1"],
    "adam": ["optim=adam", "optim.weight_decay=0.1"],
    "adamw": ["optim=adamw", "optim.decoupled_weight_decay=0.5"],
}


@pytest.mark.parametrize("how", list(OPTIMISERS))
def test_the_rest_does_not_move_at_all_under_any_optimiser(how: str) -> None:
    run = training(*VGG, FEW, "optim.lr=0.01", *OPTIMISERS[how])
    layers = [run.network.get_submodule(name.removesuffix(".weight")) for name in CONVOLUTIONS]
    begun = [layer.weight.detach().clone() for layer in layers]
    for step in range(4):
        train_step(run, run.network, run.data.batch(step))
    for layer, start in zip(layers, begun, strict=True):
        moved = (layer.weight != start).flatten(1).sum(1)
        assert moved.tolist() == [2] * len(start)


def test_decay_without_a_gradient_shrinks_the_few_alone() -> None:
    """Decoupled decay acts on what the penalty counts: here on the trained numbers."""
    run = training(FEW, "optim=adamw", "optim.lr=0.1", "optim.decoupled_weight_decay=0.5")
    layer = run.network.fc1.layer
    start = layer.weight.detach().clone()
    for parameter in run.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    run.optimiser.step()
    places = layer.parametrizations.weight[0].places
    torch.testing.assert_close(layer.weight, start.scatter(1, places, 0.95 * start.gather(1, places)))


@pytest.mark.parametrize("decay", ["", ", decay: 0.3"])
def test_the_penalty_counts_the_trained_numbers_alone(decay: str) -> None:
    few = f"optim.groups=[{{match: weights, except: 'head*', random_per_channel: 2{decay}}}]"
    run = training(few, "optim.weight_decay=0.2")
    batch = run.data.batch(0)
    found = run.objective(run.network, run.network, batch.inputs, batch.targets).penalty.item()
    own = sum(run.network.get_parameter(f"fc{i}.{ENTRIES}").square().sum().item() for i in (1, 2))
    head = run.network.head.layer.weight.square().sum().item()
    assert found == pytest.approx((0.15 if decay else 0.1) * own + 0.1 * head, rel=1e-5)


def test_which_are_trained_is_a_function_of_the_seed_and_the_name(tmp_path: Path) -> None:
    def places(seed: int) -> list[torch.Tensor]:
        network = training("model=mlp", "model.widths=[16,16,16]", FEW, f"seed={seed}").network
        return [network.get_submodule(f"fc{i}.layer.parametrizations.weight.0").places for i in (1, 2, 3)]

    first, again, other = places(0), places(0), places(1)
    assert differences(first, again) == []
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], first[2])  # two layers of one shape
    drawn = torch.cat([first[0].flatten(), other[0].flatten()])  # 2 of 64 for each of 16 channels, twice
    assert (first[0][:, 0] < first[0][:, 1]).all()
    assert len(drawn.unique()) > 20


def test_the_network_is_the_same_function_and_a_stored_one_is_read(tmp_path: Path) -> None:
    run, plain = training(FEW), training()
    batch = run.data.batch(0)
    assert torch.equal(run.network(batch.inputs), plain.network(batch.inputs))
    path = experiments.run(small(tmp_path, FEW, "norm=batch")).path
    there = checkpoint(path)["network"]
    assert differences(dict(experiments.load_network(path).state_dict()), dict(there)) == []
    assert there[f"fc2.{ENTRIES}"].shape == (16, 2)
    network = experiments.load_network(path).eval()
    folded = fold(network)
    assert type(folded.fc1.layer) is nn.Linear
    torch.testing.assert_close(folded(batch.inputs), network(batch.inputs), rtol=1e-4, atol=1e-5)


def test_probes_change_no_bit_and_see_the_trained_numbers(tmp_path: Path) -> None:
    probed = ["probes=[landscape,ics,gradients,dynamics]", "probes.every=1"]
    for more in ([], probed):  # two of one training must end with equal bits, or the second fails
        experiments.run(small(tmp_path / "whole", FEW, "optim.momentum=0.9", *more))
    one, other = (checkpoint(path)["network"] for path in sorted((tmp_path / "whole").glob("digits*")))
    assert differences(dict(one), dict(other)) == []
    experiments.run(small(tmp_path / "parts", FEW, "optim.momentum=0.9", "steps=3"))
    parts = checkpoint(experiments.run(small(tmp_path / "parts", FEW, "optim.momentum=0.9")).path)["network"]
    assert differences(dict(one), dict(parts)) == []


WRONG: dict[str, tuple[Any, str]] = {
    "no number": ({"random_per_channel": 0.5}, "random_per_channel=0.5: must be a whole number of at least 1"),
    "none": ({"random_per_channel": 0}, "random_per_channel=0: must be a whole number"),
    "frozen": ({"random_per_channel": 2, "train": False}, "random_per_channel=2: of what train=false freezes"),
    "too many": ({"random_per_channel": 99}, "optim.groups.0.random_per_channel=99: 0.weight: has 5 weights per ch"),
    "gammas": ({"match": "gamma", "random_per_channel": 1}, "1.weight: only weights of linear layers and convolutions"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_one_line(case: str) -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    described, line = WRONG[case]
    with pytest.raises(WrongInput) as caught:
        thin_out(network, parameter_groups(network, [{"match": "weights", **described}]), 0.0, 0)
    assert line in str(caught.value)


def test_shared_transposed_and_reparametrised_weights_are_refused() -> None:
    shared = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    shared[1].weight = shared[0].weight
    normalised = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    for network, name, line in (
        (shared, "0.weight", "is shared"),
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 3)), "0.weight", "only weights of linear layers"),
        (normalised, "0.parametrizations.weight.original1", "only weights of linear layers"),
    ):
        with pytest.raises(WrongInput, match=line):
            choose_entries(network, name, 1, 0, "k")


def test_a_fixed_output_layer_is_none_to_choose_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ["optim.groups=[{match: weights, random_per_channel: 2}]", "model.fixed_output=10", "norm=batch"]
    error = refusal([*MLP, *chosen], tmp_path, monkeypatch, capsys)
    assert "optim.groups.0.random_per_channel=2: head.layer.weight: not trained" in error
