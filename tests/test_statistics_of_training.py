"""Training by running statistics and by those of the whole training set, against evaluation mode and one big batch."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import experiments
from analysis import load_runs
from experiments.errors import WrongInput
from experiments.evaluations.holders import set_to_population
from experiments.models import build_model
from experiments.norms import apply_norm
from experiments.scale_invariance import scale_invariant
from probes import Objective, ProbeError, statistics
from tests.runs import assert_unnoticed_and_carried_on, small
from tests.test_evaluations import digits, occasion
from tests.test_norm_closed_forms import close, random
from tests.test_statistics import SPEC

SOURCES = ("batch", "running", "population")
PARTS: list[dict[str, Any]] = [
    {},
    {"center": False},
    {"center": 0.25},
    {"scale": False},
    {"affine": False},
    {"momentum": 0.3, "eps": 0.1},
]


def network_by(source: str, **options: Any) -> nn.Module:
    """Two normalised layers; the same weights whatever ``source``."""
    norm = {"name": "batch", "statistics": source, **options}
    return build_model({"name": "mlp", "widths": [6, 4]}, norm, SPEC, 1).double()


def gradients(network: nn.Module, output: Tensor) -> list[Tensor]:
    targets = torch.arange(len(output)) % SPEC.outputs
    return list(torch.autograd.grad(functional.cross_entropy(output, targets), list(network.parameters())))


def same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)


@pytest.mark.parametrize("options", PARTS, ids=str)
def test_training_by_running_statistics_is_evaluation_mode(options: dict[str, Any]) -> None:
    """Value and gradient by those from before the batch, which then move as batch normalisation's do."""
    network, x = network_by("running", **options), random(9, 5)
    for seed in range(3):
        network(random(9, 5, seed=seed) * 2 + 1)
    evaluated = copy.deepcopy(network).eval()
    z = network.fc1.layer(x)
    before = network.fc1.norm.running_mean.clone(), network.fc1.norm.running_var.clone()
    output = network(x)
    expected = evaluated(x)
    close(output, expected)
    same(gradients(network, output), gradients(evaluated, expected))
    momentum = options.get("momentum", 0.1)
    close(network.fc1.norm.running_mean, (1 - momentum) * before[0] + momentum * z.mean(0))
    close(network.fc1.norm.running_var, (1 - momentum) * before[1] + momentum * z.var(0))
    assert network.fc1.norm.num_batches_tracked == 4


@pytest.mark.parametrize("options", PARTS + [{"detach": d} for d in ("mean", "std", "both")], ids=str)
def test_training_by_a_population_is_one_batch_of_all_of_it(options: dict[str, Any]) -> None:
    """Of which the loss looks at some samples; the gradient goes through all of them as far as nothing is detached."""
    network, whole = network_by("population", **options), network_by("batch", **options)
    population = random(20, 5) * 2 + 1
    chosen = [3, 7, 11, 19, 3]
    with statistics.of_population(network, population):
        output = network(population[chosen])
    expected = whole(population)[chosen]
    close(output, expected)
    same(gradients(network, output), gradients(whole, expected))
    for (name, mine), other in zip(network.named_buffers(), whole.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12, msg=name)
    alone = network_by("batch", **options)(population[chosen])
    assert (alone - expected).abs().max() > 1e-2


def test_detached_population_statistics_are_given_ones_and_evaluation_mode() -> None:
    network, plain, population = network_by("population", detach="both"), network_by("batch"), random(20, 5) + 1
    given, h = {}, population.clone()
    for name in ("fc1", "fc2"):
        z = plain.get_submodule(f"{name}.layer")(h).detach()
        mean, variance = z.mean(0), ((z - z.mean(0)) ** 2).mean(0)
        given |= {f"{name}.norm.running_mean": mean, f"{name}.norm.running_var": variance}
        h = ((z - mean) / (variance + 1e-5).sqrt()).relu()  # gamma is 1, beta 0
    x = random(6, 5, seed=8)
    with statistics.of_population(network, population):
        output = network(x)
    with statistics.taken_from(given):
        expected = plain(x)
    close(output, expected)
    same(gradients(network, output), gradients(plain, expected))
    evaluated = copy.deepcopy(plain)
    evaluated.load_state_dict({**evaluated.state_dict(), **given})
    close(output, evaluated.eval()(x))


def test_at_momentum_1_the_running_ones_are_what_population_statistics_at_test_time_are() -> None:
    """Of images every pixel counts; the variance that is kept is the unbiased one, by which what follows differs."""
    data = digits()
    norm = {"name": "batch", "statistics": "population", "momentum": 1.0}
    network = build_model({"name": "vgg_small", "width": 0.125}, norm, data.spec, 1)
    inputs = data.training_inputs()
    with statistics.of_population(network, inputs):
        network(inputs[:4])
    found = copy.deepcopy(network).eval()
    set_to_population(found, occasion(network, data), data.batches_of_all)
    for (name, one), other in zip(network.named_buffers(), found.buffers(), strict=True):
        first = name.startswith("conv1")
        torch.testing.assert_close(one, other, rtol=1e-5 if first else 1e-2, atol=1e-6 if first else 1e-3, msg=name)


