"""Evaluations of the test set by other statistics and on other inputs, against loops written by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.criteria import data_loss
from experiments.data import Batch, Data, load_data
from experiments.evaluations import INPUTS, STATISTICS, Evaluation, score
from experiments.evaluations.base import Occasion
from experiments.evaluations.data.whole import Whole
from experiments.evaluations.holders import holders, set_to_population
from experiments.evaluations.inputs.noise import Noise
from experiments.evaluations.inputs.pgd import ProjectedGradient
from experiments.evaluations.statistics.batch import OfBatch
from experiments.evaluations.statistics.folded import Folded
from experiments.evaluations.statistics.population import Population
from experiments.evaluations.statistics.running import Running
from experiments.evaluations.statistics.taken_out import TakenOut
from experiments.models import build_model
from experiments.norms.batch import BatchNorm1d
from probes.objective import Objective
from tests.test_fold import lived_in

DIGITS = {"name": "digits", "subset": 64, "test_subset": 40}
OBJECTIVE = Objective(data_loss("classification", "mean"))


def digits(batch_size: int = 16, **options: Any) -> Data:
    return load_data({**DIGITS, **options}, 0, batch_size, "cpu")


def network_with(norm: dict[str, Any], name: str = "mlp", **options: Any) -> nn.Module:
    """With running statistics that are nobody's population."""
    options = options or ({"widths": [12, 12]} if name == "mlp" else {})
    return lived_in(build_model({"name": name, **options}, norm, digits().spec, 0), 1, 8, 8).eval()


def occasion(network: nn.Module, data: Data, step: int = 0, label: str = "x") -> Occasion:
    return Occasion(data, OBJECTIVE, step, 1000, holders(network, data.batch(0), 0), label)


def at_population(network: nn.Module, data: Data, batches: int) -> nn.Module:
    trial = copy.deepcopy(network)
    set_to_population(trial, occasion(network, data), batches)
    return trial


def union(data: Data, batches: int) -> Tensor:
    return torch.cat([batch.inputs for batch in data.population(batches)])


def norms_of(network: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in network.named_modules() if any("running_" in k for k, _ in m.named_buffers(recurse=False))}


