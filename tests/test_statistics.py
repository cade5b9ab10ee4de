"""Batch normalisation part by part, and statistics from elsewhere, against loops over units, groups and samples."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import experiments
from experiments.data.batches import DataSpec
from experiments.errors import WrongInput
from experiments.models import build_model
from experiments.norms import NORMS, apply_norm
from experiments.norms.batch import BatchNorm1d, BatchStatistics, adopt
from probes import (
    Activations,
    Gradients,
    InternalCovariateShift,
    Landscape,
    Objective,
    ProbeError,
    Probes,
    Theory,
    statistics,
)
from tests.runs import small
from tests.test_norm_closed_forms import EPS, KINDS, activations, close, norm_of, random
from tests.test_probes import assert_equal_states, everything, sgd, train_step

DOMAINS = torch.tensor([1, 0, 0, 1, 1, 0, 0])


def slow(x: Tensor, norm: Any, c: float = 1.0, scale: bool = True, detach: str = "none") -> Tensor:
    """Unit by unit, as the formula says; all samples of ``x`` are one group."""
    columns = []
    for j, values in enumerate(x.unbind(1)):
        mean = values.mean()
        removed = mean.detach() if detach in ("mean", "both") else mean
        root = ((values - c * mean) ** 2).mean()
        root = ((root.detach() if detach in ("std", "both") else root) + norm.eps) ** 0.5 if scale else 1
        gamma, beta = (1, 0) if norm.weight is None else (norm.weight[j], norm.bias[j])
        columns.append(gamma * (values - c * removed) / root + beta)
    return torch.stack(columns, 1)


def same(norm: nn.Module, x: Tensor, y: Tensor, expected: Tensor) -> None:
    close(y, expected)
    variables, g = [x, *norm.parameters()], random(*y.shape, seed=9)
    ours, theirs = (torch.autograd.grad(value, variables, g) for value in (y, expected))
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)


PARTS = [
    (center, scale, affine, detach)
    for center, scale, affine, detach in itertools.product((True, False, 0.25), (True, False), (True, False),
                                                          ("none", "mean", "std", "both"))
    if center or scale
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_combination_of_parts(kind: str) -> None:
    for center, scale, affine, detach in PARTS:
        options = {"center": center, "scale": scale, "affine": affine, "detach": detach, "eps": EPS}
        norm, x = norm_of("batch", kind, **options), activations(kind)
        same(norm, x, norm(x), slow(x, norm, float(center), scale, detach))
        assert (norm.weight is None) == (not affine)


@pytest.mark.parametrize("kind", KINDS)
def test_detached_statistics_are_torchs_evaluation_by_the_batchs_own(kind: str) -> None:
    norm, x = norm_of("batch", kind, detach="both", eps=EPS), activations(kind)
    dims = [d for d in range(x.ndim) if d != 1]
    variance, mean = torch.var_mean(x.detach(), dims, correction=0)
    same(norm, x, norm(x), functional.batch_norm(x, mean, variance, norm.weight, norm.bias, False, 0.0, EPS))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("center", [True, False, 0.25])
def test_ghost_batches_and_domains_are_one_batch_after_the_other(kind: str, center: bool | float) -> None:
    """Shared running statistics follow the groups' own, weighed by their sizes."""
    x = torch.cat([activations(kind, 1), 3 * activations(kind, 2)])[:12].detach().requires_grad_()
    labels = {"ghost": torch.arange(12) // 4, "domain": torch.tensor([0, 2, 2, 0, 0, 2, 0, 2, 0, 0, 0, 2])}
    for per, groups in labels.items():
        own: dict[str, Any] = {"ghost_size": 4} if per == "ghost" else {"domains": 3}
        norm = norm_of("batch", kind, per=per, center=center, eps=EPS, momentum=0.3, **own)
        expected = torch.empty_like(x)
        means, variances, share = [], [], []
        for group in groups.unique():
            mine = groups == group
            expected = expected.masked_scatter(
                mine.view(-1, *[1] * (x.ndim - 1)).expand_as(x), slow(x[mine], norm, float(center))
            )
            rows = x[mine].detach().transpose(0, 1).flatten(1)
            means.append(rows.mean(1))
            variances.append(rows.var(1))
            share.append(mine.double().mean())
        with statistics.in_domain(groups):
            y = norm(x)
            same(norm, x, y, expected)
        mean = sum(s * m for s, m in zip(share, means, strict=True))
        variance = sum(s * v for s, v in zip(share, variances, strict=True))
        close(norm.running_mean, 0.3 * mean)
        close(norm.running_var, 0.7 + 0.3 * variance)
        assert norm.num_batches_tracked == 1
        with statistics.in_domain(groups):
            evaluated = norm.eval()(x)
        shape = (1, -1, *[1] * (x.ndim - 2))
        c = float(center)
        root = norm.running_var + (1 - c) ** 2 * norm.running_mean**2 + EPS
        normal = (x - c * norm.running_mean.view(shape)) / root.sqrt().view(shape)
        close(evaluated, normal * norm.weight.view(shape) + norm.bias.view(shape))


@pytest.mark.parametrize("kind", KINDS)
def test_a_domain_with_running_statistics_of_its_own_is_a_normalisation_of_its_own(kind: str) -> None:
    norm = norm_of("batch", kind, per="domain", running="domain", domains=3, eps=EPS, momentum=0.3)
    alone = [norm_of("batch", kind, eps=EPS, momentum=0.3) for _ in range(3)]
    for seed in range(3):
        x = activations(kind, seed)
        with statistics.in_domain(DOMAINS):
            y = norm(x)
        for domain in (0, 1):
            close(y[domain == DOMAINS], alone[domain](x[domain == DOMAINS]))
    for domain in range(3):  # none of the third one's were seen
        close(norm.running_mean[domain], alone[domain].running_mean)
        close(norm.running_var[domain], alone[domain].running_var)
    norm.eval()
    for domain in range(3):
        with statistics.in_domain(domain):
            close(norm(x), alone[domain].eval()(x))
    with statistics.in_domain(DOMAINS):
        mixed = norm(x)
    for domain in (0, 1):
        close(mixed[domain == DOMAINS], alone[domain](x)[domain == DOMAINS])


def test_of_uncentred_statistics_the_running_variance_is_still_unbiased() -> None:
    """So that evaluation divides by the population's root mean square of x - c mean."""
    norm = norm_of("batch", "linear", center=0.5, momentum=1.0, eps=EPS)
    population = random(6000, 6) * 2 + 1
    squares = []
    for batch in population.split(4):
        norm(batch)
        squares.append(norm.running_var.clone())
    expected = (population - population.mean(0)).square().mean(0)
    torch.testing.assert_close(torch.stack(squares).mean(0), expected, rtol=0.05, atol=0)  # biased: 25 % less


SPEC = DataSpec((5,), 3, "classification")
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"name": name} for name in ("batch", "batch_renorm", "l1", "l2", "linf", "whitening")},
    "detached": {"name": "batch", "detach": "both"},
    "uncentred": {"name": "batch", "center": False},
    "ghost": {"name": "batch", "per": "ghost", "ghost_size": 4},
    "renormalised ghost": {"name": "batch_renorm", "ghost_size": 4},
    "plain": {"name": "batch", "affine": False},
}


