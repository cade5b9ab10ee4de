"""The Hessian's spectrum against the dense Hessian by torch.autograd.functional, and of matrices that are known."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from probes import Gradients, Jacobian, Objective, ProbeError, Probes, Spectrum
from probes.engine.curvature import Curvature
from probes.engine.operations import Operations
from probes.reductions import SpectralDensity
from probes.reductions.eigenvalues import extreme_eigenvalues, lanczos_quadrature
from tests import slow_twins as twin
from tests.test_probes import (
    CROSS_ENTROPY,
    MODELS,
    Quadratic,
    assert_equal_states,
    build,
    everything,
    sgd,
    train,
    train_step,
)


def dense_hessian(network, objective, batch, names=None):
    """By torch.autograd.functional in float64, of the named parameters one after the other; gradient; parameters."""
    network = copy.deepcopy(network).double()
    inputs, targets = (v.double() if v.is_floating_point() else v for v in batch)
    values = {n: p.detach() for n, p in network.named_parameters() if names is None or n in names}
    flat = torch.cat([v.flatten() for v in values.values()])

    def loss(vector):
        parts = vector.split([v.numel() for v in values.values()])
        moved = {n: part.view_as(v) for (n, v), part in zip(values.items(), parts, strict=True)}

        class Bound(nn.Module):
            def forward(self, x):
                return torch.func.functional_call(network, moved, (x,))

        output = Bound()(inputs)
        rest = dict(network.named_parameters()) | moved
        squares = [w.square().sum() for n, w in rest.items() if w.ndim >= 2]
        return objective.data_loss(output, targets) + objective.weight_decay / 2 * sum(squares)

    gradient = torch.autograd.functional.jacobian(loss, flat)
    return torch.autograd.functional.hessian(loss, flat), gradient, flat


class Small(nn.Module):
    """Two convolutions with batch normalisation in training mode, tanh so that all second derivatives are there."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 3, 3, stride=2),
            nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x)


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 30), nn.Tanh(), nn.Linear(30, 10))


def digits(n=40, classes=10, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 64, generator=g, dtype=torch.float64), torch.randint(classes, (n,), generator=g)


CASES = {
    "64-30-10": (perceptron, digits, None),
    "convolutional": (Small, lambda: (twin.image_batch()[0].double(), twin.image_batch()[1]), None),
    "block": (Small, lambda: (twin.image_batch()[0].double(), twin.image_batch()[1]), ("net.3.*", "net.4.*")),
}


@pytest.mark.parametrize("case", list(CASES))
def test_eigenvalues_are_the_dense_hessians(case):
    make, data, patterns = CASES[case]
    network, batch, objective, lr = make().double(), data(), Objective(CROSS_ENTROPY, 1e-2), 0.2
    names = None if patterns is None else [f"net.{i}.{w}" for i in (3, 4) for w in ("weight", "bias")]
    h, g, w = dense_hessian(network, objective, batch, names)
    values, vectors = torch.linalg.eigh(h)
    probe = Spectrum(largest=4, smallest=2, tolerance=1e-7, products=300, parameters=patterns)
    engine = build(network, objective, {"s": probe}, example=batch, learning_rate=lr, reuse_training_pass=True)
    with engine.around(0, batch) as forward:
        train_step(forward, network, objective, sgd(network, lr), batch, 7, 0)
    found = engine.records[0][2]
    close = {"rtol": 1e-8, "atol": 1e-9 * float(values[-1])}
    torch.testing.assert_close(found["largest_eigenvalues"], values.flip(0)[:4], **close)
    torch.testing.assert_close(found["smallest_eigenvalues"], values[:2], **close)
    assert (found["largest_residuals"] <= 1e-7 * values.abs().max()).all()
    share = (vectors[:, -4:].T @ g).square().sum() / g.square().sum()
    expected = {
        "sharpness_times_rate": lr * values[-1],
        "curvature_along_gradient": g @ h @ g / (g @ g),
        "curvature_along_gradient_times_rate": lr * (g @ h @ g) / (g @ g),
        "spherical_sharpness": w.square().sum() * values[-1],
        "gradient_share": share,
        "gradient_norm": g.norm(),
    }
    for key, value in expected.items():
        assert found[key].item() == pytest.approx(value.item(), rel=1e-6), key


