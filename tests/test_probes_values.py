"""Activations and theory against plain arithmetic, and resuming."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from probes import (
    Activations,
    Along,
    Dynamics,
    Landscape,
    Need,
    Objective,
    ProbeError,
    Theory,
)
from probes.engine.collector import reduce_together
from probes.reductions import Histogram, Moments, ParameterValues, Quantiles, TapValues
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, Custom, assert_equal_states, build, everything, sgd, train, train_step


def one_step(network, probes, lr=0.3, batch=None, step=0, objective=None, optimiser=None, **options):
    objective = objective or Objective(CROSS_ENTROPY, 1e-2)
    batch = batch or twin.image_batch()
    engine = build(network, objective, probes, example=batch, **options)
    with engine.around(step, batch) as forward:
        train_step(forward, network, objective, optimiser or sgd(network, lr), batch, 7, step)
    return engine, {name: values for name, _, values in engine.records}


def taps_by_hooks(network, batch, names):
    """The outputs of modules, copied as they leave (an in-place activation may follow), in float64."""
    found, network = {}, copy.deepcopy(network).double()
    for name in names:
        network.get_submodule(name).register_forward_hook(lambda m, a, o, n=name: found.update({n: o.detach().clone()}))
    network(batch[0].double())
    return found


def by_unit(values):
    return values.transpose(0, 1).flatten(1)


# ---- activations


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("model", ["chain", "inplace", "residual"])
def test_activations_are_those_that_hooks_see(model, reuse):
    network = {"chain": twin.conv_net, "inplace": lambda: twin.conv_net(inplace=True), "residual": twin.Residual}[
        model
    ]()
    network = network.double()
    pairs = {"c1": ("c1.layer", "c1.norm"), "c2": ("c2.layer", "c2.norm")}
    if model == "residual":
        pairs = {"c1": ("c1", "b1"), "c2": ("c2", "b2")}
    batch, fixed = ((b[0].double(), b[1]) for b in (twin.image_batch(), twin.image_batch(11, seed=9)))
    modules = [name for pair in pairs.values() for name in pair]
    before = {b: taps_by_hooks(network, data, modules) for b, data in (("train", batch), ("fixed", fixed))}
    probe = Activations(units=2, bins=8, low=-1.0, high=1.0, resolution=3, layers=tuple(pairs))
    _, values = one_step(network, {"a": probe}, batch=batch, batches={"fixed": fixed}, reuse_training_pass=reuse)
    after = {b: taps_by_hooks(network, data, modules) for b, data in (("train", batch), ("fixed", fixed))}
    found = values["a"]
    for b in ("train", "fixed"):
        for i, (layer, names) in enumerate(pairs.items()):
            for place, name in zip(("before_normalisation", "after_normalisation"), names, strict=True):
                x, y = by_unit(before[b][name]), by_unit(after[b][name])
                key = f"{place}.{b}"
                torch.testing.assert_close(found[f"unit_mean_{key}.{layer}"], x.mean(1))
                torch.testing.assert_close(found[f"unit_variance_{key}.{layer}"], x.var(1, correction=0))
                edges = torch.linspace(-1, 1, 9, dtype=x.dtype)
                counts = torch.histogram(x.flatten(), edges).hist
                expected = torch.cat([(x < -1).sum().view(1), counts, (x > 1).sum().view(1)])
                torch.testing.assert_close(found[f"histogram_{key}.{layer}"], expected.double())
                assert found[f"histogram_{key}.{layer}"].sum() == x.numel()
                drift = (y.mean(1) - x.mean(1)).abs().mean()
                torch.testing.assert_close(found[f"mean_drift_by_update_{key}"][i], drift)
                drift = (y.var(1, correction=0) - x.var(1, correction=0)).abs().mean()
                torch.testing.assert_close(found[f"variance_drift_by_update_{key}"][i], drift)
                assert math.isnan(found[f"mean_drift_since_last_{key}"][i])
                assert found[f"mean_drift_since_start_{key}"][i] == 0


def test_percentiles_and_wasserstein_are_torchs_and_exact_for_a_shift():
    network = twin.conv_net("none").double()
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    probe = Activations(units=3, batches=("train",), layers=("c2",), resolution=5)
    before = taps_by_hooks(network, batch, ["c2.layer"])["c2.layer"]
    shift = torch.optim.SGD([network.c2.layer.bias], lr=10.0)  # moves every unit by its own constant
    start = network.c2.layer.bias.detach().clone()
    engine, values = one_step(network, {"a": probe}, batch=batch, optimiser=shift)
    entry = engine.fields()["a"]["percentiles_before_normalisation.train.c2"]
    units = [int(u) for u in entry["reference"].split("units ")[1].split(", ")]
    assert len(units) == 3
    expected = torch.quantile(by_unit(before)[units], torch.tensor([0.15, 0.5, 0.85], dtype=torch.float64), dim=1).T
    torch.testing.assert_close(values["a"]["percentiles_before_normalisation.train.c2"], expected)
    moved = (network.c2.layer.bias.detach() - start)[units].abs().mean()
    torch.testing.assert_close(values["a"]["wasserstein_drift_by_update_before_normalisation.train"][0], moved)


def test_small_taps_that_are_reduced_together_are_as_one_by_one():
    """Taps of different widths, asked for different things; against plain torch."""
    drawn = torch.Generator().manual_seed(0)
    taps = {f"t{width}": torch.randn(20, width, generator=drawn, dtype=torch.float64) for width in (3, 5, 2)}
    levels = (0.0, 0.3, 1.0)
    chosen = {"t3": (2, 0), "t5": (4,), "t2": (0, 1)}
    wanted = [(tap, [Moments(tap), Quantiles(tap, chosen[tap], levels), Histogram(tap, -1.0, 1.0, 4)]) for tap in taps]
    wanted[1][1].append(Histogram("t5", -2.0, 0.0, 2))
    wanted[2] = ("t2", [Quantiles("t2", (1,), (0.5,)), TapValues("t2"), *wanted[2][1][1:]])
    asked = [(reductions, taps[tap]) for tap, reductions in wanted]
    found = dict(reduce_together(asked))
    assert len(found) == sum(len(reductions) for reductions, _ in asked)
    for reduction, value in found.items():
        x = taps[reduction.tap]
        if isinstance(reduction, Moments):
            expected = torch.stack([x.mean(0), x.var(0, correction=0)])
        elif isinstance(reduction, Quantiles):
            q = torch.tensor(reduction.levels, dtype=x.dtype)
            expected = torch.quantile(x[:, list(reduction.units)], q, dim=0).T
        elif isinstance(reduction, Histogram):
            low, high = reduction.low, reduction.high
            inside = torch.histogram(x.flatten(), torch.linspace(low, high, reduction.bins + 1, dtype=x.dtype)).hist
            expected = torch.cat([(x < low).sum().view(1), inside, (x > high).sum().view(1)]).long()
        else:
            expected = x
        torch.testing.assert_close(value, expected)


def test_dead_and_saturated_fractions():
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), nn.Sigmoid())
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.copy_(torch.tensor([-1.0, 1.0, 0.0, 2.0]))
        network[2].weight.zero_()
        network[2].bias.copy_(torch.tensor([3.0, -3.0, 0.1]))
        network[4].weight.zero_()
        network[4].bias.copy_(torch.tensor([-9.0, 0.0]))
    batch = (torch.randn(5, 2), torch.randn(5, 2))
    probe = Activations(batches=("train",), units=1)
    objective = Objective(nn.functional.mse_loss)
    _, values = one_step(network, {"a": probe}, batch=batch, objective=objective)
    assert values["a"]["dead.train"].tolist() == [0.5]
    assert values["a"]["saturated.train"].tolist() == pytest.approx([2 / 3, 0.5])


def test_drift_between_steps_is_each_steps_own_batch_and_noise():
    """Noisy batch normalisation: between steps the noise jumps, by the update it is held."""
    network = twin.conv_net("noisy")
    probe = Activations(batches=("train",), layers=("c1",))
    engine = build(network, None, {"a": probe}, learning_rate=0.0)
    train(network, sgd(network, 0.0), engine.objective, 3, engine)
    for _, step, found in engine.records:
        assert found["mean_drift_by_update_after_normalisation.train"][0] == 0
        if step:
            assert found["mean_drift_since_last_after_normalisation.train"][0] > 0
    means = [found["unit_mean_after_normalisation.train.c1"] for _, _, found in engine.records]
    for since, other in (("last", 1), ("start", 0)):
        expected = (means[2] - means[other]).abs().mean()
        found = engine.records[2][2][f"mean_drift_since_{since}_after_normalisation.train"][0]
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("reuse", [True, False])
def test_resuming_in_the_middle_gives_the_same_records_and_weights(reuse, tmp_path):
    def probes():
        return {"activations": Activations(every=2), "landscape": Landscape(), "theory": Theory(), "d": Dynamics()}

    def fresh():
        torch.manual_seed(2)
        network = twin.conv_net("noisy", dropout=0.2)
        engine = build(network, None, probes(), batches={"fixed": twin.image_batch(5, 8)}, reuse_training_pass=reuse)
        return network, sgd(network, momentum=0.9), engine

    network, optimiser, whole = fresh()
    torch.manual_seed(4)
    train(network, optimiser, whole.objective, 6, whole)
    final = everything(network, optimiser)

    network, optimiser, first = fresh()
    torch.manual_seed(4)
    train(network, optimiser, first.objective, 3, first)
    saved = {
        "n": network.state_dict(),
        "o": optimiser.state_dict(),
        "p": first.state_dict(),
        "r": torch.get_rng_state(),
    }
    torch.save(saved, tmp_path / "checkpoint.pt")
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    network, optimiser, second = fresh()
    network.load_state_dict(saved["n"])
    optimiser.load_state_dict(saved["o"])
    second.load_state_dict(saved["p"])
    torch.set_rng_state(saved["r"])
    train(network, optimiser, second.objective, 6, second, start=3)
    assert_equal_states(final, everything(network, optimiser))
    records = first.records + second.records
    assert [(n, s) for n, s, _ in records] == [(n, s) for n, s, _ in whole.records]
    for (name, _, mine), (_, _, theirs) in zip(records, whole.records, strict=True):
        for key in theirs:
            torch.testing.assert_close(mine[key], theirs[key], rtol=0, atol=0, equal_nan=True, msg=f"{name} {key}")


def test_state_of_other_options_is_refused():
    engine, _ = one_step(twin.conv_net(), {"a": Activations(batches=("train",))})
    other = build(twin.conv_net(), None, {"a": Activations(batches=("train",), units=2)})
    with pytest.raises(ProbeError, match="other options"):
        other.load_state_dict(engine.state_dict())


# ---- landscape


def test_the_learning_rate_of_the_probed_step_is_recorded_under_a_schedule():
    """lr_t is the length of a plain step per length of its gradient, and 1 on the grid is that step."""
    network, objective = twin.conv_net("none"), Objective(CROSS_ENTROPY, 1e-2)
    network, batch = network.double(), (twin.image_batch()[0].double(), twin.image_batch()[1])
    optimiser = sgd(network, 0.4)
    stepped = torch.optim.lr_scheduler.MultiStepLR(optimiser, [2, 3], gamma=0.25)
    probe = {"l": Landscape(multiples=(0.0, 1.0))}
    engine = build(network, objective, probe, learning_rate=lambda step: stepped.get_last_lr()[0], example=batch)
    rates, after = [], []
    for step in range(4):
        start = [p.detach().clone() for p in network.parameters()]
        with engine.around(step, batch) as forward:
            train_step(forward, network, objective, optimiser, batch, 7, step)
        moved = twin.length([a.detach() - b for a, b in zip(network.parameters(), start, strict=True)])
        rates.append(moved / twin.length([p.grad for p in network.parameters()]))
        after.append(objective(network, network, *batch).total.item())
        stepped.step()
    found = [values for _, _, values in engine.records]
    assert [values["learning_rate"].item() for values in found] == pytest.approx(rates, rel=1e-9)
    assert rates == pytest.approx([0.4, 0.4, 0.1, 0.025])
    assert [values["landscape_loss"][1].item() for values in found] == pytest.approx(after, rel=1e-9)
    entry = engine.fields()["l"]["learning_rate"]
    assert (entry["unit"], entry["batch"], entry["point"], entry["dims"]) == ("1", "none", "none", [])


def directions(network, step, seed, lr=0.25):
    """Two random directions, flat, as they show in the parameters at Along(1); and the gradient."""
    names = [name for name, _ in network.named_parameters()]
    needs = [Need("train", Along(1.0, "random", i), ParameterValues(name)) for i in (0, 1) for name in names]
    own = Custom(needs, {}, lambda at: found.append([at[need] for need in needs]) or {})
    found, batch, objective = [], twin.image_batch(), Objective(CROSS_ENTROPY, 1e-2)
    start = [p.detach().double().clone() for _, p in network.named_parameters()] * 2
    engine = build(network, objective, {"own": own}, seed=seed, dtype=torch.float64, learning_rate=lr)
    g = twin.Snapshot(network, objective, seed, step).run(batch)[2]
    with engine.around(step, batch):
        pass
    flat = [((a - b) / lr).flatten() for a, b in zip(start, found[-1], strict=True)]
    return torch.cat(flat[: len(names)]), torch.cat(flat[len(names) :]), torch.cat([g[n].flatten() for n in names])


def test_random_directions_are_as_long_as_the_gradient_and_independent():
    network = twin.conv_net("batch")
    first, second, g = directions(network, step=3, seed=7)
    later, _, _ = directions(network, step=4, seed=7)
    other, _, _ = directions(network, step=3, seed=8)
    again, _, _ = directions(network, step=3, seed=7)
    assert torch.equal(first, again)
    for direction in (first, second, later, other):
        assert direction.norm().item() == pytest.approx(g.norm().item(), rel=1e-6)
    bound = 5 / math.sqrt(len(g))  # five standard deviations of the cosine of two independent directions
    vectors = torch.stack([v / v.norm() for v in (first, second, later, other, g)])
    cosines = vectors @ vectors.T - torch.eye(5)
    assert cosines.abs().max() < bound < 0.3
    kurtosis = (first**4).mean() / (first**2).mean() ** 2
    assert kurtosis == pytest.approx(3, abs=0.9)  # Gaussian, not uniform (1.8) nor signs (1)
    for direction in (first, second):  # all parameters take part, each number alike
        parts = direction.split([p.numel() for p in network.parameters()])
        large = [part.square().mean() / direction.square().mean() for part in parts if part.numel() > 50]
        assert all(0.5 < ratio < 1.6 for ratio in large)


# ---- theory


def bn_gradients(network, batch, objective):
    """(y, dL/dy, g = dL/dz) at every batch normalisation, by hooks on a copy."""
    network, found = copy.deepcopy(network), {}

    def hook(module, args, output, name):
        args[0].retain_grad()
        output.retain_grad()
        found[name] = (args[0], output)
        return output.clone()  # a residual network adds to it in place

    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_hook(lambda m, a, o, n=name: hook(m, a, o, n))
    objective(network, network, *batch).total.backward()
    return {n: (y.detach(), y.grad, z.grad) for n, (y, z) in found.items()}


def deep_batch(width=5, n=12):
    g = torch.Generator().manual_seed(3)
    return torch.randn(n, width, generator=g, dtype=torch.float64), torch.randn(
        n, width, generator=g, dtype=torch.float64
    )


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("model", ["convolutional", "inplace", "linear", "noisy", "residual"])
def test_theorem_4_1_holds_to_rounding_and_fails_as_printed(model, reuse):
    objective, batch = Objective(CROSS_ENTROPY, 1e-2), twin.image_batch()
    batch = (batch[0].double(), batch[1])
    if model == "linear":
        network, batch, objective = twin.linear_net(), deep_batch(), Objective(nn.functional.mse_loss)
    else:
        models = {"convolutional": twin.conv_net, "residual": twin.Residual}
        models |= {"inplace": lambda: twin.conv_net(inplace=True), "noisy": lambda: twin.conv_net("noisy")}
        network = models[model]()
    network = network.double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eps = 1e-3  # large enough that the constant 1/m alone would show
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
    hooked = bn_gradients(network, batch, objective) if model != "noisy" else None
    kinds = nn.modules.batchnorm._BatchNorm
    gammas = [module.weight.detach().clone() for module in network.modules() if isinstance(module, kinds)]
    engine, values = one_step(network, {"t": Theory()}, batch=batch, objective=objective, reuse_training_pass=reuse)
    found = values["t"]
    torch.testing.assert_close(
        found["theorem_4_1_right_hand_side"], found["activation_gradient_squared"], rtol=1e-10, atol=0
    )
    assert (found["theorem_4_1_relative_error"] < 1e-10).all()
    assert (found["theorem_4_1_as_printed_violated"] > 0).all()
    without_eps = found["scaling_term"] - found["mean_term"]
    assert (found["correlation_term"] > 0).all()
    assert (without_eps > found["activation_gradient_squared"]).all()
    if hooked is None:
        return
    layers = engine.fields()["t"]["scaling_term"]["layer"]
    for i, (layer, gamma, (y, dy, g)) in enumerate(zip(layers, gammas, hooked.values(), strict=True)):
        m = y.numel() / y.shape[1]
        sigma = (by_unit(y).var(1, correction=0) + 1e-3).sqrt()
        torch.testing.assert_close(found[f"sigma.{layer}"], sigma)
        torch.testing.assert_close(found["activation_gradient_squared"][i], dy.square().sum())
        torch.testing.assert_close(found[f"gamma_over_sigma.{layer}"], gamma / sigma)
        torch.testing.assert_close(found["scaling_term"][i], ((gamma / sigma) ** 2 * by_unit(g).square().sum(1)).sum())
        torch.testing.assert_close(found["mean_term"][i], ((gamma / sigma) ** 2 * by_unit(g).sum(1) ** 2).sum() / m)


@pytest.mark.parametrize("eps", [1e-12, 1e-1])
@pytest.mark.parametrize("model", ["convolutional", "linear"])
def test_theorem_4_2_holds_jointly_to_rounding(model, eps):
    objective, batch = Objective(CROSS_ENTROPY, 0.0), twin.image_batch()
    batch = (batch[0].double(), batch[1])
    network = twin.conv_net()
    if model == "linear":
        network, batch, objective = twin.linear_net(3), deep_batch(), Objective(nn.functional.mse_loss)
    network = network.double()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eps = eps
    _, values = one_step(network, {"t": Theory(curvature=True)}, batch=batch, objective=objective)
    found = values["t"]
    torch.testing.assert_close(
        found["theorem_4_2_left_hand_side"], found["theorem_4_2_right_hand_side"], rtol=1e-8, atol=1e-14
    )
    assert (found["theorem_4_2_bend_term"].abs() > 1e-12).all()


def test_curvature_of_the_last_normalisation_is_the_full_hessians():
    objective, batch, network = Objective(nn.functional.mse_loss), deep_batch(4, 6), twin.linear_net(2, 4).double()
    before = copy.deepcopy(network)
    _, values = one_step(network, {"t": Theory(curvature=True)}, batch=batch, objective=objective)
    y = before.layer1.layer(batch[0]).detach()

    def above(flat):
        return nn.functional.mse_loss(before.layer2(before.layer1.norm(flat.view_as(y))), batch[1])

    v = torch.autograd.functional.jacobian(above, y.flatten())
    expected = v @ torch.autograd.functional.hessian(above, y.flatten()) @ v
    torch.testing.assert_close(values["t"]["theorem_4_2_left_hand_side"][0], expected)


def test_theory_of_a_network_without_batch_normalisation_is_empty_or_refused():
    engine, values = one_step(twin.conv_net("group"), {"t": Theory()})
    assert values["t"] == {}
    assert engine.plan.passes == 0
    with pytest.raises(ProbeError, match="probe t: theory: layer 'c1' has no batch normalisation"):
        build(twin.conv_net("group"), None, {"t": Theory(layers=("c1",))})
