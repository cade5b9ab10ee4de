"""The normalisations against formulas written out independently, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.errors import WrongInput
from experiments.norms import apply_norm
from experiments.norms.base import OutputNormalisation
from probes import randomness
from tests.conftest import partly

KINDS = ["linear", "convolution"]
EPS = 1e-3  # large enough for its place in the formula to matter


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shapes(kind: str, samples: int = 7) -> tuple[int, ...]:
    return (samples, 6) if kind == "linear" else (samples, 6, 3, 2)


def activations(kind: str, seed: int = 0) -> Tensor:
    """A batch whose units differ in mean and scale."""
    x = random(*shapes(kind), seed=seed)
    unit = torch.arange(1.0, 7.0, dtype=torch.float64).view(1, 6, *[1] * (x.ndim - 2))
    return (x * unit / 2 + unit - 3).requires_grad_()


def norm_of(name: str, kind: str, **options: object) -> nn.Module:
    """The normalisation alone, with gamma and beta that are not 1 and 0."""
    layer = nn.Linear(4, 6).double() if kind == "linear" else nn.Conv2d(4, 6, 1).double()
    norm = apply_norm(layer, name, **options).norm
    with torch.no_grad():
        for module in norm.modules():
            if isinstance(getattr(module, "weight", None), nn.Parameter):
                module.weight.copy_(torch.linspace(0.5, 2.0, 6))
                module.bias.copy_(torch.linspace(-1.0, 1.0, 6))
    return norm


def per_unit(value: Tensor, x: Tensor) -> Tensor:
    return value.view(1, -1, *[1] * (x.ndim - 2))


def over_batch(x: Tensor) -> tuple[int, ...]:
    return tuple(d for d in range(x.ndim) if d != 1)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def same_forward_and_backward(norm: nn.Module, x: Tensor, expected: Tensor) -> None:
    """``norm(x)`` equals ``expected``, a function of x, gamma and beta, and so do their gradients."""
    variables = (x, norm.weight, norm.bias)
    y = norm(x)
    close(y, expected)
    g = random(*y.shape, seed=9)
    for ours, theirs in zip(
        torch.autograd.grad(y, variables, g), torch.autograd.grad(expected, variables, g), strict=True
    ):
        close(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_normalisation(kind: str) -> None:
    norm, x = norm_of("batch", kind, eps=EPS, momentum=0.3), activations(kind)
    dims = over_batch(x)
    mean = x.mean(dims, keepdim=True)
    variance = (x - mean).square().mean(dims, keepdim=True)
    y = per_unit(norm.weight, x) * (x - mean) / (variance + EPS).sqrt() + per_unit(norm.bias, x)
    same_forward_and_backward(norm, x, y)
    m = x.numel() // 6
    close(norm.running_mean, 0.3 * mean.detach().flatten())
    close(norm.running_var, 0.7 + 0.3 * variance.detach().flatten() * m / (m - 1))
    assert norm.num_batches_tracked == 1
    norm.eval()
    evaluated = (x - per_unit(norm.running_mean, x)) / (per_unit(norm.running_var, x) + EPS).sqrt()
    close(norm(x), per_unit(norm.weight, x) * evaluated + per_unit(norm.bias, x))


@pytest.mark.parametrize("kind", KINDS)
def test_batch_normalisations_gradient_is_ioffe_and_szegedys(kind: str) -> None:
    """dL/dx = gamma / (m sigma) (m g - sum g - xhat sum g xhat), per unit over its m values, sigma^2 = var + eps."""
    norm, x = norm_of("batch", kind, eps=EPS), activations(kind)
    y = norm(x)
    g = random(*y.shape, seed=3)
    (gradient,) = torch.autograd.grad(y, x, g)
    dims, m = over_batch(x), x.numel() // 6
    with torch.no_grad():
        mean = x.mean(dims, keepdim=True)
        sigma = ((x - mean).square().mean(dims, keepdim=True) + EPS).sqrt()
        xhat = (x - mean) / sigma
        sums = g.sum(dims, keepdim=True) + xhat * (g * xhat).sum(dims, keepdim=True)
        close(gradient, per_unit(norm.weight, x) / (m * sigma) * (m * g - sums))


@pytest.mark.parametrize("kind", KINDS)
def test_layer_normalisation(kind: str) -> None:
    norm, x = norm_of("layer", kind, eps=EPS), activations(kind)
    flat = x.flatten(1)
    mean = flat.mean(1, keepdim=True)
    hat = ((flat - mean) / ((flat - mean).square().mean(1, keepdim=True) + EPS).sqrt()).view_as(x)
    same_forward_and_backward(norm, x, per_unit(norm.weight, x) * hat + per_unit(norm.bias, x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_group_normalisation(kind: str, groups: int) -> None:
    norm, x = norm_of("group", kind, groups=groups, eps=EPS), activations(kind)
    hats = []
    for part in x.split(6 // groups, dim=1):
        flat = part.flatten(1)
        mean = flat.mean(1, keepdim=True)
        hats.append(((flat - mean) / ((flat - mean).square().mean(1, keepdim=True) + EPS).sqrt()).view_as(part))
    same_forward_and_backward(norm, x, per_unit(norm.weight, x) * torch.cat(hats, 1) + per_unit(norm.bias, x))


def test_instance_normalisation() -> None:
    norm, x = norm_of("instance", "convolution", eps=EPS), activations("convolution")
    mean = x.mean((2, 3), keepdim=True)
    hat = (x - mean) / ((x - mean).square().mean((2, 3), keepdim=True) + EPS).sqrt()
    same_forward_and_backward(norm, x, per_unit(norm.weight, x) * hat + per_unit(norm.bias, x))


@pytest.mark.parametrize("kind", KINDS)
def test_weight_normalisation(kind: str) -> None:
    """Forward W = g V / ||V||; backward dL/dg = <dL/dW, V> / ||V|| and dL/dV = g / ||V|| (dL/dW - dL/dg V / ||V||)."""
    layer = nn.Linear(4, 6).double() if kind == "linear" else nn.Conv2d(4, 6, 3).double()
    initial = layer.weight.detach().clone()
    block = apply_norm(layer, "weight")
    close(block.layer.weight, initial, 1e-14)
    g, v = (getattr(block.layer.parametrizations.weight, name) for name in ("original0", "original1"))
    with torch.no_grad():
        g.mul_(torch.linspace(0.5, 2.0, 6).view_as(g))
    x = random(5, 4) if kind == "linear" else random(5, 4, 6, 6)
    apply = functional.linear if kind == "linear" else functional.conv2d
    length = v.detach().flatten(1).norm(dim=1).view_as(g)
    weight = (g * v / length).detach().requires_grad_()
    y, expected = block(x), apply(x, weight, layer.bias)
    close(y, expected)
    upstream = random(*y.shape, seed=2)
    dg, dv = torch.autograd.grad(y, (g, v), upstream)
    (dw,) = torch.autograd.grad(expected, weight, upstream)
    with torch.no_grad():
        expected_dg = (dw * v).flatten(1).sum(1).view_as(g) / length
        close(dg, expected_dg)
        close(dv, g / length * (dw - expected_dg * v / length))


NUMPY_NORMS = {
    "l1": lambda x, axes: np.mean(np.abs(x), axis=axes, keepdims=True) + EPS,
    "l2": lambda x, axes: np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + EPS),
    "linf": lambda x, axes: np.max(np.abs(x), axis=axes, keepdims=True) + EPS,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("name", list(NUMPY_NORMS))
def test_l_p_normalisation_against_numpy(name: str, centered: bool, kind: str) -> None:
    norm = norm_of(name, kind, centered=centered, eps=EPS, momentum=0.2)
    gamma, beta = (per_unit(v, activations(kind)).detach().numpy() for v in (norm.weight, norm.bias))
    running_mean, running = np.zeros(6), np.ones(6)
    for seed in range(3):
        x = activations(kind, seed)
        values = x.detach().numpy()
        axes = over_batch(x)
        mean = values.mean(axis=axes, keepdims=True)
        denominator = NUMPY_NORMS[name](values - mean if centered else values, axes)
        close(norm(x).detach(), torch.from_numpy(gamma * (values - mean) / denominator + beta))
        running_mean = 0.8 * running_mean + 0.2 * mean.ravel()
        running = 0.8 * running + 0.2 * denominator.ravel()
    close(norm.running_mean, torch.from_numpy(running_mean))
    close(norm.running_denominator, torch.from_numpy(running))
    assert norm.num_batches_tracked == 3
    shape = mean.shape
    expected = gamma * (values - running_mean.reshape(shape)) / running.reshape(shape) + beta
    close(norm.eval()(x).detach(), torch.from_numpy(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_centred_l2_is_batch_normalisation(kind: str) -> None:
    ours, theirs = norm_of("l2", kind, centered=True, eps=EPS), norm_of("batch", kind, eps=EPS)
    x = activations(kind)
    g = random(*x.shape, seed=4)
    y, z = ours(x), theirs(x)
    close(y, z)
    for a, b in zip(
        torch.autograd.grad(y, (x, ours.weight, ours.bias), g),
        torch.autograd.grad(z, (x, theirs.weight, theirs.bias), g),
        strict=True,
    ):
        close(a, b)


CHECKED: list[tuple[str, dict[str, Any]]] = [("batch", {}), ("batch_renorm", {"r_max": 1.0, "d_max": 0.0})]
CHECKED += [(name, {"centered": c}) for name in ("l1", "l2", "linf") for c in (False, True)]


@pytest.mark.parametrize(("name", "options", "kind"), partly([(*one, kind) for one in CHECKED for kind in KINDS], 6))
def test_gradcheck(name: str, options: dict, kind: str) -> None:
    """First and second derivatives agree with finite differences; r and d of batch renorm have none by definition."""
    norm, x = norm_of(name, kind, **options), activations(kind)[:4].detach().requires_grad_()
    weight, bias = norm.weight.detach().requires_grad_(), norm.bias.detach().requires_grad_()

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        fresh = norm_of(name, kind, **options)
        return torch.func.functional_call(fresh, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(function, (x, weight, bias))
    assert torch.autograd.gradgradcheck(function, (x, weight, bias))


def test_linf_shares_the_gradient_among_equal_maxima() -> None:
    norm = norm_of("linf", "linear", eps=0.0)
    x = torch.zeros(4, 6, dtype=torch.float64)
    x[0], x[1] = 2.0, -2.0
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(norm(x)[0].sum(), x)
    # y_0 = gamma (x_0 - mean) / N with mean = 0, N = 2: dN/dx_0 = 1/2, dN/dx_1 = -1/2, d mean = 1/4 each.
    expected = torch.tensor([1 - 1 / 4 - 1 / 2, -1 / 4 + 1 / 2, -1 / 4, -1 / 4], dtype=torch.float64) / 2
    close(gradient, expected[:, None] * norm.weight)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("name", ["l1", "l2", "linf", "batch_renorm"])
def test_float32_is_as_exact_as_its_inputs(name: str, offset: float) -> None:
    """The single pass y = x * scale + offset loses no more than the rounding of x itself does."""
    layer = nn.Conv2d(1, 4, 1)
    single, double = apply_norm(layer, name).norm, apply_norm(nn.Conv2d(1, 4, 1).double(), name).norm
    x = (random(32, 4, 16, 16) + offset).float()
    y, exact = single(x), double(x.double())
    scale = 1 / double.statistics(x.double())[1].min()
    assert (y - exact).abs().max() < 4 * torch.finfo(torch.float32).eps * (offset + 5) * scale


class TestNoise:
    """Algorithm 1 of Santurkar et al. (2018) by what it must do on average."""

    UNITS, SAMPLES, STEPS = 64, 2048, 40

    def noise(self, **options: object) -> nn.Module:
        module = apply_norm(nn.Linear(1, self.UNITS), "noise", **options).norm
        module.place = "fc1.norm"
        return module

    def draws(self, x: Tensor) -> Tensor:
        """Outputs at successive steps, (steps, samples, units)."""
        module, outputs = self.noise(), []
        for step in range(self.STEPS):
            with randomness.at_step(3, step):
                outputs.append(module(x))
        return torch.stack(outputs)

    def test_shift(self) -> None:
        """x = 0 leaves m_ij: unit means are U(-1/2, 1/2), so E|mu - mu'| = 1/3, and samples U(-0.1, 0.1) off them."""
        m = self.draws(torch.zeros(self.SAMPLES, self.UNITS))
        mu = m.mean(1)
        assert mu.abs().max() < 0.51
        assert mu.std().item() == pytest.approx(1 / math.sqrt(12), rel=0.03)
        assert mu.diff(dim=0).abs().mean().item() == pytest.approx(1 / 3, rel=0.05)
        spread = m - (m.amax(1, keepdim=True) + m.amin(1, keepdim=True)) / 2
        assert spread.abs().max() <= 0.1 + 1e-6
        assert spread.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.01)
        assert (spread.abs() < 0.05).float().mean().item() == pytest.approx(0.5, abs=0.005)  # uniform

    def test_scale(self) -> None:
        """x = 1 less x = 0 leaves s_ij: unit means are U(1, 1.25), samples Gaussian about them with deviation 0.1."""
        shape = (self.SAMPLES, self.UNITS)
        s = self.draws(torch.ones(shape)) - self.draws(torch.zeros(shape))
        sigma = s.mean(1)
        assert sigma.min() > 0.99
        assert sigma.max() < 1.26
        assert sigma.mean().item() == pytest.approx(1.125, abs=0.005)
        assert sigma.std().item() == pytest.approx(0.25 / math.sqrt(12), rel=0.05)
        spread = s - sigma[:, None]
        assert spread.std().item() == pytest.approx(0.1, rel=0.01)
        assert (spread.abs() < 0.1).float().mean().item() == pytest.approx(0.6827, abs=0.005)  # Gaussian

    def test_variance_jumps(self) -> None:
        """E|sigma^2 - sigma'^2| = 0.188 for sigma, sigma' ~ U(1, 1.25), the jump of a unit's variance where it is 1."""
        x = torch.randn(self.SAMPLES, self.UNITS, generator=torch.Generator().manual_seed(1))
        x = (x - x.mean(0)) / x.std(0)
        grid = torch.linspace(1.0, 1.25, 1001)
        expected = (grid[:, None] ** 2 - grid**2).abs().mean().item()
        assert expected == pytest.approx(0.19, abs=0.005)
        variance = self.draws(x).var(1)
        assert variance.diff(dim=0).abs().mean().item() == pytest.approx(expected, rel=0.05)
        assert variance.mean().item() == pytest.approx(1 + 0.25 + 0.0625 / 3 + 0.01 + 0.01 / 3, rel=0.01)

    def test_height_and_width_count_as_samples(self) -> None:
        module = apply_norm(nn.Conv2d(1, 3, 1), "noise").norm
        m = module(torch.zeros(50, 3, 8, 8))
        assert m.mean((0, 2, 3)).abs().max() < 0.51
        deviation = m.std((0, 2, 3))
        within = m[0].flatten(1).std(1)
        torch.testing.assert_close(deviation, torch.full((3,), 0.1 / math.sqrt(3)), rtol=0.05, atol=0)
        torch.testing.assert_close(within, torch.full((3,), 0.1 / math.sqrt(3)), rtol=0.3, atol=0)

    def test_belongs_to_seed_step_and_place(self) -> None:
        module, x = self.noise(), torch.ones(8, self.UNITS)

        def draw(seed: int, step: int, place: str = "fc1.norm") -> Tensor:
            module.place = place
            with randomness.at_step(seed, step):
                return module(x)

        first = draw(0, 5)
        state = torch.get_rng_state()
        assert torch.equal(draw(0, 5), first)
        assert torch.equal(torch.get_rng_state(), state)
        for other in (draw(1, 5), draw(0, 6), draw(0, 5, "fc2.norm")):
            assert (other - first).abs().mean() > 0.05
        with randomness.at_step(0, 5):
            twin = self.noise()(x.double())
        close(twin, first.double(), 1e-6)

    def test_gradient_is_the_factor(self) -> None:
        module, x = self.noise(), torch.zeros(8, self.UNITS, requires_grad=True)
        with randomness.at_step(0, 0):
            y = module(x)
        with randomness.at_step(0, 0):
            factor = module(torch.ones_like(x)) - y
        (gradient,) = torch.autograd.grad(y.sum(), x)
        close(gradient, factor.detach(), 1e-6)

    def test_every_constant_is_an_option(self) -> None:
        module = self.noise(n_mu=2.0, n_sigma=3.0, r_mu=0.0, r_sigma=0.0)
        m = module(torch.zeros(4, self.UNITS))
        assert torch.equal(m, m[:1].expand_as(m))
        assert 1.5 < m.abs().max() <= 2
        none = self.noise(n_mu=0.0, n_sigma=1.0, r_mu=0.0, r_sigma=0.0)
        x = torch.randn(4, self.UNITS)
        assert torch.equal(none(x), x)

    def test_noisy_batch_is_batch_normalisation_then_noise(self) -> None:
        norm = apply_norm(nn.Linear(4, 6).double(), "noisy_batch").norm
        with torch.no_grad():
            norm.batch.weight.copy_(torch.linspace(0.5, 2.0, 6))
        norm.noise.place = "somewhere"
        batch, noise = norm_of("batch", "linear"), apply_norm(nn.Linear(4, 6), "noise").norm
        with torch.no_grad():
            batch.bias.zero_()
        noise.place = "somewhere"
        x = activations("linear")
        with randomness.at_step(1, 2):
            y, expected = norm(x), noise(batch(x))
        assert torch.equal(y, expected)