def test_products_with_hessian_and_jacobians_are_the_dense_ones():
    network, batch, objective = Small().double(), CASES["convolutional"][1](), Objective(CROSS_ENTROPY, 1e-2)
    h, g, _ = dense_hessian(network, objective, batch)
    engine = build(network, objective, {}, example=batch)
    evaluator, taps = engine.evaluator, ("net.1", "net.4")
    evaluator.begin(0, evaluator.own_instant())
    with evaluator.pure():
        loss, held = evaluator.loss(*batch, lambda tap, value: None, frozenset(taps))
        names = list(engine.view.parameters)
        curvature = Curvature(evaluator, loss.total, held, names, hessian=True)
    torch.testing.assert_close(curvature.gradient, g)
    for seed in range(3):
        drawn = torch.Generator().manual_seed(seed)
        v = torch.randn(len(g), generator=drawn, dtype=torch.float64)
        torch.testing.assert_close(curvature.hessian(v), h @ v)
    x = network.net[:2](batch[0]).detach()
    dense = torch.autograd.functional.jacobian(lambda x: network.net[2:5](x), x)
    v, u = torch.randn_like(x), torch.randn(dense.shape[: x.ndim], dtype=torch.float64)
    torch.testing.assert_close(curvature.jacobian(*taps, v), torch.tensordot(dense, v, 4))
    torch.testing.assert_close(curvature.transposed(*taps, u), torch.tensordot(u, dense, 4))


# ---- matrices that are known


def known(values, seed=0):
    drawn = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q = torch.linalg.qr(drawn)[0]
    return q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ q.T, q


def solve(matrix, start, largest, smallest, tolerance=1e-9, limit=500, room=14):
    drawn = torch.Generator().manual_seed(5)

    def fresh():
        return torch.randn(len(matrix), generator=drawn, dtype=matrix.dtype)

    ends = (largest, smallest)
    return extreme_eigenvalues(lambda v: matrix @ v, start or [fresh()], fresh, *ends, tolerance, limit, room)


@pytest.mark.parametrize(
    "values",
    [
        [float(k) for k in range(-20, 40)],
        [100.0, 99.0, 98.9] + [1.0] * 30 + [-3.0, -3.0],  # equal ones: the Krylov space ends early
        [0.0] * 12,
        [-5.0, -4.0, -3.0, -2.0, -1.0, -0.5],  # largest algebraic, not in magnitude
        [2.0],
    ],
)
@pytest.mark.parametrize("ends", [(3, 0), (3, 2), (1, 0)])
def test_the_ends_of_known_spectra(values, ends):
    largest, smallest = (min(ends[0], len(values)), ends[1] if len(values) > sum(ends) else 0)
    matrix, _ = known(values)
    found = solve(matrix, None, largest, smallest)
    expected = sorted(values, reverse=True)[:largest] + sorted(values)[:smallest]
    assert found.values.tolist() == pytest.approx(expected, abs=1e-7)
    for value, vector, residual in zip(found.values, found.vectors, found.residuals, strict=True):
        torch.testing.assert_close((matrix @ vector - value * vector).norm(), residual, rtol=1e-3, atol=1e-10)
    eye = torch.eye(largest + smallest, dtype=torch.float64)
    torch.testing.assert_close(found.vectors @ found.vectors.T, eye)


def test_at_the_limit_the_residuals_tell():
    matrix, _ = known([float(k) for k in range(80)])
    found = solve(matrix, None, 5, 0, limit=14)
    assert found.products == 14
    assert found.residuals[-1] > 1e-2
    for value, vector, residual in zip(found.values, found.vectors, found.residuals, strict=True):
        torch.testing.assert_close((matrix @ vector - value * vector).norm(), residual)


def test_a_warm_start_takes_at_most_half_the_products():
    values = [50.0, 40.0, 30.0, 25.0, 20.0] + [5 * 0.97**k for k in range(200)]
    matrix, _ = known(values)
    other, _ = known(values, seed=1)
    moved = matrix + 1e-3 * other
    cold = solve(moved, None, 5, 0, tolerance=1e-2)
    warm = solve(moved, [*solve(matrix, None, 5, 0, tolerance=1e-2).vectors], 5, 0, tolerance=1e-2)
    exact = torch.linalg.eigvalsh(moved).flip(0)[:5]
    for found in (cold, warm):
        torch.testing.assert_close(found.values, exact, rtol=1e-3, atol=0)
    assert warm.products <= cold.products / 2


