"""The study of noisy and attacked inputs: its measures against loops in plain Python, and what its figure draws."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.drawing.draw_panel import foot
from analysis.drawing.panel import Curve, Over, Panel
from analysis.select import Ambiguous
from analysis.studies.galloway2019.figures import robustness
from analysis.studies.galloway2019.own_measures import at_the_end, matched, where_first
from analysis.usable import usable
from tests import measure_twins as twin
from tests.made_table import BASE, made, row

NOISE = "running statistics, noise(deviation=0.25) inputs"


def evaluated(run: str, clean: dict[int, float], other: dict[int, float], label: str = "noise") -> list[dict[str, Any]]:
    """Rows of a run's test accuracy, and of that by another evaluation."""
    rows = [row(run, step, "accuracy", value, batch="test") for step, value in clean.items()]
    return rows + [
        row(run, step, "accuracy", value, batch=f"test, {label}", point=NOISE) for step, value in other.items()
    ]


def crossing(clean: dict[int, float], other: dict[int, float], level: float) -> float:
    """On the line between the last evaluation below a level and the first that is not."""
    before: int | None = None
    for step in sorted(set(clean) & set(other)):
        if clean[step] >= level:
            if before is None:
                return math.nan
            share = (level - clean[before]) / (clean[step] - clean[before])
            return (1 - share) * other[before] + share * other[step]
        before = step
    return math.nan


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("data", "levels"), [("digits", (0.95, 0.96, 0.97)), ("cifar10", (0.65, 0.7, 0.75))])
def test_accuracy_where_the_clean_one_first_comes_to_the_levels(
    seed: int, data: str, levels: tuple[float, ...]
) -> None:
    """It rises, falls below the levels and rises again; evaluations of one kind alone are left out."""
    draw = random.Random(seed)
    clean = {step: min(1.0, 0.1 + step / 50) * draw.uniform(0.9, 1.0) for step in range(0, 100, 3)}
    clean |= {80: levels[0] - 0.3, 99: 1.0}
    other = {step: draw.random() for step in clean if step % 4} | {0: 0.2, 99: 0.4}
    rows = evaluated("r", clean, other)
    draw.shuffle(rows)
    found = matched("noise", "noise").of(made(rows, {"r": {**BASE, "data": data}}))["r"]
    assert found == pytest.approx(twin.median(crossing(clean, other, level) for level in levels))
    swapped = matched("noise", "noise").of(made(rows, {"r": {**BASE, "data": "other"}}))["r"]
    assert swapped == pytest.approx(twin.median(crossing(clean, other, level) for level in (0.95, 0.96, 0.97)))


def test_a_run_that_misses_a_level_or_is_there_at_once_has_no_number() -> None:
    other = {0: 0.5, 10: 0.6, 20: 0.7}
    for clean in ({0: 0.1, 10: 0.96, 20: 0.969}, {0: 0.99, 10: 0.1, 20: 0.99}):
        runs = made(evaluated("r", clean, other), {"r": BASE})
        assert math.isnan(matched("noise", "noise").of(runs)["r"])
    assert where_first(*map(_array, ({0: 0.1, 10: 0.5}, other)), 0.5) == 0.6, "exactly at an evaluation"


def _array(values: dict[int, float]) -> Any:
    return np.array(list(values.values()))


def test_a_run_that_diverges_later_has_been_where_it_was() -> None:
    rows = evaluated("a", {0: 0.1, 10: 0.9, 20: 0.99}, {0: 0.1, 10: 0.5, 20: 0.8})
    rows += evaluated("b", {0: 0.1, 10: 0.5}, {0: 0.1, 10: 0.5})
    facts = {run: {"state": "diverged", "diverged_at": 30.0, "seed": seed} for seed, run in enumerate("ab")}
    own, _ = usable(made(rows, dict.fromkeys("ab", BASE), facts), matched("noise", "noise"), "mine")
    numbers = matched("noise", "noise").of(own)
    assert numbers["a"] == pytest.approx(0.5 + 0.3 * 0.06 / 0.09)
    assert math.isnan(numbers["b"])


def test_the_end_is_the_last_tenth_whatever_the_clean_accuracy() -> None:
    other = {0: 0.1, 90: 0.5, 95: 0.9, 100: 0.6}
    runs = made(evaluated("r", dict.fromkeys(other, 0.2), other), {"r": BASE})
    measure = at_the_end("noise", "noisy inputs")
    assert measure.of(runs)["r"] == 0.6
    assert measure.name == "final accuracy on noisy inputs"
    assert measure.says.startswith("accuracy on noisy inputs, median of the last tenth of evaluations")


