"""The engine: training does not notice it, its numbers are those of the slow twins, and its plan is what it does."""

from __future__ import annotations

import copy
import itertools
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from probes import (
    Biases,
    Declaration,
    Dynamics,
    Gradients,
    InternalCovariateShift,
    Landscape,
    Losses,
    Objective,
    Probes,
    Representations,
    Scaling,
    Shift,
)
from probes.randomness import at_step
from tests import slow_twins as twin
from tests.conftest import partly

CROSS_ENTROPY = nn.functional.cross_entropy
ALL_NORMS = list(twin.NORMS)


def all_probes():
    return {
        "landscape": Landscape(update=True, random=1),
        "gradients": Gradients(),
        "ics": InternalCovariateShift(),
        "ics_weights": InternalCovariateShift(moves="weights"),
        "biases": Biases(),
        "dynamics": Dynamics(),
        "representations": Representations(),
        "scaling": Scaling(),
        "shift": Shift(),
        "losses": Losses(batches=("train",)),
    }


class Custom:
    """A user's probe from a function."""

    def __init__(self, needs=(), fields=None, measure=lambda at: {}, remember=()):
        self.declaration = Declaration(tuple(needs), fields or {}, tuple(remember))
        self._measure = measure

    def declare(self, network):
        return self.declaration

    def measure(self, at):
        return self._measure(at)


def sgd(network, lr=0.1, momentum=0.0):
    return torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum)


def train_step(forward, network, objective, optimiser, batch, seed, step):
    with at_step(seed, step):
        loss = objective(forward, network, *batch)
    optimiser.zero_grad()
    loss.total.backward()
    optimiser.step()


def train(network, optimiser, objective, steps, probes=None, start=0):
    for step in range(start, steps):
        batch = twin.image_batch(seed=step)
        if probes is None:
            train_step(network, network, objective, optimiser, batch, 7, step)
        else:
            with probes.around(step, batch) as forward:
                train_step(forward, network, objective, optimiser, batch, 7, step)


def build(network, objective=None, probes=None, **options):
    options = {"learning_rate": 0.1, "every": 1, "seed": 7, "example": twin.image_batch(), **options}
    return Probes(
        network, objective or Objective(CROSS_ENTROPY, 1e-2), all_probes() if probes is None else probes, **options
    )


def everything(network, optimiser):
    tensors = {f"p.{n}": p for n, p in network.named_parameters()} | {f"b.{n}": b for n, b in network.named_buffers()}
    tensors |= {f"g.{n}": p.grad for n, p in network.named_parameters() if p.grad is not None}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"o.{index}.{k}": v for k, v in state.items() if isinstance(v, torch.Tensor)}
    tensors["random"] = torch.get_rng_state()
    flags = {n: m.training for n, m in network.named_modules()}
    flags["grad"], flags["deterministic"] = torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
    flags["hooks"] = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())
    return {n: t.detach().clone() for n, t in tensors.items()}, flags


def assert_equal_states(a, b):
    assert a[1] == b[1]
    assert a[0].keys() == b[0].keys()
    for name in a[0]:
        assert torch.equal(a[0][name], b[0][name]), name


MODELS = {
    **{f"conv-{norm}": (lambda norm=norm: twin.conv_net(norm, dropout=0.3)) for norm in ALL_NORMS},
    "conv-inplace": lambda: twin.conv_net("batch", inplace=True),
    "residual": twin.Residual,
    "torchvision": twin.LikeTorchvision,
}


@pytest.mark.parametrize(("model", "reuse"), partly(itertools.product(MODELS, (True, False)), 8))
def test_training_is_bit_identical_with_and_without_probes(model, reuse):
    objective = Objective(CROSS_ENTROPY, 1e-2)
    states = []
    for probing in (False, True):
        network = MODELS[model]()
        network.get_submodule("c3" if model.startswith("conv") else "").eval()  # flags that differ between modules
        optimiser = sgd(network, momentum=0.9)
        torch.manual_seed(5)
        probes = build(network, objective, reuse_training_pass=reuse) if probing else None
        train(network, optimiser, objective, 3, probes)
        states.append(everything(network, optimiser))
        assert probes is None or len(probes.records) == 3 * len(all_probes())
    assert_equal_states(*states)


