"""Measures of the studies of optimisation, against loops in plain Python."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from analysis.claims import NotRun
from analysis.measures import final
from analysis.select import Arm, known_and_others, plain
from analysis.studies.arora2019 import own_measures as invariance
from analysis.studies.arora2019.figures import rates_and_decays
from analysis.studies.cohen2021 import own_measures as edge
from analysis.studies.frankle2021.claims import SMALL
from analysis.usable import usable
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


def test_a_diverged_run_has_no_share_of_small_gammas() -> None:
    rows = [row(run, 0, "gamma_small_share_of_all", 0.01) for run in "ab"]
    runs = made(rows, dict.fromkeys("ab", BASE), {"b": {"state": "diverged", "seed": 1}})
    counted, notes = usable(runs, SMALL, "mine")
    assert list(counted.each.index) == ["a"]
    assert notes == ("1 of mine diverged, left out",)


# ---------------------------------------------------------------------------------------------- scale-invariant weights


def test_the_radial_share_is_the_greatest_over_layers_and_steps() -> None:
    draw = random.Random(1)
    names = ("weight_norm", "gradient_radial", "gradient_tangential")
    values = {(n, s, layer): draw.gauss(0, 1) for n in names for s in (0, 7, 9) for layer in ("fc1", "fc2")}
    rows = [row("a", step, name, value, layer=layer) for (name, step, layer), value in values.items()]
    shares = []
    for step in (0, 7, 9):
        for layer in ("fc1", "fc2"):
            w, radial, tangential = (values[name, step, layer] for name in names)
            shares.append(2 * abs(radial * w) / (0.3 * (radial**2 + tangential**2)))
    assert invariance.radial().of(made(rows, {"a": {**BASE, "optim.lr": 0.3}}))["a"] == pytest.approx(max(shares))


def test_angles_are_taken_after_five_time_scales_and_as_a_root_mean_square() -> None:
    draw = random.Random(2)
    steps, layers, rate, decay = range(0, 60, 2), ("fc1", "fc2", "head"), 0.5, 0.2
    angles = {(step, layer): draw.random() for step in steps for layer in layers}
    rows = [row(run, step, "unit_update_angle", x, layer=layer) for (step, layer), x in angles.items() for run in "abc"]
    trained = {"a": {**BASE, "optim.lr": rate, "optim.weight_decay": decay}}
    trained |= {"b": {**BASE, "optim.lr": rate, "optim.weight_decay": 0.0}}
    trained |= {"c": {**BASE, "optim.lr": rate, "optim.weight_decay": 0.1}}  # 5 / (2 lr decay) = 50: five probed steps
    late = [x for (step, _), x in angles.items() if step >= 25]
    expected = math.sqrt(sum(x * x for x in late) / len(late)) / math.sqrt(2 * rate * decay)
    found = invariance.turning().of(made(rows, trained, {"b": {"seed": 1}, "c": {"seed": 2}}))
    assert found.to_dict() == pytest.approx({"a": expected, "b": math.nan, "c": math.nan}, nan_ok=True)


RATES, DECAYS, SEEDS = (0.1, 0.2, 0.4, 0.8), (0.01, 0.02, 0.04), range(4)


def grid(accuracy: Any) -> Any:
    """Runs over all rates, decays and seeds with an accuracy that is a function of them."""
    rows, trained, facts = [], {}, {}
    for rate in RATES:
        for decay in DECAYS:
            for seed in SEEDS:
                run = f"{rate}-{decay}-{seed}"
                trained[run] = {**BASE, "optim.lr": rate, "optim.weight_decay": decay}
                facts[run] = {"seed": seed}
                rows.append(row(run, 100, "accuracy", accuracy(rate, decay, seed), batch="test"))
    return made(rows, trained, facts)


ERROR = invariance.error(final("accuracy", "test"))
KEYS = ("optim.lr", "optim.weight_decay")


@pytest.mark.parametrize("ratio", [False, True])
def test_what_is_explained_is_scored_on_seeds_that_the_fit_has_not_seen(ratio: bool) -> None:
    draw = random.Random(3)
    values = {(r, d, s): draw.random() for r in RATES for d in DECAYS for s in SEEDS}
    found = invariance.Explained(ERROR, KEYS, ratio).by_seed(grid(lambda r, d, s: values[r, d, s]))
    for seed in SEEDS:
        own = {(r, d): 1 - values[r, d, seed] for r in RATES for d in DECAYS}
        mean, left = sum(own.values()) / len(own), 0.0
        for (r, d), error in own.items():
            alike = [
                1 - value
                for (r2, d2, s2), value in values.items()
                if s2 != seed and math.isclose(r2 / d2 if ratio else r2 * d2, r / d if ratio else r * d)
            ]
            left += (error - sum(alike) / len(alike)) ** 2
        expected = 1 - left / sum((error - mean) ** 2 for error in own.values())
        assert found["number"][seed] == pytest.approx(expected)
        assert found["low"][seed] == found["high"][seed] == found["number"][seed]


def test_a_function_of_the_product_is_explained_by_it_and_a_function_of_the_ratio_is_not() -> None:
    of_product = grid(lambda r, d, s: 1 - math.sqrt(r * d))
    of_ratio = grid(lambda r, d, s: 1 - 0.01 * math.sqrt(r / d))
    product, ratio = (invariance.Explained(ERROR, KEYS, which) for which in (False, True))
    assert product.by_seed(of_product)["number"].tolist() == pytest.approx([1.0] * 4)
    assert ratio.by_seed(of_ratio)["number"].tolist() == pytest.approx([1.0] * 4)
    assert (product.by_seed(of_ratio)["number"] < 0.2).all()
    assert (ratio.by_seed(of_product)["number"] < 0.2).all()


def test_a_seed_with_fewer_runs_has_no_number() -> None:
    whole = grid(lambda r, d, s: 1 - math.sqrt(r * d))
    fewer = whole.only([run for run in whole.each.index if run != "0.4-0.02-2"])
    numbers = invariance.Explained(ERROR, KEYS).by_seed(fewer)["number"]
    assert numbers.isna().tolist() == [False, False, True, False]
    one = whole.only([run for run in whole.each.index if "-0.02-" in run])
    with pytest.raises(NotRun, match="weight decay was not varied"):
        invariance.Explained(ERROR, KEYS).by_seed(one)


def test_a_combination_that_no_other_seed_has_is_not_left_out_of_the_errors() -> None:
    """Of seed 3 alone there is the greatest product: what is predicted of it, is not known."""
    whole = grid(lambda r, d, s: 1 - math.sqrt(r * d))
    alone = [run for run in whole.each.index if not run.startswith("0.8-0.04-") or run.endswith("-3")]
    assert math.isnan(invariance.Explained(ERROR, KEYS).by_seed(whole.only(alone))["number"][3])


def test_runs_without_a_decay_have_no_ratio_and_change_nothing() -> None:
    draw = random.Random(4)
    values = {(r, d, s): draw.random() for r in RATES for d in DECAYS for s in SEEDS}
    alone = grid(lambda r, d, s: values[r, d, s])
    rows, trained, facts = [], {}, {}
    for run in alone.each.index:
        rate, decay, seed = (float(x) for x in run.split("-"))
        named = {run: decay, f"{run} none": None, f"{run} zero": 0.0}
        for name, own in named.items():
            trained[name] = {**BASE, "optim.lr": rate, "optim.weight_decay": own}
            facts[name] = {"seed": int(seed)}
            rows.append(row(name, 100, "accuracy", values[rate, decay, int(seed)] if own else 0.5, batch="test"))
    runs = made(rows, trained, facts)
    for ratio in (False, True):
        measure = invariance.Explained(ERROR, KEYS, ratio)
        assert measure.by_seed(runs).equals(measure.by_seed(alone))
    sheet = rates_and_decays.compute(runs.only([run for run in trained if not run.endswith("none")]))
    panels = [panel for column in sheet.columns for panel in column.panels]
    assert {panel.over.column for panel in panels} == {"log10_product", "log10_ratio"}
    for panel in panels:
        assert panel.curves
        assert all(np.isfinite(curve.steps).all() for curve in panel.curves)


# -------------------------------------------------------------------------------------------- arms that a figure draws


def test_known_arms_and_one_for_every_other_combination() -> None:
    known = [Arm.of("mine", {"norm": "batch", "optim.groups": "[]"})]
    groups = [{"match": "gamma", "lr": "x2"}]
    trained = {
        "a": {**BASE, "optim.groups": []},
        "b": {**BASE, "optim.groups": groups},
        "c": {**BASE, "norm": "none"},
        "d": {**BASE, "norm": "none", "optim.groups": []},
    }
    runs = made([row(run, 0, "m", 1.0) for run in trained], trained, {r: {"seed": i} for i, r in enumerate(trained)})
    found = known_and_others(runs, known)
    assert [arm.name for arm in found] == ["mine", f"batch groups={plain(groups)}", "none", "none groups=[]"]
    assert [arm.runs(runs) for arm in found] == [["a"], ["b"], ["c"], ["d"]]