def test_two_evaluations_of_one_name_are_refused() -> None:
    rows = evaluated("a", {0: 0.1, 10: 0.99}, {0: 0.1, 10: 0.5})
    rows += [{**one, "run": "b", "point": one["point"].replace("0.25", "0.3")} for one in rows if "point" in one]
    runs = made(rows, dict.fromkeys("ab", BASE), {"b": {"seed": 1}})
    for measure in (matched("noise", "noise"), at_the_end("noise", "noise")):
        with pytest.raises(Ambiguous, match="evaluated in several ways"):
            measure.of(runs)


# ----------------------------------------------------------------------------------------------------------- the figure


RADII = {"pgd_half": 0.04, "pgd": 0.08, "wide": 0.12}


def over_rates() -> Any:
    """Three rates, of which the middle one is best; two seeds; accuracies that are functions of all."""
    rows, trained, facts = [], {}, {}
    for norm in ("none", "batch"):
        for rate in (0.1, 0.3, 1.0):
            for seed in range(2):
                run = f"{norm}-{rate:g}-{seed}"
                trained[run], facts[run] = {**BASE, "norm": norm, "optim.lr": rate}, {"seed": seed}
                clean = {0: 0.1, 10: 0.6, 20: 0.98}
                rows += evaluated(run, clean, {0: 0.05, 10: 0.5, 20: 0.8 - 0.1 * seed})
                rows.append(row(run, 20, "data_loss", 0.1 if rate == 0.3 else 0.2, batch="test"))
                for label, radius in RADII.items():
                    point = f"running statistics, pgd(radius={radius}, steps=20) inputs"
                    for step in clean:
                        value = final(norm, rate, seed, radius) if step == 20 else 0.0
                        rows.append(row(run, step, "accuracy", value, batch=f"test, {label}", point=point))
                other = row(run, 20, "accuracy", 0.0, batch="test, by_batch")
                rows.append({**other, "point": "batch statistics, pgd(radius=0.2, steps=20) inputs"})
    return made(rows, trained, facts)


def final(norm: str, rate: float, seed: int, radius: float) -> float:
    return 0.9 - radius * (2 if norm == "batch" else 1) - 0.01 * seed - (0.2 if rate != 0.3 else 0.0)


def test_the_figure_shows_each_arm_at_its_best_rate_over_clean_accuracy_and_radius() -> None:
    at_equal, at_end = robustness.compute(over_rates()).columns
    noisy, by_batch, attacked = at_equal.panels
    assert by_batch.missing
    assert attacked.missing is None
    assert noisy.windows == (("none", 0.95, 0.97),)
    for curve in noisy.curves:
        place = curve.steps.tolist().index(0.79)
        expected = [0.5 + (0.3 - 0.1 * seed) * 0.19 / 0.38 for seed in range(2)]
        assert curve.each[:, place].tolist() == pytest.approx(expected)
    (panel,) = at_end.panels
    assert panel.notes == ("none at learning rate 0.3", "batch at learning rate 0.3")
    for curve in panel.curves:
        assert curve.steps.tolist() == [0.0, *RADII.values()], "not the attack by another source of statistics"
        expected = [[0.98, *(final(curve.norm, 0.3, seed, radius) for radius in RADII.values())] for seed in range(2)]
        assert curve.each.tolist() == [pytest.approx(one) for one in expected]


@pytest.mark.parametrize(
    ("places", "ticks"), [([0.0, 0.04, 0.08], ["0", "0.02", "0.04"]), ([0.0, 4.0, 8.0], ["0", "2", "4"])]
)
def test_an_axis_that_is_not_of_whole_numbers_has_ticks_between_them(places: list[float], ticks: list[str]) -> None:
    values = np.array(places)
    one = Curve("batch", values, values, values, values, ("a",), values[None])
    axes = Figure().subplots()
    foot([Panel("p", curves=(one,), over=Over("radius", "radius"))], axes)
    shown = [axes.xaxis.get_major_formatter()(tick) for tick in axes.get_xticks()]
    assert [tick for tick in shown if tick in ticks] == ticks, shown
