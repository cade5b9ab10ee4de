"""Derived quantities against loops in plain Python: relative forms, step lengths, learning rates, bands over a line."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray

from analysis import derived
from analysis.drawing import layers as drawn_layers
from analysis.drawing import ridges as drawn_ridges
from analysis.drawing import rows as drawn_rows
from analysis.drawing.panel import bands, of_setting
from analysis.runs import Runs
from analysis.select import settings
from analysis.studies.santurkar2018.figures import (
    beta_grids,
    fig04_landscape,
    fig08_moments,
    fig11_gradient_difference,
    random_directions,
    relative_forms,
    theory_terms,
)
from tests import measure_twins as twins
from tests.made_table import BASE, awkward, four, made, row

RUNS = [f"r{i}" for i in range(4)]


def told(rows: pd.DataFrame, *keys: str) -> dict[Any, float]:
    """The values by keys, each there once."""
    found = {tuple(getattr(one, key) for key in keys): one.value for one in rows.itertuples()}
    assert len(found) == len(rows)
    return found


def expected(rows: list[dict[str, Any]], *keys: str) -> dict[Any, float]:
    found = {tuple(one[key] for key in keys): one["value"] for one in rows}
    assert len(found) == len(rows)
    return found


def same(found: dict[Any, float], other: dict[Any, float]) -> None:
    assert found.keys() == other.keys()
    assert len(found) > 20
    assert list(found.values()) == pytest.approx([other[key] for key in found], nan_ok=True)


def test_what_enters_the_activation() -> None:
    rows = awkward(1, ["m_before_normalisation"], by_layer=True, batches=("train", "fixed"))
    after = awkward(2, ["m_after_normalisation"], by_layer=True, batches=("train", "fixed"))
    runs = four(rows)
    same(
        told(derived.entering_activation(runs, "m"), "run", "step", "layer"),
        expected(twins.entering(rows, "m", "train"), "run", "step", "layer"),
    )
    rows += [one for one in after if one["layer"] == "conv2" or (one["run"], one["layer"]) == ("r0", "fc")]
    for batch in ("train", "fixed"):
        same(
            told(derived.entering_activation(four(rows), "m", batch), "run", "step", "layer"),
            expected(twins.entering(rows, "m", batch), "run", "step", "layer"),
        )


def test_relative_to_the_same_step_and_layer() -> None:
    by_layer = awkward(3, ["m"], by_layer=True)
    along = awkward(4, ["line"], by_x=True)
    norms = awkward(5, ["norm"], by_layer=True, whole_too=True)
    norms = [{**one, "value": 0.0} if one["step"] % 5 == 0 else one for one in norms]
    runs = four(by_layer + along + norms)
    for rows, metric, keys in ((by_layer, "m", ("run", "step", "layer")), (along, "line", ("run", "step", "x"))):
        found = derived.relative(runs.records(metric), runs.records("norm"))
        same(told(found, *keys), expected(twins.divided(twins.of(rows, metric), twins.of(norms, "norm")), *keys))
    assert set(found.columns) == set(runs.records("line").columns)


@pytest.mark.parametrize("batch", ["train", "fixed"])
def test_in_standard_deviations_of_the_layer(batch: str) -> None:
    variance = [
        row(run, s, "variance_before_normalisation", 4.0, layer="a", batch=batch) for run in RUNS for s in (1, 2)
    ]
    variance += [row("r0", s, "variance_after_normalisation", 9.0, layer="a", batch=batch) for s in (1, 2)]
    rows = [row(run, s, "m", 12.0, layer="a", batch=batch) for run in RUNS for s in (1, 2, 3)]
    runs = four(rows + variance)
    found = derived.in_deviations(runs, runs.records("m"), batch)
    assert told(found, "run", "step") == {(run, s): 4.0 if run == "r0" else 6.0 for run in RUNS for s in (1, 2)}


@pytest.mark.parametrize("how", ["max", "min", "range", "first", "last"])
@pytest.mark.parametrize("grid", [None, (0.5, 4.0)])
def test_over_a_line(how: str, grid: tuple[float, float] | None) -> None:
    rows = awkward(6, ["m"], by_x=True)
    rows = [{**one, "value": math.nan} if one["step"] % 7 == 0 else one for one in rows]
    runs = four(rows)
    found = derived.over_line(derived.along_line(runs.records("m"), grid), how)
    low, high = grid or (0.0, math.inf)
    other = {}
    for place, own in twins.by(twins.of(rows, "m"), "run", "step").items():
        points = {one["x"]: one["value"] for one in own if one["x"] > 0 and low <= one["x"] <= high}
        if points:
            other[place] = twins.over_line(points, how)
    same(told(found, "run", "step"), other)
    empty = derived.over_line(runs.records("gone"), how)
    assert list(empty.columns) == ["run", "step", "value"]
    assert not len(empty)


def test_what_fails_is_infinite() -> None:
    rows = pd.DataFrame({"value": [1.0, math.nan, -math.inf]})
    assert derived.failing_is_infinite(rows)["value"].tolist() == [1.0, math.inf, -math.inf]


# ------------------------------------------------------------------------------------------------------- learning rates


def runs_with_rates() -> Runs:
    """constant; cosine, recorded but for one step; cosine, never recorded; constant, where a record says otherwise."""
    trained = {
        "constant": {**BASE, "optim.lr": 0.1},
        "cosine": {**BASE, "optim.lr": 0.1, "optim.schedule": "cosine"},
        "unknown": {**BASE, "optim.lr": 0.1, "optim.schedule": "cosine"},
        "warm": {**BASE, "optim.lr": 0.1},
        "old": {key: value for key, value in BASE.items() if key != "optim.schedule"},
        "without": {key: value for key, value in BASE.items() if key != "optim.lr"},
    }
    rows = [row(run, step, "m", 3.0, x=x) for run in trained for step in (0, 1, 2) for x in (0.5, 4.0)]
    rows += [row("cosine", step, "learning_rate", rate) for step, rate in ((0, 0.1), (1, 0.05))]
    rows += [{**row("cosine", 0, "learning_rate", 0.1), "probe": "training"}]
    rows += [row("warm", 1, "learning_rate", 0.02)]
    return made(rows, trained)


RATES = {
    ("constant", 0): 0.1,
    ("constant", 1): 0.1,
    ("constant", 2): 0.1,
    ("cosine", 0): 0.1,
    ("cosine", 1): 0.05,
    ("cosine", 2): math.nan,
    ("unknown", 0): math.nan,
    ("unknown", 1): math.nan,
    ("unknown", 2): math.nan,
    ("warm", 0): 0.1,
    ("warm", 1): 0.02,
    ("warm", 2): 0.1,
    ("old", 0): 0.1,
    ("old", 1): 0.1,
    ("old", 2): 0.1,
    ("without", 0): math.nan,
    ("without", 1): math.nan,
    ("without", 2): math.nan,
}


def test_the_effective_rate_is_the_rate_over_the_squared_norm() -> None:
    rows = [row("a", step, "weight_norm", norm, layer="fc1") for step, norm in ((0, 2.0), (4, 0.5))]
    rows += [row("a", 4, "learning_rate", 0.02), row("a", 0, "learning_rate", 0.1)]
    runs = made(rows, {"a": {**BASE, "optim.schedule": "step"}})
    assert derived.effective_rate(runs)["value"].tolist() == pytest.approx([0.1 / 2.0**2, 0.02 / 0.5**2])
    # groups with rates of their own: lr_t is not every layer's; groups without are no matter
    for group, known in (({"match": "head*", "lr": 0.5}, False), ({"match": "head*", "train": False}, True)):
        grouped = made(rows, {"a": {**BASE, "optim.schedule": "step", "optim.groups": [group]}})
        assert derived.effective_rate(grouped)["value"].notna().tolist() == [known, known]


def test_the_learning_rate_is_that_of_the_step() -> None:
    runs = runs_with_rates()
    rows = runs.records("m")
    rates = [RATES[run, step] for run, step in zip(rows["run"], rows["step"], strict=True)]
    assert len(rates) == 36
    assert derived.learning_rate(runs, rows) == pytest.approx(rates, nan_ok=True)
    lengths = [rate * x for rate, x in zip(rates, rows["x"], strict=True)]
    assert derived.step_length(runs, rows) == pytest.approx(lengths, nan_ok=True)
    assert derived.in_rates(runs, rows)["value"].tolist() == pytest.approx([3 * r for r in rates], nan_ok=True)


# ------------------------------------------------------------------------------------------- numbers of the figures


def test_axes_in_step_lengths_follow_the_schedule() -> None:
    trained = {f"s{seed}": {**BASE, "optim.schedule": "cosine"} for seed in range(3)}
    facts = {f"s{seed}": {"seed": seed} for seed in range(3)}
    rows = [
        row(r, s, "gradient_difference", (1.0, 2.0, 30.0)[i] * x, x=x)
        for i, r in enumerate(trained)
        for s in (0, 9)
        for x in (-1, 0, 1, 2)
    ]
    rows += [row(run, step, "learning_rate", rate) for run in trained for step, rate in ((0, 0.1), (9, 0.02))]
    (fan,) = fig11_gradient_difference.compute(made(rows, trained, facts)).fans
    assert fan.steps.tolist() == [0, 9]
    assert fan.eta == pytest.approx(np.array([[0.1, 0.2], [0.02, 0.04]]))
    assert fan.median == pytest.approx(np.array([[2.0, 4.0], [2.0, 4.0]]))
    assert fan.runs == 3


def test_bands_are_least_and_greatest_over_the_step_lengths() -> None:
    rows = awkward(7, ["m"], by_x=True)
    runs = four(rows)
    (setting,) = settings(runs, free=("steps",))
    (band,) = bands(derived.along_line(runs.records("m")), setting)
    for curve, how in ((band.low, "min"), (band.high, "max")):
        lines: dict[str, dict[int, float]] = {run: {} for run in RUNS}
        for (run, step), own in twins.by([o for o in twins.of(rows, "m") if o["x"] > 0], "run", "step").items():
            lines[run][step] = twins.over_line({one["x"]: one["value"] for one in own}, how)
        assert curve.steps.tolist() == sorted({step for line in lines.values() for step in line})
        end = min(max(line) for line in lines.values())
        for place, step in enumerate(curve.steps):
            expected = [twins.at_step(lines[run], step) for run in RUNS]
            assert [curve.each[curve.runs.index(run)][place] for run in RUNS] == pytest.approx(expected, nan_ok=True)
            middle = twins.median(expected) if step <= end else math.nan
            assert curve.median[place] == pytest.approx(middle, nan_ok=True)


def three(rows_of: Any, task: str = "classification") -> Runs:
    """Three seeds of batch normalisation, whose rows `rows_of` gives by run and seed."""
    trained = {f"s{seed}": BASE for seed in range(3)}
    facts = {f"s{seed}": {"seed": seed, "task": task} for seed in range(3)}
    return made([r for seed, run in enumerate(trained) for r in rows_of(run, seed)], trained, facts)


def medians(data: Any) -> dict[tuple[str, str], list[float]]:
    """Quantity and curve -> median over the seeds, by step."""
    parts = data.table().groupby(["quantity", "curve"], sort=False)
    return {(str(quantity), str(curve)): part["median"].tolist() for (quantity, curve), part in parts}


def test_the_landscape_is_drawn_from_least_to_greatest_and_beta_at_its_greatest() -> None:
    values = {-1.0: 900.0, 0.25: 900.0, 0.5: 3.0, 1.0: 7.0, 2.0: 2.0, 4.0: 5.0}  # published: from 0.5; median: seed 1
    metrics = ("landscape_loss", "gradient_difference", "effective_beta", "gradient_cosine")

    def rows(run: str, seed: int) -> list[dict[str, Any]]:
        lines = [row(run, 0, m, value + 10 * seed**2, x=x) for m in metrics for x, value in values.items()]
        wrong = [row(run, 0, "gradient_norm", 99.0, **{key: "x"}) for key in ("layer", "batch")]
        return [*lines, row(run, 0, "gradient_norm", 2.0), *wrong]

    runs = three(rows)
    found = medians(fig04_landscape.compute(runs))
    assert found == {
        ("loss along −g", "low"): [12.0],
        ("loss along −g", "high"): [17.0],
        ("difference ‖g′ − g‖", "low"): [12.0],
        ("difference ‖g′ − g‖", "high"): [17.0],
        ("effective β", ""): [17.0],
    }
    found = medians(relative_forms.compute(runs))
    assert found["gradient norm ‖g‖", ""] == [2.0]
    assert (found["‖g′ − g‖ / ‖g‖", "low"], found["‖g′ − g‖ / ‖g‖", "high"]) == ([6.0], [8.5])
    assert (found["cos(g′, g)", "low"], found["cos(g′, g)", "high"]) == ([12.0], [17.0])


def test_along_random_directions_the_extremes_of_all_of_them() -> None:
    def rows(run: str, seed: int) -> list[dict[str, Any]]:
        lines = {"": 5.0, "_along_random_0": 1.0, "_along_random_1": 3.0}
        return [row(run, 0, f"landscape_loss{s}", v * x, x=x) for s, v in lines.items() for x in (0.5, 1.0, 2.0, 4.0)]

    found = medians(random_directions.compute(three(rows)))
    assert (found["loss along −g", "low"], found["loss along −g", "high"]) == ([2.5], [20.0])
    assert (found["loss along random", "low"], found["loss along random", "high"]) == ([0.5], [12.0])


def test_terms_of_the_theorem_as_shares_of_the_scaling_term() -> None:
    terms = {"scaling_term": 4.0, "mean_term": 1.0, "correlation_term": 0.5, "activation_gradient_squared": 2.5}

    def rows(run: str, seed: int) -> list[dict[str, Any]]:
        return [row(run, 0, m, v * (1 + i), layer=layer) for m, v in terms.items() for i, layer in enumerate("ab")]

    found = medians(theory_terms.compute(three(rows)))
    for name, share in (("mean term", 0.25), ("correlation term", 0.125), ("‖∂L/∂y‖²", 0.625)):
        assert found[f"{name} / scaling term", "a"] == found[f"{name} / scaling term", "b"] == [share]


def test_moments_since_the_start() -> None:
    runs = three(lambda run, seed: [row(run, step, "m", 0.0) for step in range(3)])
    (setting,) = settings(runs)
    unit = fig08_moments.chosen_unit("conv1", 5)
    assert unit == zlib.crc32(b"conv1") % 5
    values = np.zeros((3, 5))
    values[:, unit] = (2.0, 3.0, 1.5)
    own = {"run": "s0", "layer": "conv1", "unit": "1"}

    def read(metric: str, names: Any, batch: str, layers: Any) -> Any:
        array = xarray.DataArray(values, dims=("step", "unit"), coords={"step": [0, 4, 8]}, attrs=own)
        return [array] if (metric, batch) == ("unit_mean_before_normalisation", "train") else []

    runs._read = read
    found = fig08_moments.since_start(runs, "unit_mean", setting, ["conv1"])
    assert found[["run", "step", "value"]].values.tolist() == [["s0", 0, 0.0], ["s0", 4, 1.0], ["s0", 8, -0.5]]


def test_plateaus_of_the_effective_beta() -> None:
    """1 / eta on every grid: 2/lr, 4/lr, 20/lr on grids from lr/2, lr/4, lr/20; in the last quarter a tenth more."""
    trained = {f"s{seed}": BASE for seed in range(3)}
    rows = [
        row(run, step, "effective_beta", (1.1 if step >= 75 else 1.0) * 10 / x, x=x)
        for run in trained
        for step in (0, 25, 50, 74, 75, 100)
        for x in (0.05, 0.25, 0.5, 1.0, 4.0, 5.0)
    ]
    rows += [row(run, step, "effective_beta_limit_by_hessian", 7.0) for run in trained for step in (0, 50, 100)]
    (column,) = beta_grids.compute(made(rows, trained, {f"s{seed}": {"seed": seed} for seed in range(3)})).columns
    (panel,) = column.panels
    assert [curve.label for curve in panel.curves] == ["from lr/2", "from lr/4", "from lr/20", "limit ‖Hg‖/‖g‖"]
    assert [beta_grids.plateau(curve) for curve in panel.curves] == pytest.approx([22, 44, 220, 7])
    assert panel.notes[0].replace("\N{NO-BREAK SPACE}", " ") == (
        "last quarter × lr: lr/2: 2.2, lr/4: 4.4, lr/20: 22, limit ‖Hg‖/‖g‖: 0.7"
    )
    assert [level for _, level in panel.levels] == pytest.approx([20, 40, 200])


def test_the_published_grid_of_step_lengths_or_all_that_is_recorded() -> None:
    rows = [row("r0", step, "m", x, x=x) for step in range(3) for x in (-1.0, 0.0, 0.5, 1.004, 2.0, 4.0, 8.0)]
    runs = four(rows)
    (setting,) = settings(runs, free=("steps",))
    shown, words = drawn_rows.step_lengths(runs, "m", setting, (0.5, 1.0, 2.0, 4.0))
    assert sorted(set(shown["x"])) == [0.5, 1.004, 2.0, 4.0]
    assert words == "the published step lengths 0.5, 1, 2, 4 × lr"
    shown, words = drawn_rows.step_lengths(runs, "m", setting, (0.5, 3.0))
    assert sorted(set(shown["x"])) == [0.5, 1.004, 2.0, 4.0, 8.0]
    assert "the published grid is not recorded" in words
    assert drawn_rows.step_lengths(runs, "gone", setting, (1.0,))[1] == ""
    assert len(of_setting(runs.records("m"), setting)) == len(rows)


def test_layers_at_the_relative_depth_of_a_publication() -> None:
    names = [f"conv{i}" for i in range(1, 14)] + ["fc1", "head"]
    exact = drawn_layers.layers_at(names, (1, 5, 10, 13), 13)
    assert [(layer.name, layer.label) for layer in exact] == [(f"conv{i}", f"conv{i}") for i in (1, 5, 10, 13)]
    short = drawn_layers.layers_at([f"conv{i}" for i in range(1, 5)], (1, 5, 9, 13), 13)
    assert [layer.label for layer in short] == [f"conv{i} (for {n})" for i, n in ((1, 1), (2, 5), (3, 9), (4, 13))]
    assert [layer.name for layer in drawn_layers.layers_at(["a1", "a2"], (1, 2, 13), 13)] == ["a1", "a2"]
    assert drawn_layers.spread([f"l{i}" for i in range(1, 12)], 3) == ["l1", "l6", "l11"]
    assert drawn_layers.depth_order(["fc1", "head"]) == ["fc1"]
    assert drawn_layers.depth_order(["head"]) == ["head"]


def test_densities_integrate_to_what_lies_within_the_edges() -> None:
    counts = np.array([[2.0, 1.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    density, outside = drawn_ridges.densities(counts, np.array([0.0, 0.5, 2.5]))
    assert density[0].tolist() == pytest.approx([0.1 / 0.5, 0.3 / 2.0])
    assert outside[0] == pytest.approx(0.6)
    assert np.isnan(density[1]).all()
    assert drawn_ridges.shown_steps(np.arange(100), 4).tolist() == [0, 33, 66, 99]
    assert drawn_ridges.shown_steps(np.arange(3), 4).tolist() == [0, 1, 2]
