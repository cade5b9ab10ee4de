"""Margins against loops over samples, and what they are no number of."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import nn

from probes import Margins, Objective, ProbeError
from probes.objective import Loss
from probes.reductions import Margins as Reduction
from tests import slow_twins as twin
from tests.test_probes import assert_equal_states, build, everything, sgd, train_step


def of_classes(output: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """The output of the right class less the greatest of the others, one sample after the other."""
    found = []
    for row, label in zip(output.double().tolist(), labels.tolist(), strict=True):
        found.append(row[label] - max(value for place, value in enumerate(row) if place != label))
    return found


def check(found: dict[str, torch.Tensor], batch: str, margins: list[float]) -> None:
    mean = statistics.fmean(margins)
    assert found[f"margin_least.{batch}"].item() == pytest.approx(min(margins))
    assert found[f"margin_mean.{batch}"].item() == pytest.approx(mean)
    variation = statistics.pstdev(margins) / mean if mean > 0 else math.nan
    assert found[f"margin_variation.{batch}"].item() == pytest.approx(variation, nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_margins_of_classes_in_train_mode(seed: int) -> None:
    network, batch, fixed = twin.conv_net("batch").double(), twin.image_batch(seed=seed), twin.image_batch(seed=99)
    batch, fixed = ((x.double(), y) for x, y in (batch, fixed))
    with torch.no_grad():  # so that some means are positive
        network(batch[0])
    chosen = {"m": Margins(batches=("train", "fixed"))}
    engine = build(network, None, chosen, example=batch, batches={"fixed": fixed})
    before = twin.Snapshot(network, engine.objective, 7, 0)
    with engine.around(0, batch) as forward:
        train_step(forward, network, engine.objective, sgd(network, 0.1), batch, 7, 0)
    for name, (x, y) in (("train", batch), ("fixed", fixed)):
        check(engine.records[0][2], name, of_classes(before.run((x, y))[3], y))


def signed(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(9, 5, generator=draw, dtype=torch.float64)
    return x, torch.where(x[:, :1] + 0.1 > 0, 1.0, -1.0).double()


def test_margins_of_signs_and_no_variation_where_the_mean_is_not_positive() -> None:
    network = nn.Sequential(nn.Linear(5, 1)).double()
    objective = Objective(lambda output, target: nn.functional.softplus(-output * target).mean())
    for sign in (1.0, -1.0):
        with torch.no_grad():
            network[0].weight[0] = sign * torch.tensor([1.0, 0.2, 0, 0, 0])
        engine = build(network, objective, {"m": Margins()}, example=signed(0))
        x, y = signed(1)
        margins = [
            sign * (a + 0.2 * b) * t + network[0].bias.item() * t
            for (a, b, *_), (t,) in zip(x.tolist(), y.tolist(), strict=True)
        ]
        with engine.around(0, (x, y)) as forward:
            train_step(forward, network, objective, sgd(network, 0.0), (x, y), 7, 0)
        assert (statistics.fmean(margins) > 0) == (sign > 0)
        check(engine.records[0][2], "train", margins)


def test_margins_that_are_alike_do_not_vary() -> None:
    output, nothing = torch.tensor([[2.0], [-2.0], [-2.0]]), torch.tensor(0.0)
    loss = Loss(nothing, nothing, nothing, output, torch.sign(output))
    assert Reduction().reduce(loss).tolist() == [2.0, 2.0, 0.0]


@pytest.mark.parametrize(
    "targets", [torch.tensor([[1.0], [0.5]]), torch.tensor([[1.0], [0.0]]), torch.tensor([1.0, -1.0])]
)
def test_targets_that_are_neither_labels_nor_signs_are_refused(targets: torch.Tensor) -> None:
    nothing = torch.tensor(0.0)
    with pytest.raises(ProbeError, match=r"^margins: the targets are neither labels of classes nor signs, 1 and -1$"):
        Reduction().reduce(Loss(nothing, nothing, nothing, torch.ones(2, 1), targets))


def test_it_disturbs_nothing_and_asks_for_one_batch_at_least() -> None:
    states = []
    for probes in ({}, {"m": Margins()}):
        network = twin.conv_net("batch", dropout=0.3)
        optimiser = sgd(network, 0.1)
        engine = build(network, None, probes)
        with engine.around(0, twin.image_batch()) as forward:
            train_step(forward, network, engine.objective, optimiser, twin.image_batch(), 7, 0)
        states.append(everything(network, optimiser))
    assert_equal_states(*states)
    for wrong in ((), ("train", "train")):
        with pytest.raises(ProbeError, match=r"margins batches=.*must be names, each once, at least one"):
            Margins(batches=wrong)
