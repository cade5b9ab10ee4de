"""The measures of Ioffe & Szegedy's study, against loops in plain Python; and its figures' arms."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
import xarray as xr

from analysis.across import width
from analysis.measures import Measure, final
from analysis.runs import Runs
from analysis.select import Arm, known_and_norms
from analysis.studies.ioffe2015 import own_measures as own
from analysis.studies.ioffe2015.claims.training import MEAN_DETACHED
from analysis.studies.ioffe2015.figures._rates import arms
from analysis.studies.ioffe2015.singular_values import END, START, scale, spread
from tests import measure_twins as twin
from tests.made_table import BASE, made, row

STEPS = range(0, 200, 10)
LEVELS = (0.15, 0.5, 0.85)


def number(measure: Measure, rows: list[dict[str, Any]]) -> float:
    return float(measure.of(made(rows, {"r": {**BASE, "steps": 200}}))["r"])


def with_percentiles(seed: int, *, normalised: bool, below: float) -> tuple[Runs, dict[str, np.ndarray]]:
    """One run whose loss comes below 2 at a step, with percentiles of two layers, the last of which counts."""
    draw = random.Random(seed)
    rows = [row("r", step, "data_loss", 2.3 if step < below else 1.0) for step in range(200)]
    values, arrays = {}, []
    for layer in ("fc2", "fc10"):  # the last by number, not by letter
        rows += [row("r", step, "saturated", 0.1, layer=layer, batch="fixed") for step in STEPS]
        for place in ("before", "after") if normalised else ("before",):
            table = np.sort([[[draw.gauss(0, 1) for _ in LEVELS] for _ in range(4)] for _ in STEPS], axis=2)
            values[f"{layer} {place}"] = table
            name = f"percentiles_{place}_normalisation"
            attrs = {"run": "r", "layer": layer, "x": LEVELS, "batch": "fixed"}
            arrays.append(xr.DataArray(table, dims=("step", "unit", "level"), coords={"step": list(STEPS)}, name=name))
            arrays[-1].attrs = attrs
    runs = made(rows, {"r": {**BASE, "steps": 200}})

    def read(metric: str, names: Any, batch: str, layers: Any) -> list[xr.DataArray]:
        assert batch == "fixed"
        return [a for a in arrays if a.name == metric and a.attrs["run"] in names and a.attrs["layer"] in layers]

    return Runs(runs.table, runs.each, runs._trained, read), values


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_travel_and_spread_of_what_enters_the_last_sigmoid(seed: int, normalised: bool) -> None:
    runs, values = with_percentiles(seed, normalised=normalised, below=55)
    table = values["fc10 after" if normalised else "fc10 before"]
    travels, ranges = [], []
    for unit in range(4):
        # the median over five recorded losses is below 2 from step 55 on, so 60 is the first probed one
        told = [table[i][unit] for i, step in enumerate(STEPS) if step >= 60]
        moved = sum(abs(b[1] - a[1]) for a, b in itertools.pairwise(told))
        travels.append(moved / ((told[-1][2] - told[-1][0]) / 2))
        spreads = [one[2] - one[0] for one in told]
        ranges.append(math.log(max(spreads) / min(spreads)))
    assert float(own.median_travel().of(runs)["r"]) == pytest.approx(twin.median(travels))
    assert float(own.spread_range().of(runs)["r"]) == pytest.approx(twin.median(ranges))


@pytest.mark.parametrize("below", [130, 1000])
def test_a_run_that_stays_on_its_plateau_or_leaves_it_late_has_no_travel(below: float) -> None:
    """From step 130 on there are seven probed steps, one too few."""
    runs, _ = with_percentiles(0, normalised=True, below=below)
    assert math.isnan(own.median_travel().of(runs)["r"])


def test_the_least_over_some_values_is_of_each_seed_by_itself() -> None:
    losses = {
        0: {0.1: 3.0, 1.0: 1.0, 10.0: 2.0, 30.0: 0.1},
        1: {0.1: 0.5, 1.0: 4.0, 10.0: 2.0},
        2: {0.1: 1.0, 10.0: 1.0},
    }
    rows, trained, facts = [], {}, {}
    for seed, at in losses.items():
        for rate, loss in at.items():
            run = f"{seed}-{rate}"
            trained[run], facts[run] = {**BASE, "optim.lr": rate}, {"seed": seed}
            rows.append(row(run, 0, "data_loss", loss))
    found = own.least(final("data_loss", "train"), "optim.lr", (0.1, 1.0, 10.0)).by_seed(made(rows, trained, facts))
    expected = {0: 1.0, 1: 0.5, 2: math.nan}  # 30 is not asked; a seed that lacks a rate had fewer tries
    assert found["number"].to_dict() == pytest.approx(expected, nan_ok=True)
    assert found["low"].equals(found["high"])
    unasked = own.least(final("data_loss", "train"), "optim.lr", (0.1, 3.0)).by_seed(made(rows, trained, facts))
    assert unasked["number"].isna().all()


def test_a_scale_at_which_a_seed_had_fewer_tries_is_not_among_its_scales() -> None:
    """As where another experiment has runs of one rate at a scale of its own: seed 0 was not run there, for this."""
    tries = {(gain, rate): 0.1 for gain in (0.1, 1.0, 10.0) for rate in (0.1, 1.0, 10.0)}
    tries |= {(100.0, rate): 5.0 for rate in (0.1, 1.0, 10.0)}
    rows, trained, facts = [], {}, {}
    for seed, more in ((0, {(3.0, 1.0): 9.0}), (1, {(3.0, rate): 9.0 for rate in (0.1, 1.0, 10.0)}), (2, {})):
        for (gain, rate), loss in {**tries, **more}.items():
            run = f"{seed}-{gain}-{rate}"
            trained[run], facts[run] = {**BASE, "model.gain": gain, "optim.lr": rate}, {"seed": seed}
            rows.append(row(run, 0, "data_loss", loss))
    least = own.least(final("data_loss", "train"), "optim.lr", (0.1, 1.0, 10.0))
    found = width(least, "model.gain", below=1.0).by_seed(made(rows, trained, facts))
    assert found["number"].to_dict() == pytest.approx({0: 2.0, 1: 1.0, 2: 2.0})  # decades; seed 1 fails at 3


def test_what_is_left_of_the_loss_and_how_far_it_moved() -> None:
    losses = [2.0, 2.5, 1.9, 0.5, 1.0]
    rows = [row("r", step, "data_loss", loss) for step, loss in enumerate(losses)]
    assert number(own.loss_left(), rows[::-1]) == 0.5
    assert number(own.loss_moved(), rows) == max(abs(loss - 2.0) for loss in losses) / 2.0


def test_the_exponent_of_a_bias() -> None:
    """Layers that grow with the step to the power of 1, 0.5 and 2; at step 0 a bias is 0."""
    rows = [
        row("r", step, "bias_norm", 0.3 * step**power, layer=layer)
        for step in STEPS
        for layer, power in (("a", 1.0), ("b", 0.5), ("c", 2.0))
    ]
    assert number(own.growth_exponent(), rows) == pytest.approx(1.0)
    assert math.isnan(number(own.growth_exponent(), [r for r in rows if r["step"] < 80]))


@pytest.mark.parametrize(
    ("at_0", "at_10", "expected"), [(1.0, 2.0, 3.0), (math.nan, math.nan, 3.0), (math.nan, 2.0, math.nan)]
)
def test_the_greatest_size_over_layers_and_steps(at_0: float, at_10: float, expected: float) -> None:
    """A layer that the metric does not speak of is left out; a NaN among numbers is no number."""
    values = {("a", 0): 1.0, ("a", 10): -3.0, ("b", 0): at_0, ("b", 10): at_10}
    rows = [row("r", step, "bias_gradient_share", value, layer=layer) for (layer, step), value in values.items()]
    assert number(own.greatest("bias_gradient_share", "pull"), rows) == pytest.approx(expected, nan_ok=True)


def test_detached_statistics_are_named_as_claims_name_them() -> None:
    trained = {"a": {**BASE, "norm.detach": "none"}, "b": {**BASE, "norm.detach": "mean"}}
    runs = made([], trained, defaults={run: {"norm.detach": "none"} for run in trained})
    assert [arm.name for arm in arms(runs)] == ["batch", MEAN_DETACHED.name]


def test_no_run_is_of_a_known_arm_and_of_its_normalisation_too() -> None:
    """An order of batches that no known arm has makes an arm of its own, beside one that names its order."""
    orders = {"a": "reshuffled", "b": "alternating", "c": "sorted"}
    trained = {run: {**BASE, "norm": "batch", "data.order": order} for run, order in orders.items()}
    known = Arm.of("whole batches", {"norm": "batch", "data.order": "reshuffled"})
    runs = made([], trained)
    found = {arm.name: arm.runs(runs) for arm in known_and_norms(runs, (known,))}
    assert found == {"whole batches": ["a"], "batch": ["b"], "batch order=sorted": ["c"]}


def test_the_radial_share_is_the_greatest_cosine_of_a_hidden_layer() -> None:
    values = {("fc1", 0): (0.3, 2.0, 0.5), ("fc2", 10): (-0.2, 1.0, 0.4), ("head", 0): (9.0, 1.0, 9.0)}
    rows = [
        row("r", step, metric, value, layer=layer)
        for (layer, step), three in values.items()
        for metric, value in zip(("weight_gradient_product", "weight_norm", "gradient_norm"), three, strict=True)
    ]
    assert number(own.radial_share(), rows) == pytest.approx(max(0.3 / (2.0 * 0.5), 0.2 / (1.0 * 0.4)))
    lost = [row("r", 20, "weight_gradient_product", math.nan, layer="fc1")]
    lost += [row("r", 20, metric, 1.0, layer="fc1") for metric in ("weight_norm", "gradient_norm")]
    assert math.isnan(number(own.radial_share(), rows + lost))


def test_how_far_an_evaluation_moves_the_last_test_loss() -> None:
    rows = [row("r", step, "data_loss", loss, batch="test") for step, loss in ((0, 2.0), (100, 0.5))]
    rows.append(row("r", 100, "data_loss", 0.4, batch="test, folded"))
    assert number(own.moved_by("folded"), rows) == pytest.approx(0.2)
    rows[-1] = row("r", 100, "data_loss", math.nan, batch="test, folded")
    earlier = row("r", 0, "data_loss", 0.4, batch="test, folded")
    assert math.isnan(number(own.moved_by("folded"), [*rows, earlier])), "not what it was before"


@pytest.mark.parametrize("when", [0, -1])
def test_spread_and_scale_of_singular_values(when: int) -> None:
    """By loops, of the first or the last step; a value of 0 is left out."""
    draw = random.Random(1)
    rows, arrays, spreads, scales = [], [], [], []
    for layer in ("fc2", "fc3"):
        rows += [row("r", step, "singular_value_largest", 1.0, layer=layer) for step in (0, 100)]
        table = [[[math.exp(draw.gauss(0.3, 1)) for _ in range(5)] for _ in range(3)] for _ in range(2)]
        table[when][0][4] = 0.0
        for sample in table[when]:
            logs = [math.log(value) for value in sample if value > 0]
            middle = sum(logs) / len(logs)
            spreads.append(math.sqrt(sum((one - middle) ** 2 for one in logs) / len(logs)))
            squares = [value**2 for value in sample if value > 0]
            scales.append(abs(math.log10(math.sqrt(sum(squares) / len(squares)))))
        arrays.append(xr.DataArray(table, dims=("step", "sample", "place"), coords={"step": [0, 100]}))
        arrays[-1].attrs = {"run": "r", "layer": layer, "x": None, "batch": "train"}
    runs = made(rows, {"r": {**BASE, "steps": 200}})

    def read(metric: str, names: Any, batch: str, layers: Any) -> list[xr.DataArray]:
        assert (metric, batch, list(names)) == ("singular_values", "train", ["r"])
        return [array for array in arrays if array.attrs["layer"] in layers]

    runs = Runs(runs.table, runs.each, runs._trained, read)
    moment = START if when == 0 else END
    assert float(spread(moment).of(runs)["r"]) == pytest.approx(twin.median(spreads))
    assert float(scale(moment).of(runs)["r"]) == pytest.approx(twin.median(scales))


def test_the_gap_is_the_fall_of_the_last_tenths_medians() -> None:
    accuracies = {"train": {0: 0.1, 90: 0.9, 95: 1.0, 100: 0.8}, "test": {0: 0.1, 100: 0.7}}
    rows = [
        row("r", step, "accuracy", value, batch=batch)
        for batch, own_rows in accuracies.items()
        for step, value in own_rows.items()
    ]
    assert number(own.generalisation_gap(), rows) == pytest.approx(0.9 - 0.7)