def parameters_of(network, block, kind):
    names = [n for n, _ in network.named_parameters() if n.startswith(f"{block}.")]
    if kind == "weights":
        return [n for n in names if n.startswith(f"{block}.layer.") and not n.endswith("bias")]
    return [n for n in names if ".norm." in n and n.endswith("weight" if kind == "gamma" else "bias")]


CASES = list(itertools.product(ALL_NORMS, [True, False], [0.0, 0.4], [torch.float64, None]))


@pytest.mark.parametrize(("norm", "inplace", "dropout", "dtype"), partly(CASES, 14))
def test_landscape_and_covariate_shift_agree_with_the_slow_twins(norm, inplace, dropout, dtype):
    """dtype None: trained and evaluated in float64, the training pass reused; else float32 evaluated in float64."""
    objective, lr, batch = Objective(CROSS_ENTROPY, 3e-2), 0.2, twin.image_batch()
    network = twin.conv_net(norm, inplace, dropout)
    if dtype is None:
        network, batch = network.double(), (batch[0].double(), batch[1])
    optimiser = sgd(network, lr, momentum=0.9)
    probes = build(network, objective, dtype=dtype, reuse_training_pass=True, learning_rate=lr, example=batch)
    assert probes._apparatus.reuse == (dtype is None)
    for step in (0, 1):  # at the second step the momentum makes the update differ from the gradient
        before = twin.Snapshot(network, objective, 7, step)
        start = {n: p.detach().double().clone() for n, p in network.named_parameters()}
        with probes.around(step, batch) as forward:
            train_step(forward, network, objective, optimiser, batch, 7, step)
    after = {n: p.detach().clone() for n, p in network.named_parameters()}
    found = {name: values for name, at, values in probes.records if at == 1}
    close = {"rtol": 1e-8, "atol": 1e-11}

    grid = Landscape().multiples
    directions = {"": None, "_along_update": {n: (start[n] - after[n].double()) / lr for n in start}}
    for suffix, direction in directions.items():
        loss, norm_before, rows = twin.landscape(before, batch, lr, grid, direction)
        keys = ("landscape_loss", "landscape_data_loss", "gradient_difference", "effective_beta", "gradient_cosine")
        mine = torch.stack([found["landscape"][key + suffix] for key in keys], 1)
        torch.testing.assert_close(mine, rows, **close)
        assert found["landscape"]["loss_before"].item() == pytest.approx(loss, rel=1e-10)
        assert found["landscape"]["gradient_norm"].item() == pytest.approx(norm_before, rel=1e-10)

    for probe, label, moves in (
        ("ics", "", lambda n: True),
        ("ics_weights", "_weights_move", lambda n: ".norm." not in n),
    ):
        for kind, prefix in (("weights", "ics"), ("gamma", "ics_gamma"), ("beta", "ics_beta")):
            blocks = [b for b in twin.BLOCKS if parameters_of(network, b, kind)]
            if not blocks:
                assert f"{prefix}_l2{label}" not in found[probe]
                continue
            rows = twin.covariate_shift(
                before, after, batch, twin.BLOCKS, lambda b, k=kind: parameters_of(network, b, k), moves
            )[[twin.BLOCKS.index(b) for b in blocks]]
            mine = torch.stack([found[probe][f"{prefix}_{what}{label}"] for what in ("l2", "relative", "cosine")], 1)
            torch.testing.assert_close(mine, rows, rtol=1e-8, atol=1e-10)
            assert probes.fields()[probe][f"{prefix}_l2{label}"]["layer"] == blocks


