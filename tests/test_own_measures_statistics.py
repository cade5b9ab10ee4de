"""Measures of the studies of statistics at test time, against loops in plain Python."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from typing import Any

import pytest

from analysis.studies.summers2020 import own_measures as weighing
from analysis.studies.summers2020.claims import CLAIMS as STUDY_CLAIMS
from analysis.studies.summers2020.claims import WHOLE
from analysis.studies.summers2020.figures import example_weighing
from analysis.studies.wu2021 import own_measures as modes
from analysis.studies.wu2021.figures import modes_over_batch
from tests.made_table import BASE, made, row

HALVES = ("choosing", "judging")


def weighed_runs(draw: random.Random, names: str) -> tuple[dict[tuple[str, str, int], float], list[dict[str, Any]]]:
    """Losses by run, half and weight, and the rows that hold them."""
    losses = {(run, half, w): draw.random() for run in names for half in HALVES for w in weighing.HUNDREDTHS}
    return losses, [
        row(run, 50, "data_loss", value, batch=f"test, {half}_{w}") for (run, half, w), value in losses.items()
    ]


def test_the_weight_is_chosen_on_one_half_and_judged_on_the_other() -> None:
    losses, rows = weighed_runs(random.Random(0), "abcde")
    losses["b", "choosing", 0] = rows[[r["run"] for r in rows].index("b")]["value"] = -1.0  # none is chosen
    runs = made(rows, dict.fromkeys("abcde", BASE), {run: {"seed": i} for i, run in enumerate("abcde")})
    for run in "abcde":
        chosen = min(weighing.HUNDREDTHS, key=lambda w, run=run: losses[run, "choosing", w])
        assert weighing.chosen_weight().of(runs)[run] == pytest.approx(chosen / 100)
        assert weighing.judged(weighed=True).of(runs)[run] == losses[run, "judging", chosen]
        assert weighing.judged(weighed=False).of(runs)[run] == losses[run, "judging", 0]
    assert weighing.chosen_weight().of(runs)["b"] == 0.0
    assert len(set(weighing.chosen_weight().of(runs))) > 2


@pytest.mark.parametrize("lost", [math.nan, math.inf, None])
def test_a_run_that_lacks_a_weight_has_no_number(lost: float | None) -> None:
    _, rows = weighed_runs(random.Random(1), "ab")
    where = next(r for r in rows if r["run"] == "a" and r["batch"] == "test, judging_5")
    rows = [r for r in rows if r is not where] + ([] if lost is None else [{**where, "value": lost}])
    runs = made(rows, dict.fromkeys("ab", BASE), {"b": {"seed": 1}})
    for measure in (weighing.judged(weighed=True), weighing.judged(weighed=False), weighing.chosen_weight()):
        assert measure.of(runs).isna().to_dict() == {"a": True, "b": False}


def test_the_figure_is_over_the_unweighed_loss() -> None:
    losses, rows = weighed_runs(random.Random(2), "ab")
    runs = made(rows, dict.fromkeys("ab", BASE), {"b": {"seed": 1}})
    (column,) = example_weighing.compute(runs).columns
    for panel, half in zip(column.panels, HALVES, strict=True):
        (curve,) = panel.curves
        assert curve.steps.tolist() == list(weighing.HUNDREDTHS)
        for run, own in zip(curve.runs, curve.each, strict=True):
            expected = [losses[run, half, w] / losses[run, half, 0] for w in weighing.HUNDREDTHS]
            assert own.tolist() == pytest.approx(expected)


def test_gaps_are_of_population_statistics_over_the_last_tenth() -> None:
    draw = random.Random(3)
    steps, batches = range(0, 101, 5), ("test", "test, population", "test, train_mode")
    values = {(batch, step): draw.random() for batch in batches for step in steps}
    rows = [row("a", step, "accuracy", value, batch=batch) for (batch, step), value in values.items()]
    runs = made(rows, {"a": BASE})
    running, population, train_mode = (
        statistics.median(values[batch, step] for step in steps if step >= 90) for batch in batches
    )
    assert modes.gap().of(runs)["a"] == pytest.approx(population - train_mode)
    assert modes.left_over().of(runs)["a"] == pytest.approx(population - running)


@pytest.mark.parametrize(("which", "batch"), [("running", "test"), ("population", "test, population")])
def test_unsteadiness_is_of_successive_losses_of_the_last_half(which: Any, batch: str) -> None:
    draw = random.Random(4)
    steps = range(0, 101, 5)
    losses = {step: draw.random() for step in steps}
    rows = [row("a", step, "data_loss", loss, batch=batch) for step, loss in losses.items()]
    draw.shuffle(rows)
    late = [losses[step] for step in steps if step >= 50]
    expected = sum(abs(b - a) for a, b in itertools.pairwise(late)) / (len(late) - 1)
    assert modes.unsteadiness(which).of(made(rows, {"a": {**BASE, "steps": 100}}))["a"] == pytest.approx(expected)
    few = [r for r in rows if r["step"] < 50 or r["step"] >= 70]  # seven of the last half
    assert math.isnan(modes.unsteadiness(which).of(made(few, {"a": {**BASE, "steps": 100}}))["a"])


@pytest.mark.parametrize("of", ["mean", "deviation"])
def test_a_discrepancy_is_that_of_the_end_and_none_of_a_run_that_diverged(of: Any) -> None:
    draw = random.Random(5)
    values = {(step, layer): draw.random() for step in range(0, 101, 5) for layer in ("fc1", "fc2", "fc3")}
    metric = f"running_{of}_discrepancy"
    rows = [row("a", step, metric, value, layer=layer) for (step, layer), value in values.items()]
    expected = statistics.median(value for (step, _), value in values.items() if step >= 90)
    assert modes.discrepancy(of).of(made(rows, {"a": BASE}))["a"] == pytest.approx(expected)
    assert not modes.discrepancy(of).diverged_count


def test_the_figure_goes_over_the_batch_and_divides_running_by_population() -> None:
    rows: list[dict[str, Any]] = []
    trained, facts = {}, {}
    for size in (2, 4, 8):
        for seed in range(2):
            run = f"{size}-{seed}"
            trained[run] = {**BASE, "steps": 100, "optim.batch_size": size}
            facts[run] = {"seed": seed}
            for step in range(0, 101, 5):
                sign = (-1) ** (step // 5)
                for batch, scale in (("test", 3.0 * size), ("test, population", 1.0)):
                    rows.append(row(run, step, "data_loss", 100 + sign * scale, batch=batch))
            rows += [
                row(run, 100, "accuracy", value, batch=f"test, {name}")
                for name, value in (("population", 0.9), ("train_mode", 0.9 - 0.1 / size))
            ]
    (column,) = modes_over_batch.compute(made(rows, trained, facts)).columns
    panels = {panel.name: panel for panel in column.panels}
    (gap,) = panels["gap of the modes"].curves
    (ratio,) = panels["unsteadiness, running / population"].curves
    assert gap.steps.tolist() == ratio.steps.tolist() == [2, 4, 8]
    assert gap.median.tolist() == pytest.approx([0.05, 0.025, 0.0125])
    assert ratio.median.tolist() == pytest.approx([6.0, 12.0, 24.0])


def test_of_whole_batches_no_weight_is_what_is_expected() -> None:
    """What stands beside SD2 of them: no weight at all lies within, the least that was tried does not."""
    (claim,) = (claim for claim in STUDY_CLAIMS if claim.name == "SD2")
    (beside,) = (one for one in claim.comparisons if one.terms[0].arm == WHOLE)
    assert not beside.decides
    assert [beside.region.holds(weight / 100) for weight in weighing.HUNDREDTHS] == [True] + [False] * 5