def slow_batch_renorm(
    x: Tensor, norm: OutputNormalisation, mean: Tensor, sigma: Tensor, r_bound: float, d_bound: float
) -> Tensor:
    """Ioffe (2017), Algorithm 1, one unit after the other."""
    columns = []
    for j, values in enumerate(x.unbind(1)):
        batch_mean = values.mean()
        batch_sigma = ((values - batch_mean).square().mean() + norm.eps).sqrt()
        r = min(max((batch_sigma / sigma[j]).item(), 1 / r_bound), r_bound)
        d = min(max(((batch_mean - mean[j]) / sigma[j]).item(), -d_bound), d_bound)
        columns.append(norm.weight[j] * ((values - batch_mean) / batch_sigma * r + d) + norm.bias[j])
    return torch.stack(columns, 1)


class TestBatchRenorm:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("closed_by", ["bounds", "warmup"])
    def test_reduces_to_batch_normalisation(self, kind: str, closed_by: str) -> None:
        options = {"r_max": 1.0, "d_max": 0.0, "warmup": 0} if closed_by == "bounds" else {"warmup": 3}
        ours, theirs = norm_of("batch_renorm", kind, eps=EPS, **options), norm_of("batch", kind, eps=EPS)
        for seed in range(3):
            x = activations(kind, seed)
            y, z = ours(x), theirs(x)
            close(y, z)
            g = random(*x.shape, seed=4)
            close(torch.autograd.grad(y, x, g)[0], torch.autograd.grad(z, x, g)[0])

    @pytest.mark.parametrize("kind", KINDS)
    def test_against_a_slow_implementation_with_its_schedule(self, kind: str) -> None:
        norm = norm_of("batch_renorm", kind, r_max=1.5, d_max=0.8, warmup=2, r_ramp=4, d_ramp=2, momentum=0.3, eps=EPS)
        mean, sigma = torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
        clipped = 0
        for step in range(9):
            r_bound = 1 + 0.5 * min(max((step - 2) / 4, 0), 1)
            d_bound = 0.8 * min(max((step - 2) / 2, 0), 1)
            x = activations(kind, seed=step)
            expected = slow_batch_renorm(x, norm, mean, sigma, r_bound, d_bound)
            same_forward_and_backward(norm, x, expected)
            dims = over_batch(x)
            batch_sigma = (x.detach().var(dims, correction=0) + EPS).sqrt()
            clipped += int((batch_sigma / sigma > r_bound).sum())
            mean = 0.7 * mean + 0.3 * x.detach().mean(dims)
            sigma = 0.7 * sigma + 0.3 * batch_sigma
            close(norm.running_mean, mean)
            close(norm.running_denominator, sigma)
        assert 0 < clipped < 9 * 6  # both sides of the clipping were seen
        close(
            norm.eval()(x),
            per_unit(norm.weight, x) * (x - per_unit(mean, x)) / per_unit(sigma, x) + per_unit(norm.bias, x),
        )

    @pytest.mark.parametrize("kind", KINDS)
    def test_micro_batches_are_each_normalised_by_itself(self, kind: str) -> None:
        """Each as a batch of its own by the same running statistics, which then move by the mean over them."""
        options = {"r_max": 1.5, "d_max": 0.8, "warmup": 1, "r_ramp": 0, "d_ramp": 0, "momentum": 0.3, "eps": EPS}
        norm = norm_of("batch_renorm", kind, ghost_size=2, **options)
        mean, sigma = torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
        for step, bounds in enumerate([(1.0, 0.0), (1.5, 0.8), (1.5, 0.8)]):
            x = activations(kind, seed=step)
            x = x[: len(x) // 2 * 2].detach().requires_grad_()
            parts = x.split(2)
            expected = torch.cat([slow_batch_renorm(part, norm, mean, sigma, *bounds) for part in parts])
            same_forward_and_backward(norm, x, expected)
            of_parts = [part.detach().transpose(0, 1).flatten(1) for part in parts]
            mean = 0.7 * mean + 0.3 * torch.stack([part.mean(1) for part in of_parts]).mean(0)
            sigmas = [(part.var(1, correction=0) + EPS).sqrt() for part in of_parts]
            sigma = 0.7 * sigma + 0.3 * torch.stack(sigmas).mean(0)
            close(norm.running_mean, mean)
            close(norm.running_denominator, sigma)
        assert norm.num_batches_tracked == 3
        with pytest.raises(WrongInput, match=r"^norm.ghost_size=2: does not divide a batch of 3 samples"):
            norm(activations(kind)[:3])

    def test_unclipped_it_is_what_evaluation_computes(self) -> None:
        norm = norm_of("batch_renorm", "linear", r_max=1e6, d_max=1e6, warmup=0, r_ramp=0, d_ramp=0, momentum=0.0)
        with torch.no_grad():
            norm.running_mean.uniform_(-1, 1)
            norm.running_denominator.uniform_(0.5, 2)
        x = activations("linear")
        close(norm(x), norm.eval()(x))

    def test_the_schedule_is_part_of_the_state(self) -> None:
        norm = norm_of("batch_renorm", "linear", warmup=1, r_ramp=0, d_ramp=0)
        norm(activations("linear"))
        other = norm_of("batch_renorm", "linear", warmup=1, r_ramp=0, d_ramp=0)
        other.load_state_dict(norm.state_dict())
        x = activations("linear", 1)
        assert torch.equal(norm(x), other(x))
        assert (norm_of("batch_renorm", "linear", warmup=1)(x) - norm(x)).abs().max() > 0.1