def test_gradients_agree_with_plain_arithmetic():
    network = twin.conv_net("batch").double()
    objective, batch = Objective(CROSS_ENTROPY, 1e-2), (twin.image_batch()[0].double(), twin.image_batch()[1])
    before, start = twin.Snapshot(network, objective, 7, 0), copy.deepcopy(network)
    loss, _, g, _ = before.run(batch)
    probes = build(network, objective, {"gradients": Gradients()}, example=batch)
    optimiser = sgd(network, 0.3)
    with probes.around(0, batch) as forward:
        train_step(forward, network, objective, optimiser, batch, 7, 0)
    found = probes.records[0][2]
    theta, end = ({n: p.detach() for n, p in m.named_parameters()} for m in (start, network))
    for i, block in enumerate(twin.BLOCKS):
        name = f"{block}.layer.weight"
        assert found["gradient_norm"][i].item() == pytest.approx(g[name].norm().item())
        assert found["weight_norm"][i].item() == pytest.approx(theta[name].norm().item())
        assert found["relative_update"][i].item() == pytest.approx(
            ((end[name] - theta[name]).norm() / theta[name].norm()).item()
        )
        assert found["weight_gradient_product"][i].item() == pytest.approx((g[name] * theta[name]).sum().item())
    distance = twin.length([end[n] - theta[n] for n in theta])
    later = before.run(batch, end)[0]
    assert found["update_norm"].item() == pytest.approx(distance)
    assert found["lipschitz"].item() == pytest.approx(abs(later - loss) / distance)
    assert found["total_gradient_norm"].item() == pytest.approx(twin.length(g.values()))
    assert found["total_relative_update"].item() == pytest.approx(distance / twin.length(theta.values()))


@pytest.mark.parametrize("reuse", [True, False])
def test_gradients_at_taps_are_those_that_hooks_see(reuse):
    network, objective = twin.conv_net("batch").double(), Objective(CROSS_ENTROPY, 1e-2)
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    before = twin.Snapshot(network, objective, 7, 0)
    probes = build(network, objective, {"g": Gradients(taps=True)}, example=batch, reuse_training_pass=reuse)
    with probes.around(0, batch) as forward:
        train_step(forward, network, objective, sgd(network, 0.3), batch, 7, 0)
    found = probes.records[0][2]
    seen = twin.at_modules(before, batch, [f"{block}.layer" for block in twin.BLOCKS])
    for i, (_, output, _, gradient) in enumerate(seen.values()):
        assert found["tap_gradient_norm"][i].item() == pytest.approx(gradient.norm().item())
        assert found["tap_norm"][i].item() == pytest.approx(output.norm().item())


# ---- hybrids


def hybrid_values(network, ordered):
    """One step's records of all probes, with the prefix trick or with full passes."""
    network, objective, batch = copy.deepcopy(network), Objective(CROSS_ENTROPY, 1e-2), twin.image_batch()
    probes = build(network, objective)
    assert probes.view.ordered
    if not ordered:
        import dataclasses

        probes.view = probes.shadow.view = dataclasses.replace(probes.view, ordered=False)
        probes._costs = dataclasses.replace(probes._costs, prefixes=False)
        probes._plans.clear()
    torch.manual_seed(3)
    optimiser = sgd(network, 0.3)
    with probes.around(0, batch) as forward:
        train_step(forward, network, objective, optimiser, batch, 7, 0)
    return {name: values for name, _, values in probes.records}, probes


@pytest.mark.parametrize("norm", ALL_NORMS)
def test_the_prefix_trick_equals_full_passes_bit_for_bit(norm):
    network = twin.conv_net(norm, inplace=True, dropout=0.3)
    (quick, probes), (full, plain) = hybrid_values(network, True), hybrid_values(network, False)
    for probe in quick:
        for key in quick[probe]:
            assert torch.equal(quick[probe][key], full[probe][key]), (probe, key)
    assert probes.plan.passes < plain._plan(frozenset(plain.probes)).passes


def test_the_first_layer_has_no_covariate_shift_at_all():
    values = hybrid_values(twin.conv_net("batch"), True)[0]["ics"]
    assert values["ics_l2"][0] == 0
    assert values["ics_gamma_l2"][0] == 0
    assert values["ics_cosine"][0].item() == pytest.approx(1, abs=1e-12)
    assert (values["ics_l2"][1:] > 0).all()


def test_the_probed_layer_itself_does_not_move():
    """Only the preceding layers do: with the first block frozen in place, the second one's shift is 0."""
    network, objective = twin.conv_net("batch"), Objective(CROSS_ENTROPY, 0.0)
    probes = build(network, objective, {"ics": InternalCovariateShift()})
    optimiser = torch.optim.SGD([p for n, p in network.named_parameters() if not n.startswith("c1.")], lr=0.5)
    with probes.around(0, twin.image_batch()):
        train_step(network, network, objective, optimiser, twin.image_batch(), 7, 0)
    shift = probes.records[0][2]["ics_l2"]
    assert shift[1] == 0
    assert shift[2] > 0


# ---- closed forms


