"""Counted passes and measured memory are the plan's; off schedule there are no passes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.data.batches import DataSpec
from experiments.models import build_model
from probes import (
    Activations,
    Before,
    Biases,
    Dynamics,
    Gradients,
    InternalCovariateShift,
    Jacobian,
    Landscape,
    Need,
    Objective,
    Representations,
    Scaling,
    Schedule,
    Shift,
    Spectrum,
    Theory,
)
from probes.engine.operations import Memory, Operations
from probes.reductions import GradientValues, TapGradient, TapValues
from tests import slow_twins as twin
from tests.conftest import partly
from tests.test_probes import CROSS_ENTROPY, Custom, all_probes, build, sgd, train, train_step


def measured_operations(probes, network, optimiser, batch, step):
    """Floating-point operations that torch itself counts in a probed step, less those of a plain one."""
    reparametrised = any(hasattr(module, "parametrizations") for module in network.modules())
    mode = Operations if reparametrised else (lambda: FlopCounterMode(display=False))  # see its docstring
    with mode() as probed, probes.around(step, batch) as forward:
        train_step(forward, network, probes.objective, optimiser, batch, 7, step)
    with mode() as plain:
        train_step(network, network, probes.objective, optimiser, batch, 7, step)
    probed, plain = (getattr(m, "total", None) or m.get_total_flops() for m in (probed, plain))
    return probed - plain, plain


COUNTED = itertools.product(
    ("all", "landscape", "gradients", "ics", "hessian", "difference"), ("none", "batch", "weight"), (True, False)
)


@pytest.mark.parametrize(("chosen", "norm", "reuse"), partly(COUNTED, 6))
def test_counted_passes_are_the_plans(chosen, norm, reuse):
    network = twin.conv_net(norm)
    probes = all_probes() if chosen == "all" else {chosen: all_probes().get(chosen) or Landscape(limit=chosen)}
    probes.pop("representations", None)  # its own matrix products are no passes, but torch counts them too
    engine = build(network, None, probes, reuse_training_pass=reuse)
    operations, training = measured_operations(engine, network, sgd(network), twin.image_batch(), 0)
    assert engine.plan.operations == operations
    assert engine.plan.passes == pytest.approx(operations / training)


def test_counted_passes_of_a_residual_network():
    network = twin.Residual()
    engine = build(network, None, {"landscape": Landscape(), "gradients": Gradients()})
    operations, _ = measured_operations(engine, network, sgd(network), twin.image_batch(), 0)
    assert engine.plan.operations == operations
    engine = build(network, None, {"ics": InternalCovariateShift()})
    operations, _ = measured_operations(engine, network, sgd(network), twin.image_batch(), 0)
    assert engine.plan.operations == operations
    unordered = build(twin.Unordered(network), None, {"ics": InternalCovariateShift()})
    operations, _ = measured_operations(unordered, unordered.network, sgd(network), twin.image_batch(), 0)
    assert "no order of leaves" in unordered.describe()
    assert unordered.plan.passes == pytest.approx(3)  # Before, and two of three layers in full
    assert 0.5 * unordered.plan.operations < operations <= unordered.plan.operations


def test_off_schedule_the_network_itself_is_called_and_nothing_is_evaluated(monkeypatch):
    network = twin.conv_net("batch")
    probes = build(network, every=10, reuse_training_pass=True)
    for name in ("begin", "loss"):
        monkeypatch.setattr(probes.evaluator, name, lambda *a, **k: pytest.fail("evaluated off schedule"))
    state = torch.get_rng_state()
    with probes.around(11, twin.image_batch()) as forward:
        assert forward is network
    assert torch.equal(state, torch.get_rng_state())
    assert probes.records == []


def test_probes_measure_at_multiples_of_the_base_schedule_and_share():
    network = twin.conv_net("none")
    probes = build(network, None, {"landscape": Landscape(every=2), "gradients": Gradients()}, every=3)
    train(network, sgd(network), probes.objective, 10, probes)
    assert [(name, step) for name, step, _ in probes.records] == [
        ("landscape", 0), ("gradients", 0), ("gradients", 3), ("landscape", 6), ("gradients", 6), ("gradients", 9),
    ]  # fmt: skip
    few = build(network, None, {"gradients": Gradients()}, every=3).plan.passes
    assert probes.share_of_training() == pytest.approx([(probes.plan.passes + few) / 6] * 2)


def test_memory_counts_what_lives():
    with Memory() as memory:
        a = torch.ones(1000)  # 4,000 bytes
        b = a.view(10, 100) + 1
        b.mul_(2)
        del a
        assert memory.now == 4000
        c = b.double()
        del b, c
    assert (memory.now, memory.peak) == (0, 12000)


def holding(batch, *reductions):
    return Custom([Need(batch, Before(), reduction) for reduction in reductions], {}, lambda at: {})


MEMORY = {
    "landscape": (lambda: Landscape(), {}),
    "directions": (lambda: Landscape(random=1, update=True), {}),
    "hessian": (lambda: Landscape(limit="hessian"), {}),
    "difference": (lambda: Landscape(limit="difference"), {}),
    "float64": (lambda: Landscape(), {"dtype": torch.float64}),
    "gradients": (lambda: Gradients(), {}),
    "ics": (lambda: InternalCovariateShift(), {}),
    "activations": (lambda: Activations(), {}),
    "large fixed batch": (lambda: holding("fixed", TapValues("conv1.layer")), {"fixed": 256}),
    "large fixed batch, backward": (lambda: holding("fixed", GradientValues("conv1.layer.weight")), {"fixed": 256}),
    "held": (lambda: holding("train", TapValues("conv1.layer"), TapGradient("conv2.norm")), {}),
    "theory": (lambda: Theory(), {}),
    "curvature": (lambda: Theory(curvature=True), {}),
    "biases": (lambda: Biases(), {}),
    "dynamics": (lambda: Dynamics(), {}),
    "representations": (lambda: Representations(), {}),
    "scaling": (lambda: Scaling(), {}),
    "shift": (lambda: Shift(), {}),
    "jacobian": (lambda: Jacobian(taps=("conv5.norm", "conv6.norm")), {}),
    "spectrum": (lambda: Spectrum(largest=2, products=12), {}),
}


CLOSELY = ("dynamics", "representations", "shift", "jacobian", "spectrum")


@pytest.mark.parametrize(("chosen", "reuse"), partly(itertools.product(MEMORY, (True, False)), 4))
def test_peak_memory_is_at_most_what_the_plan_states_and_not_far_below(chosen, reuse):
    """Bytes of all tensors alive, of a probed step beyond a plain one."""
    make, options = MEMORY[chosen]
    norm = {"name": "batch", "file": None}
    network = build_model(
        {"name": "vgg_small", "file": None, "width": 0.5}, norm, DataSpec((1, 8, 8), 3, "classification"), 3
    )

    def batch(n):
        return torch.randn(n, 1, 8, 8), torch.randint(3, (n,))

    objective, optimiser, data = Objective(CROSS_ENTROPY, 1e-3), sgd(network, 0.05, momentum=0.9), batch(64)
    train_step(network, network, objective, optimiser, data, 7, 0)
    with Memory() as plain:
        train_step(network, network, objective, optimiser, data, 7, 0)
    fixed, dtype = batch(options.get("fixed", 64)), options.get("dtype")
    engine = build(
        network,
        objective,
        {"p": make()},
        example=data,
        batches={"fixed": fixed},
        reuse_training_pass=reuse,
        dtype=dtype,
    )
    with Memory() as probed, engine.around(0, data) as forward:
        train_step(forward, network, objective, optimiser, data, 7, 0)
    measured, stated = probed.peak - plain.peak, engine.plan.peak_bytes
    assert 0 < measured <= stated
    assert stated < (1.3 * measured if chosen in CLOSELY else 3 * measured + 2**18)


def test_a_random_direction_is_one_more_copy_of_the_parameters_in_the_plan():
    """Of any number of directions one is held at a time."""
    network = build_model(
        {"name": "vgg_small", "file": None, "width": 0.5},
        {"name": "batch", "file": None},
        DataSpec((1, 8, 8), 3, "classification"),
        3,
    )
    data = torch.randn(64, 1, 8, 8), torch.randint(3, (64,))
    objective = Objective(CROSS_ENTROPY, 1e-3)
    plain, one, two = (
        build(network, objective, {"p": Landscape(random=random)}, example=data).plan.peak_bytes for random in (0, 1, 2)
    )
    copy = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    answers = 64 * 100  # numbers of a few points, far fewer than the parameters
    assert answers < copy / 4
    assert copy <= one - plain < copy + answers
    assert 0 <= two - one < answers


def test_schedules():
    assert [s for s in range(7) if Schedule.of(3).place(s) is not None] == [0, 3, 6]
    assert [Schedule.of([2, 5]).place(s) for s in (1, 2, 5)] == [None, 0, 1]
    assert Schedule.logarithmic(1000, 3).listed == (0, 1, 2, 5, 10, 22, 46, 100, 215, 464)
    assert Schedule.logarithmic(1, 3).listed == (0,)
