"""Counted passes are the plan's where training normalises by the statistics of a whole training set."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from experiments.data.batches import DataSpec
from experiments.models import build_model
from probes import Before, Gradients, InternalCovariateShift, Landscape, Need, Objective, Shift, Spectrum
from probes.engine.operations import Operations
from probes.reductions import GradientValues, TapValues
from tests.conftest import partly
from tests.test_probes import CROSS_ENTROPY, Custom, build, sgd, train_step

CONVOLUTIONS = {"name": "vgg_small", "width": 0.125}
CONNECTED = {"name": "mlp", "widths": [6, 4]}
POPULATION = 50


def network_of(model: dict[str, object], **norm: object) -> nn.Module:
    by = {"name": "batch", "statistics": "population", **norm}
    return build_model(model, by, DataSpec((1, 8, 8), 3, "classification"), 3)


def samples(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 1, 8, 8, generator=generator), torch.randint(3, (n,), generator=generator)


def fixed_batch() -> Custom:
    needs = [Need("fixed", Before(), r) for r in (TapValues("head.layer"), GradientValues("head.layer.weight"))]
    return Custom(needs, {}, lambda at: {})


PROBES = {
    "landscape": Landscape,
    "gradients": Gradients,
    "difference": lambda: Landscape(limit="difference"),
    "hessian": lambda: Landscape(limit="hessian"),
    "ics": InternalCovariateShift,
    "shift": Shift,
    "fixed batch": fixed_batch,
    "spectrum": lambda: Spectrum(largest=2, products=12),
}
NETWORKS = ((CONVOLUTIONS, "none"), (CONNECTED, "none"), (CONNECTED, "both"))
CASES = [
    case
    for case in itertools.product(PROBES, (True, False), NETWORKS)
    if not (
        case[0] in ("hessian", "spectrum") and case[2][1] == "both"
    )  # refused: a part of the curvature would be left out
]


@pytest.mark.parametrize(("chosen", "reuse", "trained"), partly(CASES, 8))
def test_counted_passes_are_the_plans_with_the_population_priced_once_a_pass(chosen, reuse, trained):
    """A batch of another size goes with a population of the same size; a reused training pass brings its own."""
    model, detach = trained
    network = network_of(model, detach=detach)
    data, fixed = samples(8), samples(24)
    objective = Objective(CROSS_ENTROPY, 1e-3, population=samples(POPULATION)[0])
    probes = {"p": PROBES[chosen]()}
    engine = build(network, objective, probes, example=data, batches={"fixed": fixed}, reuse_training_pass=reuse)
    optimiser = sgd(network)
    with Operations() as probed, engine.around(0, data) as forward:
        train_step(forward, network, objective, optimiser, data, 7, 0)
    with Operations() as plain:
        train_step(network, network, objective, optimiser, data, 7, 0)
    counted = probed.total - plain.total
    assert engine.plan.passes == pytest.approx(engine.plan.operations / plain.total)
    if chosen in ("ics", "spectrum"):  # which say what it takes at most
        assert 0.5 * engine.plan.operations < counted <= engine.plan.operations
    else:
        assert engine.plan.operations == counted