class Quadratic(nn.Module):
    """L = theta^T A theta / 2 when the loss is the mean of the output, whatever the input."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix, self.theta = matrix, nn.Parameter(torch.linspace(1, 2, len(matrix), dtype=torch.float64))

    def forward(self, x):
        return self.theta @ self.matrix @ self.theta / 2 + 0 * x.sum()


def test_on_a_quadratic_beta_is_the_curvature_along_the_gradient_at_every_step_length():
    root = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hessian, batch = root @ root.T, (torch.zeros(3, 1), torch.zeros(3))
    network, objective, lr = Quadratic(hessian), Objective(lambda output, _: output.mean()), 1e-3
    g = hessian @ network.theta.detach()
    grid = (0.0, 0.5, 1.0, 30.0)
    landscape = Landscape(multiples=grid, limit="hessian", update=True, random=1)
    probes = Probes(network, objective, {"landscape": landscape}, batch, learning_rate=lambda step: lr, every=1)
    with probes.around(0, batch):
        train_step(network, network, objective, sgd(network, lr), batch, 0, 0)
    found = probes.records[0][2]
    beta = ((hessian @ g).norm() / g.norm()).item()
    eta = torch.tensor(grid, dtype=torch.float64) * lr
    torch.testing.assert_close(found["gradient_difference"], eta * (hessian @ g).norm())
    assert found["gradient_difference"][0] == 0
    assert math.isnan(found["effective_beta"][0])
    assert found["effective_beta"][1:].tolist() == pytest.approx([beta] * 3, rel=1e-6)
    assert found["effective_beta_limit_by_hessian"].item() == pytest.approx(beta)
    # plain gradient descent: the update is the gradient's line
    torch.testing.assert_close(found["landscape_loss_along_update"], found["landscape_loss"])
    losses = [
        (0.5 * (network_theta := torch.linspace(1, 2, 5, dtype=torch.float64) - e * g) @ hessian @ network_theta).item()
        for e in eta
    ]
    assert found["landscape_loss"].tolist() == pytest.approx(losses)
    smallest, largest = torch.linalg.eigvalsh(hessian)[[0, -1]].tolist()
    assert smallest <= found["effective_beta_along_random_0"][1].item() <= largest


def test_difference_limit_meets_the_hessian_limit():
    found = {}
    for limit in ("hessian", "difference"):
        network = twin.conv_net("batch").double()
        batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
        probes = build(network, None, {"landscape": Landscape(limit=limit)}, example=batch)
        with probes.around(0, batch):
            train_step(network, network, probes.objective, sgd(network), batch, 7, 0)
        found[limit] = probes.records[0][2][f"effective_beta_limit_by_{limit}"].item()
    assert found["hessian"] == pytest.approx(found["difference"], rel=1e-5)


@pytest.mark.parametrize("norm", ["none", "noisy", "weight"])
def test_along_one_is_after_for_plain_gradient_descent(norm):
    from probes import After, Along, Field, Need
    from probes.reductions import GradientNorms, LossParts

    needs = [Need("train", p, r()) for p in (After(), Along(1.0)) for r in (LossParts, GradientNorms)]

    class Both:
        def declare(self, network):
            fields = {
                str(i): Field("x", "1", "", dims=("u",), shape=(3 if i % 2 == 0 else len(network.parameters),))
                for i in range(4)
            }
            return Declaration(tuple(needs), fields)

        def measure(self, at):
            return {str(i): at[need] for i, need in enumerate(needs)}

    network, objective = twin.conv_net(norm), Objective(CROSS_ENTROPY, 1e-2)
    probes = build(network, objective, {"both": Both()}, reuse_training_pass=True)
    batch = twin.image_batch()
    with probes.around(0, batch) as forward:
        train_step(forward, network, objective, sgd(network), batch, 7, 0)
    values = probes.records[0][2]
    assert torch.equal(values["0"], values["2"])
    assert torch.equal(values["1"], values["3"])


# ---- networks of others


def test_a_network_like_torchvisions_is_traced_into_a_chain():
    probes = build(twin.LikeTorchvision())
    assert probes.view.ordered
    assert [layer.name for layer in probes.view.layers] == ["features.0", "features.4", "classifier.0", "classifier.3"]
    first = probes.view.layers[0]
    assert (first.gamma, first.beta, first.activation) == ("features.1.weight", "features.1.bias", "features.2")


def test_the_residual_networks_covariate_shift_agrees_with_full_passes_by_hand():
    network, objective, batch = twin.Residual().double(), Objective(CROSS_ENTROPY, 1e-2), twin.image_batch()
    batch = (batch[0].double(), batch[1])
    before = twin.Snapshot(network, objective, 7, 0)
    probes = build(network, objective, {"ics": InternalCovariateShift()}, example=batch)
    with probes.around(0, batch):
        train_step(network, network, objective, sgd(network, 0.5), batch, 7, 0)
    after = {n: p.detach() for n, p in network.named_parameters()}
    assert probes.fields()["ics"]["ics_l2"]["layer"] == ["c1", "c2", "head"]
    _, _, g, _ = before.run(batch)
    moved = {n: v for n, v in after.items() if n.split(".")[0] in ("c1", "b1")}
    expected = (before.run(batch, moved)[2]["c2.weight"] - g["c2.weight"]).norm()
    torch.testing.assert_close(probes.records[0][2]["ics_l2"][1], expected)
    expected = (before.run(batch, moved)[2]["b2.weight"] - g["b2.weight"]).norm()
    torch.testing.assert_close(probes.records[0][2]["ics_gamma_l2"][1], expected)


def test_dropout_from_the_global_generator_is_the_training_steps_own_at_every_point():
    network, objective = twin.conv_net("batch", dropout=0.5), Objective(CROSS_ENTROPY)
    probes = build(network, objective, {"landscape": Landscape(multiples=(0.0, 1.0))})
    torch.manual_seed(11)
    with probes.around(0, twin.image_batch()):
        loss = objective(network, network, *twin.image_batch())
        loss.total.backward()
    values = probes.records[0][2]
    assert values["loss_before"].item() == loss.total.item()
    assert values["landscape_loss"][0].item() == loss.total.item()
    assert values["gradient_difference"][0] == 0


def test_half_precision_of_training_does_not_reach_the_probes():
    network, objective = twin.conv_net("batch"), Objective(CROSS_ENTROPY)
    expected = build(network, objective, {"landscape": Landscape(multiples=(0.0,))})
    with expected.around(0, twin.image_batch()):
        pass
    probes = build(network, objective, {"landscape": Landscape(multiples=(0.0,))})
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), probes.around(0, twin.image_batch()):
        pass
    for key in ("loss_before", "gradient_norm"):
        assert torch.equal(expected.records[0][2][key], probes.records[0][2][key])


def test_each_module_is_evaluated_in_the_mode_that_it_trains_in():
    """A frozen batch normalisation, in a network whose mode changes after the probes were built."""
    network, objective, batch = twin.conv_net(dropout=0.5), Objective(CROSS_ENTROPY), twin.image_batch()
    probes = build(network, objective, {"landscape": Landscape(multiples=(0.0,))})
    network.c2.eval()
    network.dropout.eval()
    with probes.around(0, batch):
        loss = objective(network, network, *batch).total
    assert probes.records[0][2]["landscape_loss"].item() == loss.item()


@pytest.mark.parametrize("reuse", [True, False])
def test_a_parameter_that_the_loss_does_not_see_has_gradient_zero(reuse):
    network, objective, batch = twin.conv_net("none"), Objective(CROSS_ENTROPY), twin.image_batch()
    network.c1.register_parameter("idle", nn.Parameter(torch.ones(2)))
    plain = copy.deepcopy(network)
    probes = build(network, objective, {"landscape": Landscape(multiples=(1.0,))}, reuse_training_pass=reuse)
    with probes.around(0, batch) as forward:
        train_step(forward, network, objective, sgd(network), batch, 7, 0)
    objective(plain, plain, *batch).total.backward()
    expected = twin.length([p.grad for p in plain.parameters() if p.grad is not None])
    assert probes.records[0][2]["gradient_norm"].item() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(network.c1.idle.detach(), torch.ones(2))


def test_importing_probes_does_not_import_torch():
    code = "import probes, sys; assert 'torch' not in sys.modules; probes.Landscape; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_names_of_the_package_are_there():
    import probes

    for name in probes.__all__:
        assert getattr(probes, name) is not None
    with pytest.raises(AttributeError):
        probes.nothing_of_the_kind  # noqa: B018
