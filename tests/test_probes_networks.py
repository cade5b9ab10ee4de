"""Networks of every shape: what counts as a layer, its normalisation, its activation, and what precedes it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from experiments.data.torchvision_import import import_torchvision
from probes import Activations, Gradients, InternalCovariateShift, Landscape, Objective, ProbeError, Theory
from probes.objective import weight_matrices
from tests import slow_twins as twin
from tests.conftest import partly
from tests.test_probes import CROSS_ENTROPY, assert_equal_states, build, everything, sgd, train_step
from tests.test_probes_values import one_step


def five_probes():
    return {
        "activations": Activations(),
        "landscape": Landscape(multiples=(0.5, 1.0), random=1, update=True),
        "gradients": Gradients(),
        "ics": InternalCovariateShift(),
        "ics_weights": InternalCovariateShift(moves="weights"),
        "theory": Theory(),
    }


def double(batch):
    return batch[0].double(), batch[1]


def agrees_with_the_twins(network, batch, norm_of, before_norm, limit=None):
    """One step with the probes, in float64, against the slow twins.

    norm_of: {layer: the normalisation that follows it}; before_norm: {layer: (module, 0 for its input, 1 output)}.
    """
    network, batch = network.double(), double(batch)
    objective = Objective(CROSS_ENTROPY, 1e-2)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
    before = twin.Snapshot(network, objective, 7, 0)
    engine, values = one_step(
        network, five_probes(), lr=0.3, batch=batch, batches={"fixed": batch}, objective=objective
    )
    after = {n: p.detach().clone() for n, p in network.named_parameters()}

    terms = twin.theorem_4_1(before, batch, list(norm_of.values()))
    found, fields = values["theory"], engine.fields()["theory"]
    for layer, norm in norm_of.items():
        place = fields["scaling_term"]["layer"].index(layer)
        for quantity, expected in terms[norm].items():
            if quantity != "as_printed":
                torch.testing.assert_close(found[f"{quantity}.{layer}"], expected, rtol=1e-7, atol=1e-12)
        for record, quantity in {"theorem_4_1_as_printed": "as_printed", "mean_term": "mean_term"}.items():
            torch.testing.assert_close(found[record][place], terms[norm][quantity].sum(), rtol=1e-7, atol=1e-12)
        expected = terms[norm]["shift_over_sigma"].abs().mean()
        torch.testing.assert_close(found["shift_over_sigma_mean"][place], expected)
    assert (found["theorem_4_1_relative_error"] < 1e-9).all()

    found, fields = values["activations"], engine.fields()["activations"]
    sides = {"before": before_norm, "after": {layer: (norm, 1) for layer, norm in norm_of.items()}}
    for side, taps in sides.items():
        key = f"{side}_normalisation.train"
        for layer, (mean, variance, drift, spread) in twin.activations(before, after, batch, taps).items():
            place = fields[f"mean_{key}"]["layer"].index(layer)
            torch.testing.assert_close(found[f"unit_mean_{key}.{layer}"], mean)
            torch.testing.assert_close(found[f"unit_variance_{key}.{layer}"], variance)
            torch.testing.assert_close(found[f"mean_drift_by_update_{key}"][place], drift)
            torch.testing.assert_close(found[f"variance_drift_by_update_{key}"][place], spread)

    order = twin.execution_order(before.network, batch[0])
    kinds = {n: type(m) for n, m in network.named_modules()}
    for probe, label, moves in (
        ("ics", "", lambda m: True),
        ("ics_weights", "_weights_move", lambda m: kinds[m] in (nn.Conv2d, nn.Linear)),
    ):
        layers = engine.fields()[probe][f"ics_l2{label}"]["layer"]
        names = [f"{layer}.weight" for layer in layers][:limit]
        expected = twin.covariate_shift_in_order(before, after, batch, order, names, moves)
        mine = torch.stack([values[probe][f"ics_{what}{label}"] for what in ("l2", "cosine")], 1)[:limit]
        torch.testing.assert_close(mine, expected, rtol=1e-7, atol=1e-9)
    return engine, values


PRE_ACTIVATION = {"c1": "b1", "c2": "b2", "head": "b3"}


@pytest.mark.parametrize("stem_norm", [False, True])
def test_a_pre_activation_network_agrees_with_the_slow_twins(stem_norm):
    """What enters b3 is a sum, and the stem's output goes to b1 and past it: each belongs to what it feeds."""
    network = twin.PreActivation(stem_norm=stem_norm)
    norm_of = {**({"stem": "entry"} if stem_norm else {}), **PRE_ACTIVATION}
    before_norm = {layer: (norm, 0) for layer, norm in norm_of.items()}
    engine, values = agrees_with_the_twins(network, twin.image_batch(), norm_of, before_norm)
    assert engine.view.ordered
    assert [layer.normalisation for layer in engine.view.layers] == ["entry" if stem_norm else None, "b1", "b2", "b3"]
    assert (values["ics"]["ics_l2"][0] > 0) == stem_norm  # what stands before the first layer precedes it
    assert values["ics_weights"]["ics_l2_weights_move"][0] == 0