def network_with(norm: dict[str, Any]) -> nn.Module:
    return build_model({"name": "mlp", "widths": [6, 4]}, norm, SPEC, 1).double()


def running_of(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.named_buffers() if "running" in key}


class TestSources:
    def test_every_normalisation_with_running_statistics_is_tried(self) -> None:
        having = set()
        for name in NORMS.names():
            options = {"groups": 2} if name == "group" else {}
            block = apply_norm(nn.Conv2d(2, 4, 3), name, **options)
            having |= {name} if running_of(block) else set()
        assert having - {"noisy_batch"} == {options["name"] for options in VARIANTS.values()}

    @pytest.mark.parametrize("variant", list(VARIANTS))
    def test_they_are_what_training_and_evaluation_do_and_move_nothing(self, variant: str) -> None:
        network, x = network_with(VARIANTS[variant]), random(8, 5)
        for seed in range(3):
            network(random(8, 5, seed=seed) * 2 + 1)
        state = copy.deepcopy(network.state_dict())
        other = network_with(VARIANTS[variant])
        other(random(8, 5, seed=8))
        given = running_of(other)
        evaluated = copy.deepcopy(network).eval()(x)
        trained = copy.deepcopy(network).train()(x)
        borrowed = copy.deepcopy(network)
        borrowed.load_state_dict({**borrowed.state_dict(), **given})
        for mode in (True, False):
            network.train(mode)
            with statistics.taken_from("running"):
                assert torch.equal(network(x), evaluated)
            with statistics.taken_from("batch"):
                found = network(x)
            if VARIANTS[variant]["name"] != "batch_renorm":  # whose training looks at the running ones too
                assert torch.equal(found, trained)
            with statistics.taken_from(given):
                close(network(x), borrowed.eval()(x), 1e-12)
        assert (evaluated - trained).abs().max() > 1e-3
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())

    @pytest.mark.parametrize("variant", ["batch", "l2", "uncentred"])
    def test_given_statistics_may_carry_a_gradient(self, variant: str) -> None:
        """Those of the whole set as functions of the weights: one batch of all of it is the same function."""
        norm = VARIANTS[variant]
        block = apply_norm(nn.Linear(5, 4).double(), norm["name"], **{k: v for k, v in norm.items() if k != "name"})
        x = random(30, 5)

        def gradient(source: Any) -> Tensor:
            with statistics.taken_from(source):
                return torch.autograd.grad((block(x) ** 3).sum(), block.layer.weight)[0]

        z = block.layer(x)
        mean = z.mean(0)
        if variant == "l2":
            given = {"running_mean": mean, "running_denominator": (z.square().mean(0) + block.norm.eps).sqrt()}
        else:
            given = {"running_mean": mean, "running_var": z.var(0, correction=0)}
        close(gradient(given), gradient("batch"))
        constant = gradient({key: value.detach() for key, value in given.items()})
        assert (constant - gradient("batch")).abs().max() > 0.1

    def test_batch_renormalisation_takes_a_batchs_as_batch_normalisation_does(self) -> None:
        x = activations("linear")
        ours, theirs = norm_of("batch_renorm", "linear", eps=EPS, warmup=0), norm_of("batch", "linear", eps=EPS)
        with statistics.taken_from("batch"):
            close(ours(x), theirs(x))

    def test_torchs_own_layers_are_adopted(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4)
        )
        x = torch.randn(5, 1, 4, 4)
        network(x)
        plain = copy.deepcopy(network)
        assert adopt(network) is network
        assert network.state_dict().keys() == plain.state_dict().keys()
        assert torch.equal(network(x), plain(x))
        with statistics.taken_from("running"):
            assert torch.equal(network(x), plain.eval()(x))
        with statistics.taken_from(dict(plain.named_buffers())):
            assert torch.equal(network(x), plain.eval()(x))
        with pytest.raises(WrongInput, match=r"^1: a BatchNorm3d cannot take its statistics from elsewhere"):
            adopt(nn.Sequential(nn.ReLU(), nn.BatchNorm3d(2)))

    def test_theorem_4_1_is_not_said_of_statistics_from_elsewhere(self) -> None:
        network, batch = network_with({"name": "batch"}).float(), (torch.randn(8, 5), torch.arange(8) % 3)
        objective = Objective(functional.cross_entropy)
        with statistics.taken_from("running"), pytest.raises(ProbeError, match="no batch normalisation in training"):
            Probes(network, objective, {"theory": Theory(layers=("fc1",))}, batch, learning_rate=0.1, every=1)

    def test_wrong_ones_are_one_line(self) -> None:
        network, x = network_with({"name": "batch"}), random(8, 5)
        given = running_of(network)
        wrong: dict[str, Any] = {
            "source='populaton' must be batch, running": "populaton",
            r"fc2.norm.running_var is not among the given ones \(fc1.norm.running_mean, ": {
                key: value for key, value in given.items() if key != "fc2.norm.running_var"
            },
            r"fc1.norm.running_mean is given of shape \(2,\), not \(6,\)": {
                **given, "fc1.norm.running_mean": torch.zeros(2)
            },
        }  # fmt: skip
        for line, source in wrong.items():
            with pytest.raises(ProbeError, match=line) as told, statistics.taken_from(source):
                network(x)
            assert "\n" not in str(told.value)