class TestPopulation:
    def test_its_batches_are_of_different_samples_and_all_of_them_are_the_training_set(self) -> None:
        data = digits(batch_size=24)
        every = list(data.population(data.batches_of_all))
        assert [len(batch.targets) for batch in every] == [24, 24, 16]
        whole = torch.cat([batch.inputs for batch in every]).flatten(1)
        one_epoch = load_data(DIGITS, 0, None, "cpu").batch(0).inputs.flatten(1)
        assert sorted(map(tuple, whole.tolist())) == sorted(map(tuple, one_epoch.tolist()))
        assert torch.equal(union(data, 1), every[0].inputs)
        assert not torch.equal(every[0].inputs, data.batch(0).inputs)
        augmented = digits(batch_size=24, augment=True)
        assert torch.equal(union(augmented, 2), union(augmented, 2))
        assert not torch.equal(union(augmented, 1), union(data, 1))

    @pytest.mark.parametrize("norm", ["batch", "noisy_batch"])
    @pytest.mark.parametrize("batches", [1, 2, 3])
    def test_each_layers_are_those_of_all_samples_given_those_of_the_layers_before(
        self, norm: str, batches: int
    ) -> None:
        """By brute force over all values of each unit; the variance is over one value less than there are."""
        data, network = digits(batch_size=24), network_with({"name": norm})
        found = at_population(network, data, batches)
        x = union(data, batches).flatten(1)
        for block in (found.fc1, found.fc2):
            z = block.layer(x)
            torch_norm = block.norm.batch if norm == "noisy_batch" else block.norm
            mean = torch.stack([sum(column) / len(column) for column in z.T])
            squares = torch.stack([sum((v - m) ** 2 for v in column) for column, m in zip(z.T, mean, strict=True)])
            torch.testing.assert_close(torch_norm.running_mean, mean, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(torch_norm.running_var, squares / (len(z) - 1), rtol=1e-5, atol=1e-6)
            scale = torch_norm.weight / torch.sqrt(torch_norm.running_var + torch_norm.eps)
            x = ((z - torch_norm.running_mean) * scale + torch_norm.bias).relu()  # the noise is off
        torch.testing.assert_close(found(union(data, batches)), found.head(x), rtol=1e-4, atol=1e-5)

    def test_the_variance_is_that_within_batches_and_that_of_their_means(self) -> None:
        data, network = digits(batch_size=24), network_with({"name": "batch"})
        norm = at_population(network, data, 3).fc1.norm
        parts = [network.fc1.layer(batch.inputs.flatten(1)) for batch in data.population(3)]
        sizes = torch.tensor([float(len(z)) for z in parts])
        means, variances = (
            torch.stack([f(z) for z in parts]) for f in (lambda z: z.mean(0), lambda z: z.var(0, correction=0))
        )
        mean = (sizes[:, None] * means).sum(0) / 64
        within = (sizes[:, None] * variances).sum(0) / 64
        between = (sizes[:, None] * (means - mean) ** 2).sum(0) / 64
        assert (between / within).max() > 0.01
        torch.testing.assert_close(norm.running_var, (within + between) * 64 / 63, rtol=1e-5, atol=1e-6)

    def test_of_images_every_pixel_counts(self) -> None:
        data, network = digits(), network_with({"name": "batch"}, "vgg_small", width=0.125)
        name, norm = next(iter(norms_of(at_population(network, data, 4)).items()))
        layer = network.get_submodule(name.replace(".norm", ".layer"))
        z = layer(union(data, 4)).transpose(0, 1).flatten(1)
        torch.testing.assert_close(norm.running_mean, z.mean(1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var, z.var(1), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        "norm",
        [{"name": name} for name in ("l1", "l2", "linf", "batch_renorm", "whitening", "batch")]
        + [{"name": "batch", "center": False}],
        ids=str,
    )
    def test_of_every_normalisation_they_are_what_one_batch_of_all_leaves_at_momentum_1(
        self, norm: dict[str, Any]
    ) -> None:
        data, network = digits(), network_with(norm)
        found, x = at_population(network, data, 3), union(data, 3).flatten(1)
        for name in ("fc1", "fc2"):
            block, mine = network.get_submodule(name), found.get_submodule(name).norm
            whole = copy.deepcopy(block.norm).train()
            whole.momentum = 1.0
            z = block.layer(x)
            whole(z)
            for key, value in whole.named_buffers():
                if value.is_floating_point():
                    torch.testing.assert_close(mine.get_buffer(key), value, rtol=1e-4, atol=1e-5)
                    assert (mine.get_buffer(key) - block.norm.get_buffer(key)).abs().max() > 1e-3
            x = whole.eval()(z).relu()

    def test_in_residual_networks_branches_and_joins_too(self) -> None:
        options = {"depth": 8, "width": 0.25, "pre_activation": True}
        for name, chosen in {"resnet": options, "residual_mlp": {"blocks": 2, "branch": "undone"}}.items():
            network = network_with({"name": "batch"}, name, **chosen)
            found = at_population(network, digits(), 2)
            again = at_population(found, digits(), 2)  # a fixed point: they are those of the test function itself
            for (key, one), other in zip(found.named_buffers(), again.buffers(), strict=True):
                if one.is_floating_point():
                    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=key)
            assert any(not torch.equal(a, b) for a, b in zip(network.buffers(), found.buffers(), strict=True))

    def test_ghost_batches_have_those_of_the_union_whatever_its_size(self) -> None:
        data = digits(batch_size=24, subset=61)
        network = network_with({"name": "batch", "per": "ghost", "ghost_size": 8})
        norm = at_population(network, data, 3).fc1.norm
        z = network.fc1.layer(union(data, 3).flatten(1))
        torch.testing.assert_close(norm.running_mean, z.mean(0), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var, z.var(0), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("option", "usual"),
        [
            ({"name": "batch_renorm", "ghost_size": 4}, {"name": "batch_renorm"}),
            ({"name": "batch", "frozen_after": 1}, {"name": "batch"}),
        ],
        ids=str,
    )
    def test_micro_batches_and_standing_statistics_have_those_of_the_union(
        self, option: dict[str, Any], usual: dict[str, Any]
    ) -> None:
        """How training takes or keeps its own is nothing to a population; 61 is no multiple of 4."""
        data, one, other = digits(batch_size=24, subset=61), network_with(option), network_with(usual)
        for module in one.modules():
            if hasattr(module, "num_batches_tracked"):
                module.num_batches_tracked.fill_(5)  # so that statistics stand already
        other.load_state_dict(one.state_dict())
        found, expected = (at_population(network, data, 3).fc1.norm for network in (one, other))
        assert not torch.equal(found.get_buffer("running_mean"), one.fc1.norm.get_buffer("running_mean"))
        for key, value in expected.named_buffers():
            if value.is_floating_point():
                torch.testing.assert_close(found.get_buffer(key), value, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize(("batches", "taken"), [(None, 50), ("all", 64), (3, 3), (64, 64)])
    def test_how_many_batches_are_taken(self, batches: Any, taken: int) -> None:
        data, network = digits(batch_size=1), network_with({"name": "batch"})
        trial = replace(occasion(network, digits()), data=data)
        found, expected = Population(batches=batches).prepared(copy.deepcopy(network), trial), copy.deepcopy(network)
        set_to_population(expected, trial, taken)
        for one, other in zip(found.buffers(), expected.buffers(), strict=True):
            assert torch.equal(one, other)

    def test_what_would_be_silently_wrong_is_refused(self) -> None:
        class Twice(nn.Sequential):
            def forward(self, x: Tensor) -> Tensor:
                return self[1](self[1](self[0](x.flatten(1))))

        class Reversed(nn.Module):
            def __init__(self, momentum: float | None) -> None:
                super().__init__()
                self.register_buffer("average", torch.zeros(10))
                if momentum is not None:
                    self.momentum = momentum

            def forward(self, x: Tensor) -> Tensor:
                if self.training:
                    with torch.no_grad():
                        self.average.lerp_(x.mean(0), 1 - getattr(self, "momentum", 0.1))
                return x - self.average

        layers = nn.Flatten(), nn.Linear(64, 10)
        for network, line in {
            Twice(nn.Linear(64, 10), BatchNorm1d(10)): "population: 1 is used twice in one pass",
            nn.Sequential(*layers, Reversed(0.9)): "2, a Reversed, does not forget the past at momentum 1",
            nn.Sequential(*layers, Reversed(None)): "2, a Reversed, has no attribute momentum",
        }.items():
            with pytest.raises(ValueError, match=line):
                at_population(network.eval(), digits(), 2)


def values(kind: Evaluation, network: nn.Module, data: Data, step: int = 0) -> dict[str, float]:
    return kind.values(network, "mean", occasion(network, data, step))


def clean(network: nn.Module, batches: Any) -> dict[str, float]:
    with torch.no_grad():
        answers = [(network(batch.inputs), batch) for batch in batches]
    return score(answers, OBJECTIVE.data_loss, "mean", digits())


def evaluation(statistics: Any = None, inputs: Any = None) -> Evaluation:
    return Evaluation("x", statistics or Running(), inputs or INPUTS.get("clean")(), Whole(), ("a", "b", "whole"))


@pytest.mark.parametrize("norm", ["batch", "l2", "batch_renorm"])
def test_folded_ones_are_the_running_ones_to_rounding(norm: str) -> None:
    network, data = network_with({"name": norm}), digits()
    folded, running = values(evaluation(Folded()), network, data), clean(network, data.test_batches(7))
    assert folded == pytest.approx(running, rel=1e-5)
    assert folded != pytest.approx(values(evaluation(Population()), network, data), rel=1e-3)


def test_taken_out_is_the_layers_alone() -> None:
    """By hand: weights, biases and activation functions, without mean, deviation, gamma and beta."""
    network, data = network_with({"name": "batch"}), digits()
    found = values(evaluation(TakenOut()), network, data)

    def plain(x: Tensor) -> Tensor:
        for block in (network.fc1, network.fc2):
            x = block.layer(x.flatten(1)).relu()
        return network.head(x)

    answers = [(plain(batch.inputs), batch) for batch in data.test_batches(7)]
    assert found == pytest.approx(score(answers, OBJECTIVE.data_loss, "mean", data), rel=1e-5)
    assert found != pytest.approx(clean(network, data.test_batches(7)), rel=1e-3)
    with pytest.raises(ValueError, match="taken_out: no normalisation with running statistics"):
        TakenOut().check(data, ())


@pytest.mark.parametrize("norm", ["batch", "noisy_batch", "l1", "whitening"])
@pytest.mark.parametrize("size", [None, 9])
def test_the_batchs_own_are_a_loop_over_mixed_batches_in_training_mode(norm: str, size: int | None) -> None:
    network, data = network_with({"name": norm}), digits()
    batches = list(data.mixed_test_batches(size or 16))
    assert [len(batch.targets) for batch in batches] == ([10] * 4 if size == 9 else [20, 20])
    assert sorted(torch.cat([b.inputs for b in batches]).sum((1, 2, 3)).tolist()) == sorted(
        next(data.test_batches(99)).inputs.sum((1, 2, 3)).tolist()
    )
    assert not torch.equal(torch.cat([b.targets for b in batches]), next(data.test_batches(99)).targets)
    trained = copy.deepcopy(network)
    for module in norms_of(trained).values():
        module.train()
    found = values(evaluation(OfBatch(batch_size=size)), network, data)
    assert found == pytest.approx(clean(trained, batches), rel=1e-5)
    assert found != pytest.approx(clean(network, data.test_batches(99)), rel=1e-3)


class TestInputs:
    def changed(self, inputs: Any, network: nn.Module, data: Data, step: int = 0) -> tuple[Batch, Tensor]:
        (batch,) = data.test_batches(999)
        return batch, inputs.changed(batch, network, occasion(network, data, step), 0)

    @pytest.mark.parametrize("standardise", [True, False])
    def test_noise_is_of_its_deviation_in_units_of_black_to_white(self, standardise: bool) -> None:
        data, network = digits(test_subset=None, standardise=standardise), network_with({"name": "batch"})
        batch, noisy = self.changed(Noise(deviation=0.2), network, data)
        ends = data.valid_range
        assert ends is not None
        low, high = ends
        assert (batch.inputs.min(), batch.inputs.max()) == (low.min(), high.max())
        apart = (noisy - batch.inputs) / (high - low)
        assert apart.std().item() == pytest.approx(0.2, rel=0.02)
        assert abs(apart.mean().item()) < 0.005
        assert torch.equal(noisy, self.changed(Noise(deviation=0.2), network, data)[1])
        assert not torch.equal(noisy, self.changed(Noise(deviation=0.2), network, data, step=1)[1])

    @pytest.mark.parametrize("statistics", ["running", "batch", "population"])
    def test_attacks_raise_the_loss_and_stay_in_the_ball_and_the_range(self, statistics: str) -> None:
        data, network = digits(), network_with({"name": "batch"})
        source = evaluation(STATISTICS.get(statistics)())
        for inputs in (ProjectedGradient(radius=0.1), ProjectedGradient(radius=0.1, random_start=False, steps=3)):
            attacked = values(evaluation(source.statistics, inputs), network, data)
            assert attacked["test_data_loss"] > 1.2 * values(source, network, data)["test_data_loss"]
            assert attacked["test_accuracy"] <= values(source, network, data)["test_accuracy"]
            batch, x = self.changed(inputs, network, data)
            low, high = data.valid_range or (0, 0)
            apart = (x - batch.inputs).abs() / (high - low)
            assert 0.09 < apart.max() <= 0.1 + 1e-6
            assert (low <= x).all()
            assert (x <= high).all()
            loss, was = (OBJECTIVE.data_loss(network(images), batch.targets) for images in (x, batch.inputs))
            assert loss > was
        assert not any(parameter.grad is not None for parameter in network.parameters())

    def test_one_step_is_the_sign_of_the_gradient(self) -> None:
        data, network = digits(), network_with({"name": "batch"})
        batch, x = self.changed(
            ProjectedGradient(radius=0.3, steps=1, step_size=0.05, random_start=False), network, data
        )
        variable = batch.inputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(OBJECTIVE.data_loss(network(variable), batch.targets), variable)
        low, high = data.valid_range or (0, 0)
        expected = batch.inputs + 0.05 * (high - low) * gradient.sign()
        torch.testing.assert_close(x, expected.clamp(float(low), float(high)))
        assert ProjectedGradient(radius=0.2, steps=5).step_size == pytest.approx(0.1)

    def test_a_random_start_is_of_the_whole_ball(self) -> None:
        data, network = digits(test_subset=None), network_with({"name": "batch"})
        start = ProjectedGradient(radius=0.1, steps=1, step_size=1e-9)
        batch, x = self.changed(start, network, data)
        low, high = data.valid_range or (0, 0)
        apart = ((x - batch.inputs) / (high - low))[(low < x) & (x < high)]
        assert apart.min() < -0.0999
        assert apart.max() > 0.0999
        assert not torch.equal(x, self.changed(start, network, data, step=1)[1])
