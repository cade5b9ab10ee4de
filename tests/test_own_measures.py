"""The measures that one study alone asks for, against loops in plain Python."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis.measures import Measure
from analysis.runs import Runs
from analysis.studies.santurkar2018 import own_measures as own
from tests.made_table import BASE, made, row

X = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
ON_GRID = (0.5, 1.0, 2.0, 4.0)
STEPS = range(40)
LAYERS = [f"fc{i}" for i in range(25)]
Value = Callable[[int, float], float]


def draws(seed: int) -> dict[Any, float]:
    draw = random.Random(seed)
    return {(name, step, x): draw.random() for name in "abcdefgh" for step in STEPS for x in (*X, None)}


def runs_of(rows: list[dict[str, Any]], **keys: Any) -> Runs:
    return made(rows, {"r": {**BASE, "steps": 40, **keys}})


def number(measure: Measure, rows: list[dict[str, Any]], **keys: Any) -> float:
    return float(measure.of(runs_of(rows, **keys))["r"])


@pytest.mark.parametrize("seed", range(3))
def test_the_first_step_length_that_raises_the_loss(seed: int) -> None:
    value = draws(seed)
    rows = [row("r", step, "data_loss", 0.5) for step in STEPS]
    rows += [row("r", step, "landscape_data_loss", value["a", step, x], x=x) for step in STEPS for x in X]
    rows[-1]["value"] = math.nan  # that is no number rises without end
    expected = []
    for step in STEPS:
        losses = {r["x"]: r["value"] for r in rows if r["metric"] == "landscape_data_loss" and r["step"] == step}
        rising = [x for x in ON_GRID if math.isnan(losses[x]) or losses[x] > 0.5]
        expected.append(min(rising, default=math.inf))
    assert number(own.first_rise(), rows) == np.median(expected)
    never = [{**r, "value": 0.1} if r["metric"] == "landscape_data_loss" else r for r in rows]
    assert number(own.first_rise(), never) == math.inf


@pytest.mark.parametrize("seed", range(3))
def test_the_longest_predicted_step(seed: int) -> None:
    """Up to the first step length at which the cosine is a half or less, or none at all."""
    value = draws(seed)
    rows = [row("r", step, "gradient_cosine", value["a", step, x] ** 0.5, x=x) for step in STEPS for x in X]
    rows[2]["value"] = math.nan
    expected = []
    for step in STEPS:
        cosines = {r["x"]: r["value"] for r in rows if r["step"] == step}
        longest = 0.0
        for x in ON_GRID:
            if not cosines[x] > 0.5:
                break
            longest = x
        expected.append(longest)
    assert {0.0, 4.0} <= set(expected)
    assert number(own.last_predicted(), rows) == np.median(expected)


def test_sharpness_in_learning_rates() -> None:
    value = draws(1)
    rows = [row("r", step, "effective_beta", value["a", step, x], x=x) for step in STEPS for x in X]
    greatest = [0.1 * max(value["a", step, x] for x in ON_GRID) for step in STEPS]
    assert number(own.sharpness_in_rates(), rows) == pytest.approx(np.median(greatest))


def test_the_exponent_of_the_shift() -> None:
    """Two layers whose shift goes with the gradient to the power of 1 and 2; the first layer has no shift."""
    rows = []
    for step in STEPS:
        for layer, power in (("a", None), ("b", 1.0), ("c", 2.0)):
            gradient = math.exp(-step / 10) * (1 + 0.1 * math.sin(step))
            shift = 0.0 if power is None else 0.3 * gradient**power
            rows += [row("r", step, "ics_l2", shift, layer=layer)]
            rows += [row("r", step, "ics_relative", shift / gradient, layer=layer)]
    assert number(own.ics_exponent(), rows) == pytest.approx(1.5)
    assert math.isnan(number(own.ics_exponent(), [r for r in rows if r["step"] < 7]))


def test_the_cosine_of_a_followed_layer() -> None:
    """Of 25 layers the ninth and the seventeenth, while the loss falls from 8e4 to 1e4."""
    rows = [row("r", step, "data_loss", 1.2e5 * math.exp(-step / 10)) for step in STEPS]
    for step in STEPS:
        rows += [row("r", step, "ics_cosine", place / 30, layer=layer) for place, layer in enumerate(LAYERS)]
    assert number(own.followed_cosine(9), rows) == pytest.approx(math.atanh(8 / 30))
    assert number(own.followed_cosine(17), rows) == pytest.approx(math.atanh(16 / 30))


@pytest.mark.parametrize("how", ["range", "max"])
def test_the_median_over_random_directions(how: str) -> None:
    value = draws(2)
    directions = "abcdefgh"
    rows = [
        row("r", step, f"gradient_difference_along_random_{i}", value[name, step, x], x=x)
        for i, name in enumerate(directions)
        for step in STEPS
        for x in X
    ]
    per_step = []
    for step in STEPS:
        lines = [[value[name, step, x] for x in ON_GRID] for name in directions]
        per_step.append(np.median([max(line) - (min(line) if how == "range" else 0) for line in lines]))
    measure = own.random_directions("gradient_difference", "change", how)
    assert len(measure.metrics) == 8
    assert number(measure, rows) == pytest.approx(np.median(per_step))


def test_sums_and_extremes_of_the_theory() -> None:
    value = draws(3)
    bend, curvature = "theorem_4_2_bend_term", "theorem_4_2_curvature_term"
    rows, sums = [], [0.0, 0.0]
    for step in STEPS:
        for layer, name in (("a", "a"), ("b", "b")):
            one, other = value[name, step, 1.0] - 0.3, value[name, step, 2.0] - 0.5
            rows += [row("r", step, bend, one, layer=layer), row("r", step, curvature, other, layer=layer)]
            rows += [row("r", step, "sigma_median", 1 + value[name, step, None], layer=layer)]
            rows += [row("r", step, "theorem_4_1_relative_error", value[name, step, 4.0], layer=layer)]
            rows += [row("r", step, "gamma_over_sigma_mean", 0.5, layer=layer)]
            rows += [row("r", step, "weight_norm", value[name, step, 8.0], layer=layer)]
            sums = [sums[0] + one, sums[1] + abs(other)]
    assert number(own.bend_share(), rows) == pytest.approx(sums[0] / sums[1])
    swings = []
    for name in "ab":
        sigmas = [1 + value[name, step, None] for step in STEPS]
        swings.append(max(sigmas) / min(sigmas))
    assert number(own.swing(), rows) == pytest.approx(np.median(swings))
    greatest = max(value[name, step, 4.0] for name in "ab" for step in STEPS)
    assert number(own.identity_error("theorem_4_1_relative_error"), rows) == greatest
    product = own.median_over_layers_of(
        "p", ("gamma_over_sigma_mean", "weight_norm"), "gamma_over_sigma_mean * weight_norm"
    )
    medians = [np.median([0.5 * value[name, step, 8.0] for name in "ab"]) for step in STEPS]
    assert number(product, rows) == pytest.approx(np.median(medians))