def test_defaults_are_torchs_kernels_bit_for_bit() -> None:
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    for affine in (True, False):
        ours, theirs = apply_norm(nn.Linear(1, 4), "batch", affine=affine).norm, nn.BatchNorm1d(4, affine=affine)
        assert isinstance(ours, BatchNorm1d)
        for _ in range(2):
            assert torch.equal(ours(x), theirs(x))
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value)
    assert isinstance(apply_norm(nn.Linear(1, 4), "batch", detach="std").norm, BatchStatistics)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"center": 1.5}, r"norm.center=1.5: must be true, false, or a number between them"),
        ({"center": 0.0}, r"norm.center=0.0: must be true, false, or a number between them"),
        ({"center": False, "scale": False}, "norm.scale=false: with norm.center=false nothing is normalised"),
        ({"detach": "all"}, "norm.detach=all: allowed: both, mean, none, std"),
        ({"per": "ghost"}, "norm.ghost_size=None: norm.per=ghost needs one"),
        ({"per": "ghost", "ghost_size": 0}, "norm.ghost_size=0: must be at least 1"),
        ({"ghost_size": 4}, "norm.ghost_size=4: norm.per=ghost needs one, and nothing else does"),
        ({"running": "domain"}, "norm.running=domain: needs norm.per=domain"),
        ({"domains": 3}, "norm.domains=3: needs norm.per=domain"),
        ({"per": "domain", "domains": 0}, "norm.domains=0: must be at least 1"),
        ({"frozen_after": 0}, "norm.frozen_after=0: must be at least 1, or null"),
        ({"frozen_after": 2, "statistics": "running"}, "norm.frozen_after=2: needs norm.statistics=batch"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], line: str) -> None:
    with pytest.raises(WrongInput, match=f"^{line}"):
        apply_norm(nn.Linear(2, 4), "batch", **options)