@pytest.mark.parametrize("moves", ["all", "weights"])
def test_what_precedes_moves_alike_with_an_order_and_without(moves):
    """A normalisation of the inputs stands before the first layer; a chain, and the same as a network without order."""
    found = []
    for wrap in (lambda n: n, twin.Unordered):
        inner = nn.Sequential(nn.BatchNorm2d(2), twin.conv_net("batch")).double()
        network = wrap(inner)
        probe = {"ics": InternalCovariateShift(moves=moves)}
        engine, values = one_step(network, probe, batch=double(twin.image_batch()))
        assert engine.view.ordered == (network is inner)
        found.append(values["ics"])
    label = "" if moves == "all" else "_weights_move"
    assert (found[0][f"ics_l2{label}"][0] > 0) == (moves == "all")
    for key in found[0]:
        torch.testing.assert_close(found[0][key], found[1][key], rtol=1e-12, atol=0)


class Composite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)) + x)


def test_a_sequence_of_composite_blocks_is_looked_into():
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), Composite(), nn.Flatten(), nn.Linear(64, 3)
    )
    norm_of = {"0": "1", "3.conv": "3.bn"}
    engine, _ = agrees_with_the_twins(network, twin.image_batch(), norm_of, {"0": ("0", 1), "3.conv": ("3.conv", 1)})
    assert [layer.name for layer in engine.view.layers] == ["0", "3.conv", "5"]


class Wrapped(nn.Module):
    """A normalisation with modules inside."""

    def __init__(self, channels):
        super().__init__()
        self.inner = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.inner(x) if float(x.detach().sum()) < torch.inf else x  # resists tracing


def test_a_normalisation_with_modules_inside_stays_one_step():
    network = twin.conv_net("batch")
    network.c1.norm = Wrapped(4)
    view = build(network).view
    assert view.ordered
    assert view.layers[0].after_normalisation == "c1.norm"


def torchvisions(name):
    models = import_torchvision().models
    torch.manual_seed(0)
    if name == "densenet":
        return models.DenseNet(4, (2, 2), 8, num_classes=3, drop_rate=0.2)
    network = getattr(models, name)(num_classes=3)
    if name == "vgg11_bn":  # a classifier of its kind, not of its size
        network.classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 8), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(8, 3))
    return network


def large_images(n=4):
    g = torch.Generator().manual_seed(5)
    return torch.randn(n, 3, 32, 32, generator=g), torch.randint(3, (n,), generator=g)


@pytest.mark.parametrize("name", partly(["vgg11_bn", "resnet18", "densenet"], 0))
def test_torchvisions_networks_train_undisturbed_under_all_probes(name):
    states, batch = [], large_images()
    for probing in (False, True):
        network = torchvisions(name)
        objective, optimiser = Objective(CROSS_ENTROPY), sgd(network, 0.05, momentum=0.9)
        probes = build(network, objective, five_probes(), example=batch, batches={"fixed": batch}) if probing else None
        torch.manual_seed(1)
        for step in range(2):
            if probes is None:
                train_step(network, network, objective, optimiser, batch, 7, step)
            else:
                with probes.around(step, batch) as forward:
                    train_step(forward, network, objective, optimiser, batch, 7, step)
        states.append(everything(network, optimiser))
    assert_equal_states(*states)
    assert len(probes.records) == 2 * len(five_probes())
    for _, _, values in probes.records:
        for key, value in values.items():
            assert value.isfinite().all() or "drift_since_last" in key, key
    error = probes.records[-1][2]["theorem_4_1_relative_error"]
    assert (error < 1e-3).all()  # float32


