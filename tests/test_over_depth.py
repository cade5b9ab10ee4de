"""Samples over depth and losses by the order of the data: measures and figures against numbers by hand."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

from analysis.ledger import judge
from analysis.runs import Runs
from analysis.studies.daneshmand2020 import claims as daneshmand
from analysis.studies.daneshmand2020 import over_depth as own
from analysis.studies.daneshmand2020.figures import samples_over_depth
from analysis.studies.wu2023.figures import loss_by_order
from tests.made_table import BASE, made, row

METRICS = tuple(samples_over_depth.PANELS)
DEPTHS = {"a": 10, "b": 13}


def values(seed: int) -> dict[tuple[str, str, int], list[float]]:
    """Run, metric and step -> a number for each hidden layer and the head."""
    draw = random.Random(seed)
    return {
        (run, metric, step): [draw.random() + 0.1 for _ in range(depth + 1)]
        for run, depth in DEPTHS.items()
        for metric in METRICS
        for step in (3, 8)
    }


def runs(numbers: dict[tuple[str, str, int], list[float]], **keys: Any) -> Runs:
    rows = []
    for (run, metric, step), line in reversed(numbers.items()):  # later steps first
        names = [*(f"fc{i + 1}" for i in range(len(line) - 1)), "head"]
        rows += [row(run, step, f"{metric}_output", x, layer=n) for n, x in zip(names, line, strict=True)]
    trained = {run: {**BASE, "model": "mlp", "model.depth": depth, **keys} for run, depth in DEPTHS.items()}
    return made(rows, trained, {run: {"seed": seed} for seed, run in enumerate(DEPTHS)})


@pytest.mark.parametrize(("hidden", "expected"), [(0, math.nan), (1, 2.0), (2, 4.0), (3, 6.0), (6, 9.0)])
def test_a_plateau_is_the_last_third_of_the_hidden_layers_and_at_least_one(hidden: int, expected: float) -> None:
    line = [2.0, 4.0, 6.0, 7.5, 8.0, 10.0][:hidden]
    rows = [row("a", 0, "h_rank_output", x, layer=f"l{i}") for i, x in enumerate([*line, 1.0])]
    assert own.plateau().of(made(rows, {"a": BASE}))["a"] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_numbers_of_a_layer_are_those_of_the_first_probed_step(seed: int) -> None:
    numbers = values(seed)
    all_runs = runs(numbers)
    found = own.at_layer("orthogonality_gap", 11).of(all_runs)
    assert math.isnan(found["a"]), "ten hidden layers have no eleventh"
    assert found["b"] == numbers["b", "orthogonality_gap", 3][10]
    found = own.growth("h_rank", 9, 2).of(all_runs)
    for run in DEPTHS:
        line = numbers[run, "h_rank", 3]
        assert found[run] == line[8] / line[1]


@pytest.mark.parametrize("seed", range(3))
def test_the_plateau_is_the_mean_of_the_last_third_of_the_hidden_layers(seed: int) -> None:
    numbers = values(seed)
    last = {"a": [7, 8, 9], "b": [9, 10, 11, 12]}
    means = {run: sum(numbers[run, "h_rank", 3][i] for i in places) / len(places) for run, places in last.items()}
    found = own.plateau().of(runs(numbers))
    assert found.to_dict() == pytest.approx(means)
    found = own.plateau(in_roots=True).of(runs(numbers, **{"model.dimension": 49}))
    assert found.to_dict() == pytest.approx({run: mean / 7 for run, mean in means.items()})
    assert own.plateau(in_roots=True).of(runs(numbers)).isna().all()


def test_the_figure_draws_every_layer_but_the_last_of_networks_of_ten_and_more() -> None:
    numbers = values(5)
    data = samples_over_depth.compute(runs(numbers))
    assert len(data.columns) == 2
    for column, run in zip(data.columns, DEPTHS, strict=True):
        for panel, metric in zip(column.panels, METRICS, strict=True):
            (curve,) = panel.curves
            assert curve.each[0].tolist() == numbers[run, metric, 3][:-1]
    shallow = {key: line[:9] for key, line in numbers.items()}
    assert samples_over_depth.compute(runs(shallow)).empty


def test_losses_are_told_apart_by_the_order_of_the_data() -> None:
    trained, rows = {}, []
    for place, (norm, order) in enumerate([("batch", "reshuffled"), ("batch", "shuffled_once"), ("none", "sorted")]):
        run = f"{norm}-{order}"
        trained[run] = {**BASE, "norm": norm, "data.order": order}
        rows += [row(run, step, "data_loss", 1.0 + place + step, batch="fixed") for step in (0, 10)]
        rows += [row(run, 0, "data_loss", 9.0, batch="train")]
    (column,) = loss_by_order.compute(made(rows, trained)).columns
    drawn = {curve.norm: curve.each[0].tolist() for curve in column.panels[0].curves}
    assert drawn == {"batch": [1, 11], "batch (shuffled once)": [2, 12], "none (sorted)": [3, 13]}


def test_orthogonal_weights_are_judged_without_a_non_linearity_and_with_tanh_alone() -> None:
    rows, trained, facts = [], {}, {}
    for model, activation in (("deep_linear", None), ("mlp", "tanh"), ("mlp", "relu")):
        for norm, seed in itertools.product(("none", "batch"), range(6)):
            run = f"{model} {activation} {norm} {seed}"
            line = [2.0 + 0.01 * seed + 0.1 * layer for layer in range(7)]
            rows += [row(run, 0, "h_rank_output", x, layer=f"l{layer}") for layer, x in enumerate(line)]
            trained[run] = {**BASE, "model": model, "model.activation": activation, "norm": norm}
            trained[run] |= {"model.initialisation": "orthogonal"}
            facts[run] = {"seed": seed}
    verdicts = judge(made(rows, trained, facts), [claim for claim in daneshmand.CLAIMS if claim.name == "DN4"])
    assert sorted((v.values["model"], v.values["model.activation"], v.word) for v in verdicts) == [
        ("deep_linear", None, "supported"),
        ("mlp", "tanh", "supported"),
    ]
