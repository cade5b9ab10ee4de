"""Uniform margins: the data, the measures against loops, and descent by hand in float64."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
import torch

import experiments
from analysis.ledger import judge
from analysis.studies.cao2023.claims import BATCH, CLAIMS, METRIC, NONE, USUAL
from analysis.studies.cao2023.figures import margins_over_training as figure
from analysis.studies.cao2023.own_measures import log_trend
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import DATA, load_data
from experiments.errors import WrongInput
from experiments.runs.records import ProbeRecorder
from experiments.train import train_step
from tests import measure_twins as twins
from tests.made_table import BASE, made, row

# ------------------------------------------------------------------------------------------------------------ the data


def test_targets_are_signs_of_one_linear_function() -> None:
    load = DATA.get("gaussian_signs")
    arrays = load(3, dimension=4, samples=4000, test_samples=1000)
    assert set(arrays.targets_train.flatten().tolist()) == {1.0, -1.0}
    assert arrays.targets_train.shape == (4000, 1)
    torch.testing.assert_close(torch.cov(arrays.inputs_train.T), torch.eye(4), rtol=0, atol=0.08)
    # E[x y] points along w, so that its sign is right but for samples on the edge
    along = (arrays.inputs_train * arrays.targets_train).mean(0)
    right = torch.sign(arrays.inputs_test @ along[:, None]) == arrays.targets_test
    assert right.float().mean() > 0.97
    wide = load(3, dimension=40, samples=4000)
    towards = (wide.inputs_train * wide.targets_train).mean(0)
    assert 0.2 < (towards < 0).float().mean() < 0.8, "w has entries of both signs"
    assert torch.equal(load(3, dimension=4, samples=10, test_samples=1000).targets_test, arrays.targets_test)
    assert not torch.equal(load(4, dimension=4).inputs_train, load(3, dimension=4).inputs_train)
    with pytest.raises(WrongInput, match=r"^data.samples=0: must be a whole number of at least 1$"):
        load_data({"name": "gaussian_signs", "samples": 0}, 0, None)


# ------------------------------------------------------------------------------------------------------------ measures


@pytest.mark.parametrize("seed", range(3))
def test_the_trend_is_that_of_the_logarithm_between_the_first_third_and_the_last(seed: int) -> None:
    draw = random.Random(seed)
    steps = sorted({0, 119, *draw.sample(range(120), 90)})
    line = {step: math.exp(draw.gauss(0, 1)) for step in steps}
    rows = [row("a", step, "m", value) for step, value in line.items()]
    rows += [row("b", step, "m", value) for step, value in line.items() if not 35 <= step <= 52]
    draw.shuffle(rows)
    logs = {step: math.log(value) for step, value in line.items()}
    first = twins.median(twins.at_step(logs, step) for step in range(30, 61))
    last = twins.median(twins.at_step(logs, step) for step in range(90, 120))
    found = log_trend("m", "m", 30).of(made(rows, dict.fromkeys("ab", BASE), {"b": {"seed": 1}}))
    assert found["a"] == pytest.approx(last - first)


def test_a_run_that_diverged_is_no_run_of_unequal_margins() -> None:
    known = {"norm": "none", "optim.groups": "[]", "model": "linear_neuron", "data": "gaussian_signs", "optim": "gd"}
    known |= {"optim.criterion": "logistic", "optim.momentum": 0.0, "steps": 3000}
    rows = [row(f"r{seed}", 2900, METRIC, 0.01) for seed in range(6)]
    facts = {f"r{seed}": {"seed": seed, "state": "diverged", "diverged_at": 2950.0} for seed in range(6)}
    trained = {run: {**BASE, **known} for run in facts}
    words = [v.word for v in judge(made(rows, trained, facts), CLAIMS) if v.claim.name == "UM2"]
    assert words
    assert "supported" not in words


def test_few_probed_steps_have_no_trend() -> None:
    for late, known in ((7, False), (8, True)):
        rows = [row("a", step, "m", 2.0) for step in (*range(30, 60), *range(119, 119 - late, -1))]
        assert math.isnan(log_trend("m", "m", 30).of(made(rows, {"a": BASE}))["a"]) != known


# ------------------------------------------------------------------------------------------------------------ the arms


def by_hand(x: np.ndarray, y: np.ndarray, w: np.ndarray, rate: float, steps: int, normalised: bool) -> np.ndarray:
    """Margins after gradient descent of the logistic loss of <w, x>, or of gamma <w, x> / its root mean square."""
    gamma = 1.0
    for _ in range(steps):
        z = x @ w
        size = math.sqrt((z**2).mean()) if normalised else 1.0
        output = gamma * z / size
        slope = -y / (1 + np.exp(y * output)) / len(y)
        towards = gamma / size * (slope - (slope @ z) / size**2 * z / len(y)) if normalised else slope
        w, gamma = w - rate * towards @ x, gamma - (rate * (slope @ z) / size if normalised else 0.0)
    z = x @ w
    return y * (gamma * z / math.sqrt((z**2).mean()) if normalised else z)


@pytest.mark.parametrize(("arm", "normalised"), [("none", False), ("scaling", True)])
def test_the_arms_are_the_descent_of_the_paper(arm: str, normalised: bool) -> None:
    chosen = ["experiment=cao2023/margins", f"arm={arm}", "optim.lr=1", "runs_dir=none"]
    config = plain_config(experiments.compose(chosen))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    run = build_training(config, data, torch.device("cpu"), ProbeRecorder())
    batch, neuron = data.batch(0), run.network.neuron
    x, y = batch.inputs.double().numpy(), batch.targets.double().numpy()[:, 0]
    w = next(neuron.parameters()).detach().double().numpy()[0].copy()
    for step in range(150):
        train_step(run, run.network, data.batch(step))
    margins = (run.network(batch.inputs) * batch.targets).detach().double().numpy()[:, 0]
    expected = by_hand(x, y, w, 1.0, 150, normalised)
    np.testing.assert_allclose(margins, expected, rtol=2e-3, atol=2e-3)
    assert (expected.std() / expected.mean() < 0.2) == normalised


# ---------------------------------------------------------------------------------------------------------- the figure


def test_the_figure_tells_the_normalisations_apart() -> None:
    options = {NONE.name: {"norm": "none"}, USUAL.name: {"norm.center": True}}
    options[BATCH.name] = {"norm.center": False, "optim.groups": [{"match": "beta", "train": False}]}
    ran, facts, rows = {}, {}, []
    for (name, own), seed in itertools.product(options.items(), (0, 1)):
        run = f"{name}-{seed}"
        ran[run] = {**BASE, "norm": "batch", "optim.groups": [], **own}
        facts[run] = {"seed": seed, "task": "regression"}
        for step in (0, 50):
            rows.append(row(run, step, "margin_variation", 0.1 + step + len(name)))
            rows.append(row(run, step, "margin_mean", 3.0))
    (column,) = figure.compute(made(rows, ran, facts)).columns
    drawn = {curve.norm: curve.median.tolist() for curve in column.panels[0].curves}
    assert drawn == {name: pytest.approx([0.1 + len(name), 50.1 + len(name)]) for name in options}