def test_torchvisions_densenet_agrees_with_the_slow_twins():
    network = torchvisions("densenet")
    norm_of = {"classifier": "features.norm5"}  # the first convolution feeds its own, all others are fed by theirs
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            norm_of[name] = name.replace("conv", "norm")
    before_norm = {layer: (norm, 0) for layer, norm in norm_of.items()}
    agrees_with_the_twins(network, large_images(), norm_of, before_norm, limit=3)


# ---- what belongs to a layer


def test_frozen_gamma_and_beta_count_in_the_theory_and_not_in_the_shift():
    network, batch = twin.conv_net("batch").double(), double(twin.image_batch())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
    network.c1.norm.requires_grad_(False)
    network.c2.layer.requires_grad_(False)
    network.c2.norm.weight.requires_grad_(False)
    before = twin.Snapshot(network, Objective(CROSS_ENTROPY, 1e-2), 7, 0)
    probes = {"theory": Theory(curvature=True), "ics": InternalCovariateShift()}
    for reuse in (True, False):
        start = copy.deepcopy(network)
        engine, values = one_step(start, probes, batch=batch, reuse_training_pass=reuse)
        terms = twin.theorem_4_1(before, batch, ["c1.norm", "c2.norm", "c3.norm"])
        for layer in ("c1", "c2", "c3"):
            for quantity in ("gamma_over_sigma", "shift_over_sigma", "scaling_term"):
                found = values["theory"][f"{quantity}.{layer}"]
                torch.testing.assert_close(found, terms[f"{layer}.norm"][quantity])
        found = values["theory"]
        torch.testing.assert_close(
            found["theorem_4_2_left_hand_side"], found["theorem_4_2_right_hand_side"], rtol=1e-7, atol=1e-14
        )
        fields = engine.fields()["ics"]
        assert fields["ics_l2"]["layer"] == ["c1", "c3", "head"]
        assert fields["ics_gamma_l2"]["layer"] == ["c3"]


def test_nothing_trained_before_a_normalisation_is_no_obstacle():
    network = twin.conv_net("batch").double()
    network.c1.layer.requires_grad_(False)
    for reuse in (True, False):
        _, values = one_step(
            copy.deepcopy(network), {"t": Theory()}, batch=double(twin.image_batch()), reuse_training_pass=reuse
        )
        assert (values["t"]["theorem_4_1_relative_error"] < 1e-10).all()
        assert (values["t"]["activation_gradient_squared"] > 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_theory_is_refused_where_a_normalisation_changed_its_mode(training):
    network = twin.conv_net("batch")
    network.c2.train(training)
    engine = build(network, None, {"t": Theory()})
    network.c2.train(not training)
    was, now = ("training", "evaluation") if training else ("evaluation", "training")
    message = f"probe t: batch normalisation 'c2.norm' was in {was} mode .* is in {now} mode now: build it anew"
    with pytest.raises(ProbeError, match=message), engine.around(0, twin.image_batch()):
        pytest.fail("trained")


def test_batch_normalisation_without_running_statistics_is_one_in_every_mode():
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(64, 3)
    )
    network.eval()
    engine, values = one_step(network.double(), {"t": Theory()}, batch=double(twin.image_batch()))
    assert engine.fields()["t"]["scaling_term"]["layer"] == ["0"]
    assert (values["t"]["theorem_4_1_relative_error"] < 1e-10).all()


