"""Length and direction on least squares: measures against loops, and the arms against descent by hand in float64."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

import experiments
from analysis.select import Arm
from analysis.studies.kohler2019.claims import APART, BATCH, CLAIMS, DESCENT, LEFT, NONE, ONE_RATE
from analysis.studies.kohler2019.figures import least_squares_rates as figure
from analysis.studies.kohler2019.own_measures import loss_left, steps_to_loss
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.runs.records import ProbeRecorder
from experiments.train import train_step
from tests import measure_twins as twins
from tests.made_table import BASE, made, row

# ------------------------------------------------------------------------------------------------------------- measures


def losses(draw: random.Random, run: str, every: int) -> list[dict[str, Any]]:
    """A loss that falls in jumps, in an order of the log that is no order of steps."""
    rows = [row(run, step, "data_loss", math.exp(draw.gauss(-step / 10, 1))) for step in range(0, 120, every)]
    rows += [row(run, step, "data_loss", 1e-9, batch="test") for step in range(0, 120, every)]
    draw.shuffle(rows)
    return rows


@pytest.mark.parametrize("level", [1e-3, 1e-12])
@pytest.mark.parametrize("seed", range(3))
def test_steps_to_a_loss_without_accuracies(seed: int, level: float) -> None:
    draw = random.Random(seed)
    rows = [r for run, every in (("a", 1), ("b", 5), ("c", 4)) for r in losses(draw, run, every)]
    rows += [row("d", step, "data_loss", value) for step, value in ((0, 1.0), (5, math.inf), (10, math.nan))]
    facts: dict[str, Any] = {run: {"seed": i} for i, run in enumerate("abcde")}
    facts["d"] |= {"state": "diverged", "diverged_at": 10.0}
    runs, measure = made(rows, dict.fromkeys("abcde", BASE), facts), steps_to_loss(level)
    assert measure.resolution is not None
    for run, every in (("a", 1), ("b", 5), ("c", 4), ("d", 5)):
        reached = math.inf
        for one in twins.of(rows, "data_loss", "train"):
            if one["run"] == run and one["value"] <= level:
                reached = min(reached, one["step"])
        assert measure.of(runs)[run] == max(120 if math.isinf(reached) else reached, every)
        assert measure.bound(runs)[run] == math.isinf(reached)
        assert measure.resolution(runs)[run] == every - 1
    assert math.isnan(measure.of(runs)["e"]), "nothing was recorded of it"


def test_what_is_left_of_the_loss_is_the_median_of_the_last_tenth_over_the_first() -> None:
    draw = random.Random(5)
    rows = [*losses(draw, "a", 1), *losses(draw, "b", 5)]
    runs = made(rows, dict.fromkeys("ab", BASE), {"b": {"seed": 1, "state": "diverged", "diverged_at": 60.0}})
    own = {one["step"]: one["value"] for one in twins.of(rows, "data_loss", "train") if one["run"] == "a"}
    expected = twins.median(value for step, value in own.items() if step >= 0.9 * 119) / own[0]
    assert loss_left().of(runs).to_dict() == pytest.approx({"a": expected, "b": math.inf})


# ------------------------------------------------------------------------------------------------------------ the arms


def trained(arm: str, rate: float, steps: int, experiment: str = "rates") -> tuple[list[float], Any]:
    """The training losses of an arm of the study's experiment, and its inputs, targets and first weights."""
    config = plain_config(
        experiments.compose([f"experiment=kohler2019/{experiment}", f"arm={arm}", f"optim.lr={rate}", "runs_dir=none"])
    )
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    run = build_training(config, data, torch.device("cpu"), ProbeRecorder())
    start = run.network.neuron.layer.weight if arm != "none" else next(run.network.parameters())
    weights = start.detach().double().numpy()[0].copy()
    found = [train_step(run, run.network, data.batch(step)).total.item() for step in range(steps)]
    batch = data.batch(0)
    return found, (batch.inputs.double().numpy(), batch.targets.double().numpy()[:, 0], weights)


def by_hand(x: np.ndarray, y: np.ndarray, w: np.ndarray, rate: float, own: float, steps: int) -> list[float]:
    """BNGD of Cai et al. 2019, with a beta: a <w, x - mean> / |w|_S + b, and its gradients written out."""
    covariance, cross = np.cov(x.T, bias=True), (x - x.mean(0)).T @ (y - y.mean()) / len(y)
    a, b, found = 1.0, 0.0, []
    for _ in range(steps):
        size = math.sqrt(w @ covariance @ w)
        along = cross @ w / size
        found.append(0.5 * (y.var() + a * a - 2 * a * along + (y.mean() - b) ** 2))
        towards = -a / size * (cross - along / size * covariance @ w)
        w, a, b = w - rate * towards, a - own * (a - along), b - own * (b - y.mean())
    return found


@pytest.mark.parametrize(
    ("arm", "rate", "own"), [("own_rate", 1.7, 1.0), ("own_rate", 41.2, 1.0), ("one_rate", 0.203, 0.203)]
)
def test_the_arms_with_batch_normalisation_are_the_descent_that_is_proved_to_converge(
    arm: str, rate: float, own: float
) -> None:
    found, given = trained(arm, rate, 25)
    np.testing.assert_allclose(found, by_hand(*given, rate, own, 25), rtol=2e-3)
    assert found[-1] < 0.5 * found[0]


def test_the_plain_arm_diverges_beyond_two_over_the_largest_eigenvalue() -> None:
    """Which is where its range of rates ends, whatever the number of steps."""
    (_, (x, _, _)) = trained("none", 1.0, 1)
    largest = np.linalg.eigvalsh(x.T @ x / len(x))[-1]
    below, _ = trained("none", 1.95 / largest, 150)
    beyond, _ = trained("none", 2.05 / largest, 150)
    assert below[-1] < below[0]
    assert beyond[-1] > beyond[0]


