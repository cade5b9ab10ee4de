"""Every probe on every normalisation in every kind of network of the suite."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from experiments.data.batches import DataSpec
from experiments.models import build_model
from experiments.norms import NORMS
from probes import (
    Activations,
    Biases,
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
    Theory,
)
from tests import slow_twins as twin
from tests.conftest import partly
from tests.test_probes import assert_equal_states, everything, sgd, train_step

IMAGES = DataSpec((1, 8, 8), 3, "classification")
VECTORS = DataSpec((5,), 5, "regression")
KINDS = {
    "vgg_small": (IMAGES, {"width": 0.125, "dropout": 0.2}),
    "vgg_small-after": (IMAGES, {"width": 0.125, "placement": "after", "activation": "tanh"}),
    "mlp": (IMAGES, {"widths": (6, 4), "activation": "sigmoid", "dropout": 0.2}),
    "deep_linear": (VECTORS, {"depth": 5, "dimension": 5}),
}
VARIANTS = {
    "group": {"groups": 1},
    "batch-detached": {"detach": "both"},
    "batch-uncentred": {"center": False, "affine": False},
    "batch-centred": {"scale": False},
    "batch-ghost": {"per": "ghost", "ghost_size": 2},
    "batch-frozen": {"frozen_after": 2},
    "batch_renorm-ghost": {"ghost_size": 2},
    "batch-running": {"statistics": "running"},
    "batch-population": {"statistics": "population"},
    "noise-drifting": {"correlation_time": 5.0},
    "noise-samples": {"noise_per": "sample"},
    "whitening-groups": {"group_size": 3, "detach": "mean"},
}
STOPS_GRADIENTS = ("batch_renorm", "batch_renorm-ghost", "batch-detached", "whitening-groups")
CASES = [
    (kind, norm, reuse)
    for kind, norm, reuse in itertools.product(KINDS, dict.fromkeys([*NORMS.names(), *VARIANTS]), [True, False])
    if not ((norm == "instance" and KINDS[kind][0] is VECTORS) or (norm == "instance" and kind == "mlp"))
]


def build_case(kind, norm):
    spec, options = KINDS[kind]
    norm_options = {"name": norm.split("-")[0], "file": None, **VARIANTS.get(norm, {})}
    network = build_model({"name": kind.split("-")[0], "file": None, **options}, norm_options, spec, 3)
    loss = nn.functional.cross_entropy if spec.task == "classification" else nn.functional.mse_loss
    population = batch_for(spec, 77, 9)[0] if norm == "batch-population" else None
    return network, Objective(loss, 1e-2, population=population), spec


def batch_for(spec, step, n=6):
    g = torch.Generator().manual_seed(step)
    inputs = torch.randn(n, *spec.input_shape, generator=g)
    if spec.task == "classification":
        return inputs, torch.randint(3, (n,), generator=g)
    return inputs, torch.randn(n, spec.outputs, generator=g)


def all_probes(limit="hessian"):
    return {
        "activations": Activations(),
        "landscape": Landscape(update=True, random=2, limit=limit),
        "gradients": Gradients(),
        "ics": InternalCovariateShift(),
        "ics_weights": InternalCovariateShift(moves="weights"),
        "theory": Theory(curvature=True),
        "biases": Biases(),
        "dynamics": Dynamics(channels=True, units=True, values=True),
        "representations": Representations(),
        "scaling": Scaling(),
        "shift": Shift(),
        "losses": Losses(),
    }


def training_is_not_disturbed(kind, norm, reuse):
    states = []
    for probing in (False, True):
        network, objective, spec = build_case(kind, norm)
        optimiser, probes = sgd(network, 0.05, momentum=0.9), None
        if probing:
            chosen = all_probes("difference" if norm in STOPS_GRADIENTS else "hessian")
            probes = Probes(
                network, objective, chosen, batch_for(spec, 0), learning_rate=0.05, every=1, seed=7,
                batches={"fixed": batch_for(spec, 99, 4)}, reuse_training_pass=reuse,
            )  # fmt: skip
            assert probes.view.ordered
        for step in range(2):
            batch = batch_for(spec, step)
            if probes is None:
                train_step(network, network, objective, optimiser, batch, 7, step)
            else:
                with probes.around(step, batch) as forward:
                    train_step(forward, network, objective, optimiser, batch, 7, step)
        states.append(everything(network, optimiser))
    assert_equal_states(*states)


def numbers_are_the_slow_twins(kind, norm, reuse):
    network, objective, spec = build_case(kind, norm)
    network = network.double()
    batch = tuple(v.double() if v.is_floating_point() else v for v in batch_for(spec, 0))
    chosen = {
        "landscape": Landscape(), "ics": InternalCovariateShift(), "gradients": Gradients(), "theory": Theory(),
        "activations": Activations(batches=("train",)), "ics_weights": InternalCovariateShift(moves="weights"),
    }  # fmt: skip
    probes = Probes(network, objective, chosen, batch, learning_rate=0.05, every=1, seed=7, reuse_training_pass=reuse)
    before = twin.Snapshot(network, objective, 7, 0)
    with probes.around(0, batch) as forward:
        train_step(forward, network, objective, sgd(network, 0.05), batch, 7, 0)
    after = {n: p.detach().clone() for n, p in network.named_parameters()}
    values = {name: found for name, _, found in probes.records}
    _, _, rows = twin.landscape(before, batch, 0.05, Landscape().multiples)
    keys = ("landscape_loss", "landscape_data_loss", "gradient_difference", "effective_beta", "gradient_cosine")
    mine = torch.stack([values["landscape"][key] for key in keys], 1)
    torch.testing.assert_close(mine, rows, rtol=1e-6, atol=1e-9)
    blocks = probes.fields()["ics"]["ics_l2"]["layer"]
    assert blocks == [n for n, block in network.named_children() if any(p.ndim >= 2 for p in block.parameters())]

    def weights(block):
        own = {n: p for n, p in network.named_parameters() if n.startswith(f"{block}.") and ".norm." not in n}
        return [n for n in own if not n.endswith("bias")]

    for probe, label, moves in (
        ("ics", "", lambda n: True),
        ("ics_weights", "_weights_move", lambda n: ".norm." not in n),
    ):
        rows = twin.covariate_shift(before, after, batch, blocks, weights, moves)
        mine = torch.stack([values[probe][f"ics_{what}{label}"] for what in ("l2", "relative", "cosine")], 1)
        torch.testing.assert_close(mine, rows, rtol=1e-6, atol=1e-9)
    gradients_are_plain_arithmetic(before, after, batch, blocks, weights, values["gradients"])
    activations_are_what_modules_put_out(before, after, batch, blocks, values["activations"])
    theorem_4_1_is_as_written(before, batch, probes, values["theory"])


def gradients_are_plain_arithmetic(before, after, batch, blocks, weights, found):
    g = before.run(batch)[2]
    for i, block in enumerate(blocks):
        theta, end = [before.state[n] for n in weights(block)], [after[n] for n in weights(block)]
        own = [g[n] for n in weights(block)]
        expected = {
            "gradient_norm": twin.length(own),
            "weight_norm": twin.length(theta),
            "relative_update": twin.length([a - b for a, b in zip(end, theta, strict=True)]) / twin.length(theta),
            "weight_gradient_product": twin.inner(own, theta),
        }
        for key, value in expected.items():
            assert found[key][i].item() == pytest.approx(value, rel=1e-6, abs=1e-9), (block, key)


def activations_are_what_modules_put_out(before, after, batch, blocks, found):
    modules = dict(before.network.named_modules())
    with_norm = [block for block in blocks if f"{block}.norm" in modules]
    sides = {"after": {block: (f"{block}.norm", 1) for block in with_norm}}
    layers = {block: (f"{block}.layer" if f"{block}.layer" in modules else block, 1) for block in blocks}
    sides["before"] = {block: (f"{block}.norm", 0) if block in with_norm else layers[block] for block in blocks}
    for side, taps in sides.items():
        for i, (block, expected) in enumerate(twin.activations(before, after, batch, taps).items()):
            key = f"{side}_normalisation.train"
            keys = [f"unit_mean_{key}.{block}", f"unit_variance_{key}.{block}"]
            mine = [
                *(found[k] for k in keys),
                *(found[f"{what}_drift_by_update_{key}"][i] for what in ("mean", "variance")),
            ]
            for value, twins in zip(mine, expected, strict=True):
                torch.testing.assert_close(value, twins, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(found[f"mean_{key}"][i], expected[0].mean(), rtol=1e-6, atol=1e-9)


def theorem_4_1_is_as_written(before, batch, probes, found):
    kinds = nn.modules.batchnorm._BatchNorm
    norms = [name for name, module in before.network.named_modules() if isinstance(module, kinds)]
    layers = probes.fields()["theory"]["scaling_term"]["layer"] if norms else []
    assert [name.split(".")[0] for name in norms] == list(layers)
    for i, (layer, terms) in enumerate(zip(layers, twin.theorem_4_1(before, batch, norms).values(), strict=True)):
        for quantity, expected in terms.items():
            if quantity != "as_printed":
                torch.testing.assert_close(found[f"{quantity}.{layer}"], expected, rtol=1e-6, atol=1e-12)
        left, right = found["activation_gradient_squared"][i], found["theorem_4_1_right_hand_side"][i]
        torch.testing.assert_close(left, right, rtol=1e-8, atol=0)
        printed = found["theorem_4_1_as_printed"][i]
        torch.testing.assert_close(printed, terms["as_printed"].sum(), rtol=1e-6, atol=1e-12)
        assert abs(printed - left) > 1e-6 * left  # the misprinted constant does not hold
        for record, of in (("sigma_median", lambda x: x.median()), ("sigma_maximum", lambda x: x.max())):
            torch.testing.assert_close(found[record][i], of(terms["sigma"]))


CHECKS = [training_is_not_disturbed, numbers_are_the_slow_twins]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(("kind", "norm", "reuse"), partly(CASES, 8))
def test_probes_on_the_suites_networks(check, kind, norm, reuse):
    check(kind, norm, reuse)
