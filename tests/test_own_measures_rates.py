"""Measures of how far a step can go, of what grows where training diverges, and of the least rate; in plain Python."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from analysis.claims import NotRun
from analysis.measures import final
from analysis.runs import Runs
from analysis.studies.bjorck2018 import own_measures as bjorck
from analysis.studies.bjorck2018.figures import early_landscape, variance_at_divergence
from analysis.studies.karakida2019 import arms, claims
from analysis.studies.karakida2019.figures import rates_by_placement, sharpness_by_placement
from tests import measure_twins as twins
from tests.made_table import BASE, made, row

LENGTHS = (0.0, 1.0, 1.2, 1.44, 1.73, 2.07)
RATE = 0.5


def lines(seed: int) -> tuple[list[dict[str, Any]], dict[int, dict[float, float]], dict[int, float]]:
    """Rows of eight lines and two more, losses by step and multiple, gradients' norms by step."""
    draw = random.Random(seed)
    rows, losses, norms = [], {}, {}
    for step in range(10):
        start, norms[step] = draw.uniform(1, 3), draw.uniform(0.5, 4)
        grows = sorted(draw.uniform(0.5, 30) for _ in LENGTHS)
        losses[step] = {x: start * grow for x, grow in zip(LENGTHS, grows, strict=True)} | {2.07: math.nan}
        rows += [row("a", step, "landscape_data_loss", value, x=x) for x, value in losses[step].items()]
        rows += [row("a", step, "data_loss", start), row("a", step, "gradient_norm", norms[step])]
        rows += [row("a", step, "gradient_norm", 99.0, layer="fc1")]
        losses[step] = {x: value / start for x, value in losses[step].items()}
    draw.shuffle(rows)
    return rows, losses, norms


@pytest.mark.parametrize("unit", ["gradients", "distance"])
@pytest.mark.parametrize("seed", range(3))
def test_the_step_to_ten_times_the_loss_is_the_median_over_the_first_eight(seed: int, unit: Any) -> None:
    rows, losses, norms = lines(seed)
    first, before = [], []
    for step in range(8):
        scale = RATE * (norms[step] if unit == "distance" else 1.0)
        own = [x for x in LENGTHS if x > 0]
        place = next(i for i, x in enumerate(own) if not losses[step][x] <= 10)
        first.append(scale * own[place])
        before.append(scale * own[place - 1] if place else 0.0)
    runs = made(rows, {"a": {**BASE, "optim.lr": RATE}})
    found = bjorck.tenfold(unit).by_seed(runs).loc[0]
    assert found["number"] == found["high"] == pytest.approx(twins.median(first))
    assert found["low"] == pytest.approx(twins.median(before))


def test_a_loss_that_is_ten_times_on_no_line_is_only_a_bound() -> None:
    rows = [row("a", step, "landscape_data_loss", 9.0 + x / 10, x=x) for step in range(8) for x in (1.0, 4.0, 10.0)]
    rows += [row("a", step, "data_loss", 1.0) for step in range(8)]
    found = bjorck.tenfold("gradients").by_seed(made(rows, {"a": {**BASE, "optim.lr": RATE}})).loc[0]
    assert found.tolist() == [5.0, 5.0, math.inf]  # exactly ten times is not above


def test_seven_first_steps_give_no_step_to_ten_times_the_loss() -> None:
    rows = [row("a", step, "landscape_data_loss", 99.0, x=1.0) for step in range(7)]
    rows += [row("a", step, "data_loss", 1.0) for step in range(7)]
    assert math.isnan(bjorck.tenfold("gradients").of(made(rows, {"a": BASE}))["a"])


def diverging() -> Runs:
    """Run a: three hidden layers, normalised; b: plain; c: did not diverge."""
    layers, rows = ("fc1", "fc2", "fc3", "head"), []
    for run in "abc":
        for step in range(4):
            for place, layer in enumerate(layers):
                value = math.inf if step == 3 and layer == "fc2" else (step + 1.0) * 4.0**place
                rows.append(row(run, step, "variance_before_normalisation", value, layer=layer))
                if run == "a" and layer != "head":
                    rows.append(row(run, step, "variance_after_normalisation", 2.0**-place, layer=layer))
    facts = {run: {"seed": i, "state": "finished" if run == "c" else "diverged"} for i, run in enumerate("abc")}
    facts = {run: {**own, "diverged_at": 4.0} for run, own in facts.items()}
    trained = {run: {**BASE, "norm": "batch" if run == "a" else "none"} for run in "abc"}
    return made(rows, trained, facts)


def test_the_growth_at_divergence_is_of_hidden_layers_at_the_last_step_that_is_finite() -> None:
    runs = diverging()
    found = bjorck.last_variances(runs)
    assert found["b"].tolist() == [3.0, 12.0, 48.0]  # of step 2
    assert found["a"].tolist() == [1.0, 0.5, 0.25]
    assert set(found) == {"a", "b"}
    growth = bjorck.growth_at_divergence().of(runs)
    assert growth.to_dict() == pytest.approx({"a": -math.log(2), "b": math.log(4), "c": math.nan}, nan_ok=True)