@pytest.mark.parametrize("options", [{}, {"per": "ghost", "ghost_size": 4}])
def test_frozen_statistics_are_evaluations_from_their_batch_on(options: dict[str, Any]) -> None:
    """Before it what batch normalisation does; then what evaluation does, with its gradient, and nothing moves."""
    frozen, usual = (apply_norm(nn.Linear(5, 4), "batch", **options, **o).double() for o in ({"frozen_after": 2}, {}))
    usual.load_state_dict(frozen.state_dict())
    for seed in range(4):
        x = random(8, 5, seed=seed)
        if seed == 2:
            usual.eval()
        outputs = [block(x) for block in (frozen, usual)]
        gradients = [
            torch.autograd.grad((y**3).sum(), block.layer.weight)[0]
            for y, block in zip(outputs, (frozen, usual), strict=True)
        ]
        close(*outputs)
        close(*gradients)
        for ours, theirs in zip(running_of(frozen).values(), running_of(usual).values(), strict=True):
            close(ours, theirs)
    assert int(frozen.norm.num_batches_tracked) == 2
    with statistics.taken_from("batch"):  # which is asked for by name
        close(frozen(x), usual.train()(x))


def test_batches_that_do_not_fit() -> None:
    ghost, own = (
        apply_norm(nn.Linear(2, 4), "batch", **o) for o in ({"per": "ghost", "ghost_size": 4}, {"per": "domain"})
    )
    x = torch.randn(6, 2)
    with pytest.raises(WrongInput, match=r"^norm.ghost_size=4: does not divide a batch of 6 samples"):
        ghost(x)
    ghost.eval()(x)
    with pytest.raises(WrongInput, match=r"^norm.per=domain: these data have no domains"):
        own(x)
    for domains, line in (
        (torch.tensor([0, 0, 0, 0, 0, 1]), "has one value per unit and group"),
        (torch.tensor([0, 0, 0, 0, 2, 2]), "norm.domains=2: a sample is of domain 2"),
    ):
        with statistics.in_domain(domains), pytest.raises(WrongInput, match=line):
            own(x)
    with statistics.in_domain(torch.zeros(5)), pytest.raises(ProbeError, match=r"shape \(5,\) are set for 6 samples"):
        own(x)


