"""Measures of the studies of optimisation, against loops in plain Python."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from analysis.studies.cohen2021 import own_measures as edge
from tests import measure_twins as twins
from tests.made_table import BASE, made, row

# ------------------------------------------------------------------------------------------------ the edge of stability


@pytest.mark.parametrize("seed", range(3))
def test_what_has_settled_is_the_median_over_every_step_of_the_last_half(seed: int) -> None:
    draw = random.Random(seed)
    steps = sorted({0, 98, *draw.sample(range(100), 30)})
    line = {step: draw.random() for step in steps}
    rows = [row("a", step, "m", value) for step, value in line.items()]
    draw.shuffle(rows)
    runs = made(rows, {"a": {**BASE, "steps": 100}})
    expected = twins.median(twins.at_step(line, step) for step in range(50, 99))
    assert edge.settled("m", "m").of(runs)["a"] == pytest.approx(expected)


def test_seven_probed_steps_of_the_last_half_do_not_stand_for_it() -> None:
    for late, expected in ((7, math.nan), (8, 3.0)):
        steps = [*range(40), *range(50, 50 + late)]
        runs = made([row("a", step, "m", 3.0) for step in steps], {"a": {**BASE, "steps": 100}})
        assert edge.settled("m", "m").of(runs)["a"] == pytest.approx(expected, nan_ok=True)


def test_of_several_eigenvalues_the_largest_settles() -> None:
    rows = [row("a", step, "m", 10.0 / place, x=place) for step in range(50, 60) for place in (1.0, 2.0, 3.0)]
    assert edge.settled("m", "m").of(made(rows, {"a": {**BASE, "steps": 100}}))["a"] == 10.0


def test_the_greatest_sharpness_of_the_last_half_and_a_run_that_diverged() -> None:
    draw = random.Random(0)
    values: dict[str, Any] = {run: [draw.random() for _ in range(9)] for run in ("a", "b", "c")}
    metric = "sharpness_times_rate"
    rows = [row(run, 40 + i, metric, value) for run, own in values.items() for i, value in enumerate(own)]
    rows += [row(run, 39, metric, 7.0) for run in values]  # of the first half
    facts = {"b": {"state": "diverged", "diverged_at": 41.0, "seed": 1}, "c": {"seed": 2}}
    found = edge.greatest().of(made(rows, {run: {**BASE, "steps": 80} for run in values}, facts))
    assert found.to_dict() == {"a": max(values["a"]), "b": -math.inf, "c": max(values["c"])}