def test_both_arms_that_are_raced_descend_the_same_loss_of_the_same_data() -> None:
    (plain, (x, y, w)), (apart, other) = (trained(arm, 1.6, 2, "speed") for arm in ("descent", "apart"))
    np.testing.assert_array_equal(x, other[0])
    np.testing.assert_array_equal(y, other[1])
    assert plain[0] == pytest.approx(0.5 * np.square(x @ w - y).mean(), rel=1e-5)
    assert apart == pytest.approx([by_hand(*other, 0.0, 0.0, 1)[0], apart[1]], rel=1e-5)
    assert apart[1] < 0.5 * y.var(), "a neuron of the best length explains something from the first step on"


# -------------------------------------------------------------------------------------------------- rules and figures


def over_rates(ends: dict[Arm, float]) -> Any:
    """Runs that are down to a thousandth at rates from 0.01 up to an arm's end, and diverged beyond."""
    rows, ran, facts = [], {}, {}
    for arm, end in ends.items():
        for seed in range(6):
            for rate in np.geomspace(1e-3, 1e3, 13).tolist():
                run = f"{arm.name}-{seed}-{rate:g}"
                options = {"norm.eps": 1e-12} if dict(arm.where)["norm"] == "batch" else {}
                ran[run] = {**BASE, "model": "linear_neuron", "data": "least_squares", "optim": "gd", **options}
                ran[run] |= {"optim.criterion": "half_squared_error", "optim.groups": [], "optim.lr": rate}
                ran[run] |= {key: value for key, value in dict(arm.where).items() if key != "optim.groups"}
                if arm == BATCH:
                    ran[run]["optim.groups"] = [{"match": "gamma", "lr": 1.0}, {"match": "beta", "lr": 1.0}]
                facts[run] = {"seed": seed, "task": "regression"}
                facts[run] |= {"state": "diverged", "diverged_at": 10.0} if rate > 1.01 * end else {}
                left = 1e-3 if rate >= 0.0099 else 0.5
                rows += [row(run, step, "data_loss", value) for step, value in ((0, 2.0), (10, 2.0 * left))]
    return made(rows, ran, facts)


def test_decades_are_counted_between_the_rates_that_train() -> None:
    (claim,) = (claim for claim in CLAIMS if claim.name == "KO2")
    runs = over_rates({NONE: 1.0, BATCH: 1000.0, ONE_RATE: 10**0.5})
    counted = {}
    for term in dict.fromkeys(term for comparison in claim.comparisons for term in comparison.terms):
        own = runs.only(term.arm.runs(runs))
        assert len(own.each) == 6 * 13, term.arm.name
        counted[term.arm] = term.measure.by_seed(own)
    assert counted[NONE]["number"].tolist() == pytest.approx([2.0] * 6)
    assert counted[NONE]["high"].tolist() == pytest.approx([3.0] * 6)
    assert counted[BATCH]["number"].tolist() == pytest.approx([5.0] * 6)
    assert np.isinf(counted[BATCH]["high"]).all(), "at the grid's end it is a bound"
    assert counted[ONE_RATE]["number"].tolist() == pytest.approx([2.5] * 6)


def test_the_figure_draws_what_is_left_over_all_rates() -> None:
    (column,) = figure.compute(over_rates({NONE: 1.0, ONE_RATE: 10**0.5})).columns
    (panel,) = column.panels
    drawn = {curve.norm: curve for curve in panel.curves}
    assert set(drawn) == {NONE.name, ONE_RATE.name}
    for curve in drawn.values():
        np.testing.assert_allclose(curve.steps, np.geomspace(1e-3, 1e3, 13))
        assert curve.median[[0, 4]].tolist() == pytest.approx([0.5, 1e-3])
    assert panel.levels[0][1] == LEFT


def test_the_figure_draws_training_and_steps_where_runs_come_down() -> None:
    rows, ran, facts = [], {}, {}
    for place, (arm, norm) in enumerate(((DESCENT, {}), (APART, {"norm.eps": 1e-12}))):
        for seed, rate in itertools.product(range(3), (1.0, 1.6, 2.5)):
            run = f"{place}-{seed}-{rate}"
            ran[run] = {**BASE, "optim.groups": [], "optim.lr": rate, **norm, **dict(arm.where)}
            facts[run] = {"seed": seed, "task": "regression"}
            quick = 20 + 10 * place if rate == 1.6 else 90
            rows += [row(run, step, "data_loss", 1e-11 if step >= quick else 1.0) for step in range(0, 100, 5)]
    training, steps = (column.panels[0] for column in figure.compute(made(rows, ran, facts)).columns)
    assert "none at 1.6; length and direction at 1.6" in training.notes
    assert {curve.norm: curve.median.tolist() for curve in steps.curves} == {
        "none": [90, 20, 90],
        "length and direction": [90, 30, 90],
    }


def test_other_runs_with_groups_of_parameters_are_arms_too() -> None:
    """A list of groups is no value that can be looked up; such runs once stopped the figure."""
    groups = [{"match": "gamma", "lr": "x2"}]
    ran = {
        f"{seed}-{rate}": {**BASE, "optim.groups": groups, "optim.lr": rate} for seed in (0, 1) for rate in (1, 2, 3)
    }
    rows = [row(run, step, "data_loss", 1.0 / (1 + step)) for run in ran for step in (0, 10)]
    (column,) = figure.compute(made(rows, ran, {run: {"seed": int(run[0])} for run in ran})).columns
    (drawn,) = column.panels[0].curves
    assert drawn.median.tolist() == pytest.approx([1 / 11] * 3)