def test_the_least_rate_is_that_of_three_or_more() -> None:
    rows, trained, facts = [], {}, {}
    for rate in (0.3, 0.01, 1.0):
        for seed in (0, 1):
            run = f"{rate:g}-{seed}"
            trained[run], facts[run] = {**BASE, "optim.lr": rate}, {"seed": seed}
            rows.append(row(run, 119, "data_loss", rate + seed, batch="test"))
    runs = made(rows, trained, facts)
    measure = bjorck.at_least(final("data_loss", "test"), "optim.lr")
    assert measure.by_seed(runs)["number"].tolist() == [0.01, 1.01]
    finer = {"optim.lr": [0.01, 0.3, 0.53, 1.0]}  # 0.53 of another arm alone
    assert measure.by_seed(runs, finer)["number"].tolist() == [0.01, 1.01]
    with pytest.raises(NotRun, match="needs 3 values"):
        measure.by_seed(runs.only([run for run in trained if not run.startswith("1-")]))


def test_the_sharpness_at_the_start_is_the_first_of_step_0() -> None:
    rows = [row("a", step, "largest_eigenvalues", 10 * step + 5 - x, x=x) for step in (0, 1) for x in (1.0, 2.0)]
    rows += [row("b", 1, "largest_eigenvalues", 3.0, x=1.0)]
    found = claims.SHARPNESS.of(made(rows, dict.fromkeys("ab", BASE), {"b": {"seed": 1}}))
    assert found.to_dict() == pytest.approx({"a": 4.0, "b": math.nan}, nan_ok=True)


# -------------------------------------------------------------------------------------------------------------- figures


def test_the_early_landscape_is_the_median_over_the_first_eight_steps() -> None:
    rows, losses, _ = lines(0)
    rows = [{**r, "x": 20 * r["x"]} if r["metric"] == "landscape_data_loss" else r for r in rows]
    (column,) = early_landscape.compute(made(rows, {"a": {**BASE, "optim.lr": RATE}})).columns
    (line,) = column.panels[0].curves
    assert line.steps.tolist() == pytest.approx([20 * RATE * x for x in LENGTHS if x > 0])
    expected = [float(np.median([losses[step][x] for step in range(8)])) for x in LENGTHS if x > 0]
    assert line.median.tolist() == pytest.approx(expected, nan_ok=True)  # no number: beyond what can be drawn
    facts = {"a": {"state": "diverged", "diverged_at": 100.0}}
    (column,) = early_landscape.compute(made(rows, {"a": {**BASE, "optim.lr": RATE}}, facts)).columns
    assert not column.panels[0].curves[0].diverged  # a step of training has no place among lengths
    near = [r for r in rows if r["metric"] != "landscape_data_loss" or r["x"] <= 10]
    assert not early_landscape.compute(made(near, {"a": BASE})).columns


def test_what_grows_is_drawn_of_runs_that_diverged() -> None:
    (column,) = variance_at_divergence.compute(diverging()).columns
    drawn = {one.norm: one.median.tolist() for one in column.panels[0].curves}
    assert drawn == {"none": [3.0, 12.0, 48.0], "batch": [1.0, 0.5, 0.25]}
    assert not any(one.diverged for one in column.panels[0].curves)  # a step has no place among layers


def placements() -> Runs:
    """Two placements and none at two depths and three rates, and layer normalisation."""
    rows, trained, facts = [], {}, {}
    kinds = {"n": ("none", None), "o": ("batch", "output"), "h": ("batch", None), "l": ("layer", "output")}
    for name, (norm, at) in kinds.items():
        for depth in (3, 6):
            for rate in (0.1, 1.0, 10.0):
                run = f"{name}-{depth}-{rate:g}"
                trained[run] = {**BASE, "model": "mlp", "norm": norm, "model.depth": depth, "optim.lr": rate}
                trained[run] |= {"model.norm_at": at}
                trained[run] |= {"norm.scale": True, "norm.center": True} if norm == "batch" else {}
                facts[run] = {"seed": 0}
                rows.append(row(run, 0, "largest_eigenvalues", depth * ord(name), x=1.0))
                rows.append(row(run, 119, "data_loss", rate * depth))
    return made(rows, trained, facts)


def test_placements_have_the_names_of_the_claims_and_others_their_keys() -> None:
    found = {arm.name: arm.runs(placements()) for arm in arms.placed(placements())}
    assert found["output"] == [f"o-{depth}-{rate:g}" for depth in (3, 6) for rate in (0.1, 1, 10)]
    assert len(found["all hidden"]) == len(found["none"]) == 6
    assert found["all and output"] == []
    (other,) = [name for name in found if "layer" in name]
    assert len(found[other]) == 6


def test_sharpness_over_depth_and_loss_over_rates_by_placement() -> None:
    runs = placements()
    one_rate = runs.only([run for run in runs.each.index if run.endswith("-1")])
    (column,) = sharpness_by_placement.compute(one_rate).columns
    drawn = {one.norm: (one.steps.tolist(), one.median.tolist()) for one in column.panels[0].curves}
    assert drawn["output"] == ([3, 6], [3.0 * ord("o"), 6.0 * ord("o")])
    assert set(drawn) == {"none", "all hidden", "output", "layer (output)"}
    assert len(column.panels) == 1  # no arm has one part of it
    columns = rates_by_placement.compute(runs).columns
    assert len(columns) == 2  # one of each depth
    drawn = {one.norm: (one.steps.tolist(), one.median.tolist()) for one in columns[0].panels[0].curves}
    assert drawn["all hidden"] == ([0.1, 1.0, 10.0], pytest.approx([0.3, 3.0, 30.0]))