class TestProbed:
    def engine(self, network: nn.Module, batch: tuple[Tensor, Tensor], **batches: tuple[Tensor, Tensor]) -> Probes:
        chosen: dict[str, Any] = {"landscape": Landscape(), "ics": InternalCovariateShift(), "gradients": Gradients()}
        chosen["activations"] = Activations(batches=("train", *batches))
        objective = Objective(functional.cross_entropy)
        return Probes(network, objective, chosen, batch, learning_rate=0.1, every=1, batches=batches)

    def test_domains_are_those_of_the_context(self) -> None:
        """Training does not notice, and what is evaluated again is the function that trained."""
        batch = random(7, 5).float(), torch.arange(7) % 3
        states = []
        for probing in (False, True):
            network = network_with({"name": "batch", "per": "domain", "running": "domain"}).float()
            optimiser = sgd(network, 0.1)
            with statistics.in_domain(DOMAINS):
                if probing:
                    engine = self.engine(network, batch)
                    with engine.around(0, batch) as forward:
                        train_step(forward, network, engine.objective, optimiser, batch, 0, 0)
                else:
                    train_step(network, network, Objective(functional.cross_entropy), optimiser, batch, 0, 0)
                    start = network_with({"name": "batch", "per": "domain"}).float()
                    loss = functional.cross_entropy(start(batch[0]), batch[1])
            states.append(everything(network, optimiser))
        assert_equal_states(*states)
        (found,) = (values for name, _, values in engine.records if name == "landscape")
        assert found["loss_before"].item() == pytest.approx(loss.item(), rel=1e-6)

    def test_where_the_context_says_none_or_of_other_samples_it_is_one_line(self) -> None:
        network = network_with({"name": "batch", "per": "domain"}).float()
        batch, fixed = ((random(n, 5).float(), torch.arange(n) % 3) for n in (7, 6))
        with pytest.raises(WrongInput, match=r"^norm.per=domain: these data have no domains"):
            self.engine(network, batch)
        with statistics.in_domain(DOMAINS):
            engine = self.engine(network, batch, fixed=fixed)
            with pytest.raises(ProbeError, match="are set for 6 samples"), engine.around(0, batch) as forward:
                functional.cross_entropy(forward(batch[0]), batch[1]).backward()


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        (["norm.per=ghost", "norm.ghost_size=5"], "norm.ghost_size=5: does not divide a batch of 16 samples"),
        (["norm.per=domain"], "norm.per=domain: these data have no domains"),
        (
            ["norm.per=ghost", "norm.ghost_size=8", "probes=activations"],
            "norm.ghost_size=8: does not divide a batch of 20",
        ),
    ],
)
def test_what_no_batch_of_the_run_fits_is_said_before_a_folder_is_made(
    tmp_path: Path, chosen: list[str], line: str
) -> None:
    with pytest.raises(WrongInput, match=f"^{line}"):
        experiments.run(small(tmp_path, *chosen))
    assert not list(tmp_path.iterdir())


def test_probes_that_do_not_look_at_the_fixed_batch_do_not_mind_it(tmp_path: Path) -> None:
    chosen = ["norm.per=ghost", "norm.ghost_size=8", "probes=gradients", "steps=2"]
    assert experiments.run(small(tmp_path, *chosen)).trained
