"""Whitening, cosines, Dynamic Tanh and drifting noise against what defines them, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.norms import apply_norm
from experiments.norms.drift import TRUNCATION, uniform
from probes import randomness
from tests.test_norm_closed_forms import EPS, KINDS, activations, close, norm_of, per_unit, random

ENOUGH = {"iterations": 40, "eps": 1e-12}


def rows_of(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1)


def many(kind: str, units: int = 6, seed: int = 0) -> Tensor:
    """A batch whose units are correlated and differ in scale; requires a gradient."""
    x = random(*((40, units) if kind == "linear" else (12, units, 2, 2)), seed=seed)
    mixed = torch.einsum("ij,bj...->bi...", random(units, units, seed=5) + 2 * torch.eye(units), x)
    return (mixed + 3).requires_grad_()


def root(covariance: Tensor, eps: float) -> Tensor:
    """(covariance + eps I)^(-1/2) by the eigenvalues."""
    values, vectors = torch.linalg.eigh(covariance + eps * torch.eye(len(covariance), dtype=torch.float64))
    return vectors @ torch.diag(values**-0.5) @ vectors.T


def whitened(norm: Any, x: Tensor, sizes: list[int], eps: float, detach: str = "none") -> Tensor:
    """Group by group."""
    rows, found = rows_of(x), []
    for part in rows.split(sizes):
        mean = part.mean(1, keepdim=True)
        centred = part - mean
        matrix = root(centred @ centred.T / part.shape[1], eps)
        removed = mean.detach() if detach in ("mean", "both") else mean
        found.append((matrix.detach() if detach in ("std", "both") else matrix) @ (part - removed))
    y = torch.cat(found) * norm.weight[:, None] + norm.bias[:, None]
    return y.unflatten(1, (len(x), *x.shape[2:])).transpose(0, 1)


class TestWhitening:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("units", "size", "sizes"), [(6, 16, [6]), (6, 3, [3, 3]), (7, 3, [3, 2, 2]), (6, 1, [1] * 6)]
    )
    def test_the_covariance_of_each_group_is_the_identity(
        self, kind: str, units: int, size: int, sizes: list[int]
    ) -> None:
        layer = nn.Linear(2, units) if kind == "linear" else nn.Conv2d(2, units, 1)
        norm = apply_norm(layer.double(), "whitening", group_size=size, **ENOUGH).norm
        y = rows_of(norm(many(kind, units)).detach())
        close(y.mean(1), torch.zeros(units, dtype=torch.float64), 1e-9)
        for part in y.split(sizes):
            close(part @ part.T / y.shape[1], torch.eye(len(part), dtype=torch.float64), 1e-7)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("detach", ["none", "mean", "std", "both"])
    def test_is_zca_with_its_gradients(self, kind: str, detach: str) -> None:
        norm, x = norm_of("whitening", kind, group_size=3, iterations=40, eps=EPS, detach=detach), many(kind)
        y, expected = norm(x), whitened(norm, x, [3, 3], EPS, detach)
        close(y, expected, 1e-8)
        g = random(*y.shape, seed=3)
        variables = (x, norm.weight, norm.bias)
        for one, other in zip(
            torch.autograd.grad(y, variables, g), torch.autograd.grad(expected, variables, g), strict=True
        ):
            close(one, other, 1e-7)

    @pytest.mark.parametrize("kind", KINDS)
    def test_groups_of_one_are_batch_normalisation(self, kind: str) -> None:
        ours = norm_of("whitening", kind, group_size=1, eps=EPS, momentum=0.3)
        theirs = norm_of("batch", kind, eps=EPS, momentum=0.3)
        for seed in range(3):
            x = activations(kind, seed)
            close(ours(x), theirs(x))
        close(ours.running_mean, theirs.running_mean)
        close(ours.running_covariance[:, 0], theirs.running_var)
        close(ours.eval()(x), theirs.eval()(x))

    @pytest.mark.parametrize("kind", KINDS)
    def test_running_covariances_take_their_place_in_evaluation(self, kind: str) -> None:
        layer = nn.Linear(2, 7) if kind == "linear" else nn.Conv2d(2, 7, 1)
        norm = apply_norm(layer.double(), "whitening", group_size=3, iterations=40, eps=EPS, momentum=0.3).norm
        mean = torch.zeros(7, dtype=torch.float64)
        covariances = [torch.eye(size, dtype=torch.float64) for size in (3, 2, 2)]
        for seed in range(3):
            x = many(kind, 7, seed).detach()
            norm(x)
            rows = rows_of(x)
            mean = 0.7 * mean + 0.3 * rows.mean(1)
            covariances = [
                0.7 * old + 0.3 * torch.cov(part) for old, part in zip(covariances, rows.split([3, 2, 2]), strict=True)
            ]
        parts = (rows_of(x) - mean[:, None]).split([3, 2, 2])
        y = torch.cat([root(c, EPS) @ part for c, part in zip(covariances, parts, strict=True)])
        close(rows_of(norm.eval()(x)), y, 1e-8)
        assert norm.num_batches_tracked == 3

    @pytest.mark.parametrize(("decades", "error"), [(2, 1e-5), (3, 0.1), (8, 1.0)])
    def test_what_ten_iterations_leave_of_an_eigenvalue_is_the_scalar_iteration(
        self, decades: int, error: float
    ) -> None:
        norm = apply_norm(nn.Linear(2, 8).double(), "whitening", eps=1e-12).norm
        values = torch.logspace(-decades, 0, 8, dtype=torch.float64)
        found = norm.inverse_root(torch.diag(values)[None])[0].diagonal() * values.sqrt()
        for value, whitened_to in zip((values / values.sum()).tolist(), found.tolist(), strict=True):
            y, z = value, 1.0
            for _ in range(10):
                step = (3 - z * y) / 2
                y, z = y * step, z * step
            assert whitened_to == pytest.approx(z * value**0.5, rel=1e-6)
        assert (1 - found).abs().max() < error

    def test_gradcheck(self) -> None:
        x = many("linear", 4)[:6].detach().requires_grad_()

        def function(x: Tensor) -> Tensor:
            return apply_norm(nn.Linear(2, 4).double(), "whitening", iterations=4).norm(x)

        assert torch.autograd.gradcheck(function, x)
        assert torch.autograd.gradgradcheck(function, x)


class TestCosine:
    @pytest.mark.parametrize("centered", [False, True])
    def test_of_a_linear_layer(self, centered: bool) -> None:
        layer, x = nn.Linear(5, 4).double(), random(6, 5)
        weight, bias = layer.weight.detach(), layer.bias.detach()
        y = apply_norm(layer, "cosine", centered=centered, eps=1e-12)(x)
        for i in range(6):
            for j in range(4):
                pair = torch.stack([weight[j], x[i]])
                expected = torch.corrcoef(pair)[0, 1] if centered else torch.cosine_similarity(*pair, dim=0)
                close(y[i, j].detach(), expected + bias[j])

    @pytest.mark.parametrize("centered", [False, True])
    def test_of_a_convolution_patch_by_patch(self, centered: bool) -> None:
        layer, x = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False).double(), random(3, 2, 5, 5)
        weight = layer.weight.detach().flatten(1)
        patches = nn.functional.unfold(x, 3, stride=2, padding=1)
        if centered:
            weight, patches = weight - weight.mean(1, keepdim=True), patches - patches.mean(1, keepdim=True)
        expected = torch.einsum("oi,bip->bop", weight, patches)
        expected = expected / weight.norm(dim=1)[:, None] / patches.norm(dim=1)[:, None]
        close(apply_norm(layer, "cosine", centered=centered, eps=1e-12)(x).detach(), expected.view(3, 4, 3, 3))

    def test_neither_length_matters(self) -> None:
        block, x = apply_norm(nn.Linear(5, 4, bias=False).double(), "cosine"), random(6, 5)
        y = block(x)
        assert y.abs().max() <= 1
        close(block(3 * x), y, 1e-5)
        with torch.no_grad():
            block.layer.weight.mul_(torch.linspace(0.5, 4.0, 4)[:, None])
        close(block(x), y, 1e-5)

    def test_inputs_of_zero_are_no_nan(self) -> None:
        for centered in (False, True):
            block, x = apply_norm(nn.Linear(5, 4), "cosine", centered=centered), torch.ones(2, 5, requires_grad=True)
            (block(x) + block(0 * x)).sum().backward()
            assert x.grad is not None
            assert torch.isfinite(x.grad).all()

    def test_other_layers_are_refused(self) -> None:
        for layer in (nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1, padding_mode="reflect")):
            with pytest.raises(
                WrongInput, match=r"^norm=cosine: rewrites plain Linear and Conv2d layers of one group only"
            ):
                apply_norm(layer, "cosine")


@pytest.mark.parametrize("kind", KINDS)
def test_dynamic_tanh(kind: str) -> None:
    norm, x = norm_of("dyt", kind, alpha=0.7), activations(kind)
    y = norm(x)
    expected = per_unit(norm.weight, x) * (0.7 * x).tanh() + per_unit(norm.bias, x)
    close(y, expected, 1e-6)  # 0.7 is rounded where it is stored
    g = random(*y.shape, seed=1)
    (slope,) = torch.autograd.grad(y, norm.alpha, g)
    of_alpha = (g * per_unit(norm.weight, x) * x * (1 - (0.7 * x).tanh() ** 2)).sum().view(1)
    close(slope, of_alpha, 1e-6)


class TestDriftingNoise:
    def draws(self, correlation_time: float, steps: range, units: int = 4000) -> Tensor:
        found = []
        for step in steps:
            with randomness.at_step(3, step):
                found.append(uniform("fc1.norm", correlation_time, (units,), torch.device("cpu")))
        return torch.stack(found).double()

    @pytest.mark.parametrize("correlation_time", [1.5, 4.0, 20.0, math.inf])
    def test_at_every_step_they_are_uniform(self, correlation_time: float) -> None:
        for values in self.draws(correlation_time, range(3)):
            ordered = values.sort().values
            assert (ordered - torch.linspace(0, 1, 4000)).abs().max() < 1.95 / 4000**0.5  # Kolmogorov-Smirnov at .1 %

    @pytest.mark.parametrize("correlation_time", [1.5, 4.0])
    def test_correlations_are_rho_to_the_lag(self, correlation_time: float) -> None:
        """Of z = Phi^-1(u), over units, across the blocks in which they are drawn."""
        u = self.draws(correlation_time, range(60), units=20000).clamp(1e-7, 1 - 1e-7)
        z, rho = torch.special.ndtri(u), 1 - 1 / correlation_time
        for lag in (1, 2, 5, 30):
            products = (z[lag:] * z[:-lag]).mean(1)
            assert (products - rho**lag).abs().max() < TRUNCATION + 4.5 / 20000**0.5, lag
        close(z.square().mean(1), torch.ones(60, dtype=torch.float64), 0.05)

    def test_the_truncation_is_as_stated(self) -> None:
        for correlation_time in (1.5, 4.0, 100.0):
            rho = 1 - 1 / correlation_time
            window = math.ceil(math.log(TRUNCATION) / math.log(rho))
            weights = rho ** torch.arange(window, dtype=torch.float64)
            weights = weights / weights.norm()
            for lag in range(3 * window):
                found = (weights[lag:] * weights[: max(window - lag, 0)]).sum().item()
                assert abs(found - rho**lag) <= rho**window + 1e-12
                assert rho**window <= TRUNCATION

    def test_any_step_is_had_without_those_before(self) -> None:
        alone = self.draws(4.0, range(37, 38))
        assert torch.equal(self.draws(4.0, range(30, 40))[7:8], alone)
        with randomness.at_step(3, 37):
            other = uniform("fc2.norm", 4.0, (4000,), torch.device("cpu"))
        assert (other - alone).abs().mean() > 0.1
        forever = self.draws(math.inf, range(0, 1000, 999))
        assert torch.equal(forever[0], forever[1])

    def units_of(self, x: Tensor, step: int, **options: Any) -> Tensor:
        module = apply_norm(nn.Linear(1, 500), "noise", r_mu=0.0, r_sigma=0.0, **options).norm
        module.place = "fc1.norm"
        with randomness.at_step(0, step):
            return module(x)[0]

    def test_units_drift_within_the_published_ranges_and_samples_stay_as_they_are(self) -> None:
        zero, one = torch.zeros(2, 500), torch.ones(2, 500)
        for options, jump in (({}, 1 / 3), ({"correlation_time": 100.0}, 0.1 / math.pi)):
            mu, later = (self.units_of(zero, step, **options) for step in (50, 51))
            sigma = self.units_of(one, 50, **options) - mu
            assert -0.5 <= mu.min() < -0.48 < 0.48 < mu.max() <= 0.5
            assert 1 - 1e-6 <= sigma.min() < 1.01 < 1.24 < sigma.max() <= 1.25 + 1e-6
            assert abs(torch.corrcoef(torch.stack([mu, sigma]))[0, 1]) < 0.15
            # E|Phi(z) - Phi(z')| is 1/3 of independent ones, sqrt(1 - rho) / pi of close ones
            assert (later - mu).abs().mean().item() == pytest.approx(jump, rel=0.15)
        module = apply_norm(nn.Linear(1, 500), "noise", n_mu=0.0, n_sigma=1.0, correlation_time=9.0).norm
        published = apply_norm(nn.Linear(1, 500), "noise", n_mu=0.0, n_sigma=1.0).norm
        with randomness.at_step(0, 5):
            drifting = module(one)
        with randomness.at_step(0, 5):
            torch.testing.assert_close(drifting, published(one))
        module(one)  # outside a step it draws as ever


class TestNoiseOfEachSample:
    """Of every sample the noise of `noise_per=unit`, and nothing that samples share."""

    def noise(self, x: Tensor, per: str) -> Tensor:
        layer = nn.Linear(1, 300) if x.ndim == 2 else nn.Conv2d(1, 6, 1)
        module = apply_norm(layer, "noise", noise_per=per, n_mu=0.4, n_sigma=2.0, r_mu=0.0, r_sigma=0.0).norm
        module.place = "layer.norm"
        with randomness.at_step(0, 7):
            y: Tensor = module(x)
        return y

    @pytest.mark.parametrize("shape", [(500, 300), (20, 6, 25, 25)])
    def test_shifts_and_factors_are_distributed_as_those_of_units(self, shape: tuple[int, ...]) -> None:
        shifts = self.noise(torch.zeros(shape), "sample")
        factors = self.noise(torch.ones(shape), "sample") - shifts
        for values, low, high in ((shifts, -0.4, 0.4), (factors, 1.0, 2.0)):
            ordered = ((values.flatten().double() - low) / (high - low)).sort().values
            there = torch.linspace(0, 1, len(ordered), dtype=torch.float64)
            assert (ordered - there).abs().max() < 1.95 / len(ordered) ** 0.5  # Kolmogorov-Smirnov at .1 %
        assert abs(torch.corrcoef(torch.stack([shifts.flatten(), factors.flatten()]))[0, 1]) < 0.02

    @pytest.mark.parametrize("shape", [(500, 300), (20, 6, 25, 25)])
    def test_no_unit_moves_as_a_whole(self, shape: tuple[int, ...]) -> None:
        """Means over n samples vary as those of n independent draws do; of units as single draws do."""
        zero, dims = torch.zeros(shape), tuple(d for d in range(len(shape)) if d != 1)
        single, n = 0.4 / 3**0.5, zero.numel() / shape[1]
        assert self.noise(zero, "sample").mean(dims).std().item() == pytest.approx(single / n**0.5, rel=0.6)
        of_units = self.noise(zero, "unit")
        assert of_units.std(dims).max() < 1e-6
        assert of_units.mean(dims).std().item() == pytest.approx(single, rel=0.6)