def test_contexts_come_first_and_nothing_is_gathered_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of evaluation mode, of statistics from elsewhere, and of a network that trains by its batches'."""
    asking, plain, x = network_by("population"), network_by("batch"), random(6, 5)
    for network, source in (
        (asking, "batch"),
        (asking, "running"),
        (copy.deepcopy(asking).eval(), None),
        (plain, None),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(statistics, "gather", pytest.fail)
            reference = copy.deepcopy(plain).train(network.training)
            around = statistics.taken_from(source) if source else nullcontext()  # type: ignore[arg-type]
            with around:
                with statistics.of_population(network, random(20, 5)):
                    found = network(x)
                close(found, reference(x))


def test_the_global_generators_and_the_modes_are_put_back() -> None:
    network = build_model(
        {"name": "mlp", "widths": [6, 4], "dropout": 0.5}, {"name": "batch", "statistics": "population"}, SPEC, 1
    )
    state = torch.get_rng_state()
    with statistics.of_population(network, random(20, 5)):
        assert torch.equal(torch.get_rng_state(), state)
    assert not statistics.gathering()


def descended(folder: Path, *chosen: str) -> list[float]:
    table = load_runs(experiments.run(small(folder, "evaluation.every=1", *chosen)).path)
    return list(table[(table.metric == "loss")].sort_values("step").value)


def test_of_whole_batches_a_run_is_that_of_batch_normalisation(tmp_path: Path) -> None:
    whole = ["optim.batch_size=null", "optim.lr=0.5", "steps=6"]
    losses = {source: descended(tmp_path / source, *whole, f"norm.statistics={source}") for source in SOURCES}
    assert losses["population"] == pytest.approx(losses["batch"], rel=1e-4)
    assert abs(losses["running"][-1] - losses["batch"][-1]) > 1e-3
    small_batches = descended(tmp_path / "small", "optim.lr=0.5", "steps=6", "norm.statistics=population")
    assert abs(small_batches[-1] - losses["batch"][-1]) > 1e-3


@pytest.mark.parametrize(
    "chosen",
    [
        ["norm.statistics=running"],
        ["norm.statistics=population"],
        ["norm.statistics=population", "norm.detach=both"],
        ["norm.statistics=population", "optim=sam"],
        ["norm.statistics=population", "model=vgg_small", "model.width=0.125", "data.subset=64", "data.test_subset=40",
         "optim.batch_size=16"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_probes_change_no_bit_and_a_run_goes_on_where_it_stopped(tmp_path: Path, chosen: list[str]) -> None:
    assert_unnoticed_and_carried_on(tmp_path, "norm=batch", *chosen)


def test_sam_climbs_by_the_same_function(tmp_path: Path) -> None:
    whole = ["optim=sam", "optim.batch_size=null", "optim.lr=0.5", "steps=4"]
    losses = {source: descended(tmp_path / source, *whole, f"norm.statistics={source}") for source in SOURCES}
    assert losses["population"] == pytest.approx(losses["batch"], rel=1e-4)


def test_scale_invariance_is_that_of_the_function() -> None:
    for source in SOURCES:
        network = network_by(source)
        inputs = random(20, 5)
        names = [name for name, p in network.named_parameters() if p.ndim == 2]
        found = scale_invariant(network, inputs, names, 0)
        assert found == (set() if source == "running" else set(names[:-1]))


def test_every_test_function_is_recorded(tmp_path: Path) -> None:
    for source in ("running", "population"):
        table = load_runs(experiments.run(small(tmp_path, f"norm.statistics={source}")).path)
        assert "population statistics" in set(table[table.metric == "accuracy"].point)


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        (["norm.statistics=mean"], "norm.statistics=mean: allowed: batch, population, running"),
        (
            ["norm.statistics=population", "norm.per=ghost", "norm.ghost_size=8"],
            "norm.statistics=population: needs norm.per=batch, not ghost",
        ),
        (
            ["norm.statistics=running", "norm.detach=std"],
            "norm.detach=std: running statistics have no gradient; choose norm.statistics=batch",
        ),
        (
            ["norm.statistics=population", "data.augment=true"],
            "data.augment=true: there are no statistics of the whole training set then",
        ),
    ],
)
def test_what_does_not_go_together_is_said_before_a_folder_is_made(
    tmp_path: Path, chosen: list[str], line: str
) -> None:
    with pytest.raises(WrongInput, match=f"^{line}"):
        experiments.run(small(tmp_path, *chosen))
    assert not list(tmp_path.iterdir())


def test_a_population_that_is_not_there_is_refused() -> None:
    network, x = network_by("population"), random(6, 5)
    with pytest.raises(ProbeError, match=r"^statistics of a population for 'fc1.norm': no population is given; train"):
        network(x)
    block = apply_norm(nn.Linear(5, 5), "batch", statistics="population").double()
    twice = nn.Sequential(block, block)
    reached = pytest.raises(ProbeError, match=r"a module without a place.* is reached twice in one pass")
    with reached, statistics.of_population(twice, x):
        pass
    objective = Objective(functional.cross_entropy, population=random(20, 5))
    assert objective(network, network, x, torch.arange(6) % 3).total.requires_grad