def test_quadrature_has_the_moments_of_the_measure():
    matrix, _ = known([float(k) ** 2 / 50 - 3 for k in range(30)])
    start = torch.randn(30, generator=torch.Generator().manual_seed(1)).double()
    unit = start / start.norm()
    nodes, weights = lanczos_quadrature(lambda v: matrix @ v, start, 6)
    power = unit.clone()
    for k in range(2 * 6):  # exact up to degree 11
        moment = (weights * nodes**k).sum().item()
        assert moment == pytest.approx((unit @ power).item(), rel=1e-9), k
        power = matrix @ power
    nodes, weights = lanczos_quadrature(lambda v: 2 * v, start, 4)
    assert [*nodes.sort().values.tolist(), weights.sum().item()] == pytest.approx([0, 0, 0, 2, 1])


def test_density_and_trace_estimate_the_dense_hessians_traces():
    """The moments of the density, averaged over draws, within five standard errors of tr(H^k) / n."""
    network, batch, objective = Small().double(), CASES["convolutional"][1](), Objective(CROSS_ENTROPY, 1e-2)
    h, _, _ = dense_hessian(network, objective, batch)
    probe = Spectrum(largest=1, products=20, density_draws=120, density_steps=6, trace_draws=120)
    engine = build(network, objective, {"s": probe}, example=batch)
    with engine.around(0, batch):
        pass
    found, n = engine.records[0][2], len(h)
    for power in (1, 2):
        each = (found["density_weights"] * found["density_nodes"] ** power).sum(1)
        exact = torch.trace(torch.linalg.matrix_power(h, power)) / n
        assert abs(each.mean() - exact) < 5 * each.std() / math.sqrt(120) < 0.9 * exact
    exact = torch.trace(h)
    assert abs(found["trace"] - exact) < 5 * found["trace_standard_error"] < exact
    torch.testing.assert_close(found["density_weights"].sum(1), torch.ones(120).double())


# ---- in training


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("model", ["conv-noisy", "conv-weight", "conv-inplace", "residual", "torchvision"])
def test_training_does_not_notice_the_level_curvature(model, reuse):
    states = []
    for probing in (False, True):
        network, objective = MODELS[model](), Objective(CROSS_ENTROPY, 1e-2)
        chosen = {"s": Spectrum(largest=1, products=4, density_draws=1, density_steps=3, trace_draws=1)}
        chosen |= {"m": Jacobian(samples=1, steps=3, narrow=9), "g": Gradients(taps=True)}
        if model != "conv-weight":
            chosen["h"] = Jacobian(samples=1, steps=3, narrow=9, statistics="held")
        engine = build(network, objective, chosen if probing else {}, reuse_training_pass=reuse)
        torch.manual_seed(5)
        optimiser = sgd(network, momentum=0.9)
        train(network, optimiser, objective, 2, engine)
        states.append(everything(network, optimiser))
    assert_equal_states(*states)
    assert len(engine.records) == 2 * len(chosen)


def test_resumed_from_a_checkpoint_it_goes_on_bit_for_bit(tmp_path):
    def fresh():
        torch.manual_seed(2)
        network = twin.conv_net("batch")
        engine = build(network, None, {"s": Spectrum(largest=2, tolerance=1e-3)}, reuse_training_pass=True)
        return network, sgd(network, 1e-4), engine

    def steps(network, optimiser, engine, first, end):
        for step in range(first, end):
            batch = twin.image_batch(seed=0)
            with engine.around(step, batch) as forward:
                train_step(forward, network, engine.objective, optimiser, batch, 7, step)

    whole = fresh()
    steps(*whole, 0, 4)
    first = fresh()
    steps(*first, 0, 2)
    torch.save({"n": first[0].state_dict(), "p": first[2].state_dict()}, tmp_path / "c.pt")
    saved = torch.load(tmp_path / "c.pt", weights_only=True)
    second = fresh()
    second[0].load_state_dict(saved["n"])
    second[2].load_state_dict(saved["p"])
    steps(*second, 2, 4)
    records = first[2].records + second[2].records
    for (_, _, mine), (_, _, theirs) in zip(records, whole[2].records, strict=True):
        for key in theirs:
            assert torch.equal(mine[key], theirs[key]), key
    products = [values["hessian_products"].item() for _, _, values in whole[2].records]
    assert max(products[1:]) <= products[0] / 2  # it begins where the step before ended