class Pooled(nn.Module):
    """Functions only: pooling before the activation, none after the second layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.hidden, self.head = nn.Conv2d(2, 4, 3), nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = nn.functional.leaky_relu(nn.functional.max_pool2d(self.conv(x), 2))
        return self.head(torch.tanh(self.hidden(torch.flatten(x, 1))))


def test_pooling_and_flattening_are_no_activation_functions():
    layers = build(Pooled()).view.layers
    assert [layer.activation_kind for layer in layers] == ["leakyrelu", "tanh", None]
    assert [layer.activation for layer in layers] == ["leaky_relu", "tanh", None]


def test_the_penalty_counts_weights_and_no_gamma_or_beta_of_any_shape():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.LayerNorm([4, 4, 4]), nn.Flatten(), nn.Linear(64, 3))
    assert [id(w) for w in weight_matrices(network)] == [id(network[0].weight), id(network[3].weight)]
    view = build(network).view
    assert (view.layers[0].gamma, view.layers[0].beta) == ("1.weight", "1.bias")


def test_a_weight_layer_whose_class_speaks_of_a_norm_is_a_weight_layer():
    class CosineNormLinear(nn.Linear):
        pass

    class OwnNormLinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 5))

        def forward(self, x):
            return nn.functional.linear(x, self.weight / self.weight.norm())

    network = nn.Sequential(nn.Flatten(), CosineNormLinear(72, 5), OwnNormLinear())
    assert [layer.name for layer in build(network).view.layers] == ["1", "2"]
    assert len(list(weight_matrices(network))) == 2


def test_of_a_reparametrised_weight_the_gradients_probe_says_that_it_reports_the_factors():
    network = twin.conv_net("weight").double()
    engine, values = one_step(network, {"g": Gradients()}, lr=0.0, batch=double(twin.image_batch()), learning_rate=0.0)
    reference = engine.fields()["g"]["weight_norm"]["reference"]
    assert reference.endswith("W the trained factors in c1, c2, c3")
    factors = network.c1.layer.parametrizations.weight
    assert values["g"]["weight_norm"][0].item() == pytest.approx(
        twin.length([factors.original0.detach(), factors.original1.detach()])
    )
    assert "factors" not in build(twin.conv_net("batch")).fields()["gradients"]["weight_norm"]["reference"]


# ---- second derivatives


def test_differentiating_twice_is_refused_where_gradients_are_stopped():
    from experiments.norms import NORMS

    network = twin.conv_net("renorm")
    message = r"probe l: HessianProducts: 'c1.norm' \(Renorm\) stops gradients .* use limit=difference"
    with pytest.raises(ProbeError, match=message):
        build(network, None, {"l": Landscape(limit="hessian")})
    network = twin.conv_net("none")  # in its warm-up, r and d are bounded to 1 and 0
    network.c1.add_module("norm", NORMS.get("batch_renorm", None)(network.c1.layer))
    with pytest.raises(ProbeError, match=r"'c1.norm' \(BatchRenorm\) stops gradients"):
        build(network, None, {"l": Landscape(limit="hessian")})
    build(network, None, {"l": Landscape(limit="difference")})


class Valley(nn.Module):
    """L = (theta - minimum)^T A (theta - minimum) / 2, a hair's breadth from its minimum: g is small, theta is not."""

    def __init__(self, matrix, away):
        super().__init__()
        minimum = torch.linspace(1, 2, len(matrix))
        self.register_buffer("matrix", matrix)
        self.register_buffer("minimum", minimum)
        self.theta = nn.Parameter(minimum + away * torch.linspace(-1, 1, len(matrix)))

    def forward(self, x):
        away = self.theta - self.minimum
        return away @ self.matrix @ away / 2 + 0 * x.sum()


@pytest.mark.parametrize("away", [1.0, 1e-5])
def test_the_limit_by_difference_is_the_curvature_however_small_the_gradient(away):
    root = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    network = Valley(root @ root.T, away)
    hessian = network.matrix.double()
    g = hessian @ (network.theta.detach().double() - network.minimum.double())
    objective, batch = Objective(lambda output, _: output.mean()), (torch.zeros(3, 1), torch.zeros(3))
    _, values = one_step(network, {"l": Landscape(limit="difference")}, lr=1e-3, batch=batch, objective=objective)
    found = values["l"]["effective_beta_limit_by_difference"].item()
    assert found == pytest.approx(((hessian @ g).norm() / g.norm()).item(), rel=1e-6)
