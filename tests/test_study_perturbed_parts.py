"""Gamma and beta perturbed alone: whose parameters an arm perturbs, what decides, and what the figure draws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch
from torch import nn

import experiments
from analysis.ledger import judge
from analysis.runs import Runs
from analysis.select import Arm
from analysis.studies.mueller2023 import claims
from analysis.studies.mueller2023.figures import perturbed_parts as figure
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.runs.records import ProbeRecorder
from experiments.train import train_step
from tests.made_table import BASE, made, row

SMALL = ["model.widths=[12,12]", "data.subset=64", "data.test_subset=20", "optim.batch_size=16", "optim.rho=2"]


@pytest.mark.parametrize("arm", ["all", "norm", "rest"])
def test_an_arm_descends_by_the_gradient_where_its_own_part_is_moved(arm: str) -> None:
    """One step by hand: e = rho g / ||g|| over the part, all else where it was; a fifth of the labels are wrong."""
    chosen = ["experiment=mueller2023/radii", f"arm={arm}", "runs_dir=none", *SMALL]
    config = plain_config(experiments.compose(chosen))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    run = build_training(config, data, torch.device("cpu"), ProbeRecorder())
    batch, named = data.batch(0), dict(run.network.named_parameters())
    own = {"all": set(named), "norm": {name for name in named if ".norm." in name}}
    own["rest"] = own["all"] - own["norm"]
    assert 0 < len(own["norm"]) < len(named)

    def slopes() -> dict[str, torch.Tensor]:
        loss = nn.functional.cross_entropy(run.network(batch.inputs), batch.targets)
        return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))

    start = {name: p.detach().clone() for name, p in named.items()}
    here = slopes()
    length = sum(float(here[name].double().square().sum()) for name in own[arm]) ** 0.5
    with torch.no_grad():
        for name in own[arm]:
            named[name] += 2 * here[name] / length
    there = slopes()
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(start[name])
    train_step(run, run.network, batch)
    for name, parameter in named.items():
        torch.testing.assert_close(parameter.detach(), start[name] - 0.3 * there[name], rtol=1e-4, atol=1e-6)
    assert max(float((there[name] - here[name]).abs().max()) for name in named) > 0.01
    assert config["data"]["label_noise"] == 0.2


LENGTHS = (0.0, 0.2, 1.0, 4.0)
LOSSES = {claims.ALL: (0.4, 0.3, 0.35, 2.0), claims.NORM: (0.4, 0.38, 0.32, 0.5), claims.REST: (0.4, 0.39, 0.36, 2.0)}


def runs_of(losses: Mapping[Arm, tuple[float, ...]]) -> Runs:
    """Eight seeds, of which two choose; each has some noise of its own."""
    trained, facts, rows = {}, {}, []
    for (arm, own), seed in itertools.product(losses.items(), range(8)):
        for length, loss in zip(LENGTHS, own, strict=True):
            run = f"{arm.name}-{length}-{seed}"
            where = {**dict(arm.where), "optim.rho": length, "optim.adaptive": False}
            trained[run] = {**BASE, "data.label_noise": 0.2, **where}
            facts[run] = {"seed": seed}
            for step in range(0, 120, 5):
                for metric, value in (("data_loss", loss * (1 + 0.004 * seed)), ("accuracy", 1 - loss / 4)):
                    rows += [row(run, step, metric, value, batch=b, probe="training") for b in ("train", "test")]
    return made(rows, trained, facts)


def words(losses: Mapping[Arm, tuple[float, ...]]) -> dict[str, str]:
    return {verdict.claim.name: verdict.word for verdict in judge(runs_of(losses), claims.CLAIMS)}


def test_each_arm_is_judged_at_its_own_best_length_and_against_length_0() -> None:
    assert words(LOSSES) == dict.fromkeys(("SN1", "SN2", "SN3", "SN4"), "supported")
    worse = {**LOSSES, claims.NORM: (0.4, 0.41, 0.398, 0.5)}  # 1.3 times the loss of all, and hardly below descent
    assert words(worse) == {"SN1": "supported", "SN2": "no difference", "SN3": "contradicted", "SN4": "contradicted"}


def test_what_does_not_gain_with_all_perturbed_is_not_asked_of_a_part() -> None:
    said = words({**LOSSES, claims.ALL: (0.4, 0.395, 0.41, 2.0)})
    assert said == {"SN1": "no difference", "SN2": "supported", "SN3": "undecided", "SN4": "undecided"}


def test_a_best_length_at_the_end_of_those_tried_decides_nothing() -> None:
    said = words({**LOSSES, claims.NORM: (0.4, 0.38, 0.32, 0.2)})
    assert (said["SN1"], said["SN2"], said["SN3"]) == ("supported", "undecided", "undecided")


def test_the_figure_draws_lengths_above_0_and_a_line_at_0() -> None:
    (column,) = figure.compute(runs_of(LOSSES)).columns
    loss = column.panels[0]
    middle = 1 + 0.004 * 3.5
    for drawn in loss.curves:
        expected = next(values for arm, values in LOSSES.items() if arm.name == drawn.norm)
        assert drawn.steps.tolist() == [*LENGTHS[1:]]
        assert drawn.median.tolist() == pytest.approx([middle * value for value in expected[1:]])
    assert len(loss.curves) == 3
    ((_, level),) = loss.levels
    assert level == pytest.approx(0.4 * middle)
    few = {arm: own for arm, own in LOSSES.items() if arm is claims.ALL}
    runs = runs_of(few)
    short = runs.only([run for run in runs.each.index if runs.value(run, claims.RADIUS) < 0.5])
    assert not figure.compute(short).columns