@pytest.mark.parametrize("net", ["batch", "none", "perceptron"])
def test_counted_passes_are_the_plans(net, monkeypatch):
    """Products are counted where they are taken: vectors are multiplied beside them, which is no pass."""
    network = perceptron() if net == "perceptron" else twin.conv_net(net)
    inputs, targets = digits() if net == "perceptron" else twin.image_batch()
    batch = (inputs.float(), targets)
    probe = Spectrum(largest=1, products=12, tolerance=1e-9, density_draws=1, density_steps=9)
    engine, counted = build(network, None, {"s": probe}, example=batch, reuse_training_pass=True), []
    for name in ("__init__", "hessian"):
        inner = getattr(Curvature, name)

        def counting(*args, inner=inner, name=name, **options):
            with Operations() as here:
                result = inner(*args, **options)
            counted.append((name, here.total))
            return result

        monkeypatch.setattr(Curvature, name, counting)
    with Operations() as plain, engine.around(0, batch) as forward:
        train_step(forward, network, engine.objective, sgd(network), batch, 7, 0)
    assert [name for name, _ in counted] == ["__init__", *["hessian"] * 21]  # one pass serves both
    training = engine._costs.training
    operations = sum(number for _, number in counted) + engine._costs.forward
    assert engine.plan.operations == pytest.approx(operations, rel=0.02)
    assert engine.plan.passes == pytest.approx(operations / training, rel=0.02)
    assert plain.total >= operations


def test_a_diverged_network_is_not_a_number():
    network = twin.conv_net("none")
    with torch.no_grad():
        network.head.layer.weight.mul_(1e38)
    engine = build(network, None, {"s": Spectrum(density_draws=1, density_steps=3, trace_draws=2)})
    with engine.around(0, twin.image_batch()):
        pass
    values = engine.records[0][2]
    assert values["largest_eigenvalues"].isnan().all()
    assert values["density_nodes"].isnan().all()


def test_the_loss_without_curvature_has_none():
    """A loss that is linear in the output of one linear layer."""
    network = nn.Sequential(nn.Linear(3, 2))
    batch = (torch.randn(5, 3), torch.zeros(5))
    engine = build(network, Objective(lambda y, _: y.sum()), {"s": Spectrum(largest=2)}, example=batch)
    with engine.around(0, batch):
        pass
    assert engine.records[0][2]["largest_eigenvalues"].tolist() == [0, 0]


def test_on_a_quadratic_the_spectrum_is_the_matrixs():
    matrix, _ = known([3.0, 2.0, 1.0, -1.0])
    engine = Probes(
        Quadratic(matrix), Objective(lambda output, _: output.mean()), {"s": Spectrum(largest=2, smallest=1)},
        (torch.zeros(3, 1), torch.zeros(3)), learning_rate=0.5, every=1,
    )  # fmt: skip
    with engine.around(0, (torch.zeros(3, 1), torch.zeros(3))):
        pass
    found = engine.records[0][2]
    assert found["largest_eigenvalues"].tolist() == pytest.approx([3, 2])
    assert found["smallest_eigenvalues"].tolist() == pytest.approx([-1])
    assert found["sharpness_times_rate"].item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"largest": 1000, "products": 9999}, "1000 largest and 0 smallest eigenvalues: the Hessian has"),
        ({"parameters": ("c9.*",)}, r"parameters 'c9\.\*': match no trained parameter .* c1\.layer\.weight"),
        ({"parameters": ()}, "at least one pattern"),
        ({"largest": 0}, "largest=0"),
        ({"products": 5}, "products=5: must be at least 11"),
        ({"tolerance": 0.0}, "tolerance=0.0"),
        ({"density_draws": -1}, "density_draws=-1"),
        ({"batch": "other"}, "batch 'other': not given"),
    ],
)
def test_wrong_options_are_refused_before_training(options, message):
    with pytest.raises(ProbeError, match=message):
        build(twin.conv_net(), None, {"s": Spectrum(**options)})


def test_a_network_that_stops_gradients_is_refused():
    with pytest.raises(ProbeError, match="stops gradients"):
        build(twin.conv_net("renorm"), None, {"s": Spectrum()})


def test_patterns_that_overlap_count_a_parameter_once():
    view = build(twin.conv_net()).view
    reduction = SpectralDensity(("c1.*", "c1.layer.*"), 1, 3)
    assert reduction.parameters(view) == tuple(n for n in view.parameters if n.startswith("c1."))
