"""Steps to a loss, the first most predicted class, a quadratic loss read off paths; how figures tell their arms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from analysis.runs import Runs
from analysis.studies.lecun1998.claims import LEVEL, TO_LEVEL
from analysis.studies.lecun1998.figures import descent_paths, prepared_inputs
from analysis.studies.lecun1998.own_measures import steps_to_loss
from analysis.studies.mishkin2016.figures import placements, shapes_normalised
from analysis.studies.mishkin2016.own_measures import most_predicted
from tests import measure_twins as twin
from tests.made_table import BASE, accuracies, four, made, row

# ------------------------------------------------------------------------------------------------------------- measures


@pytest.mark.parametrize("level", [2.0, 0.5, 0.01])
@pytest.mark.parametrize("seed", range(3))
def test_steps_to_a_loss_are_the_first_at_which_the_median_of_five_is_there(seed: int, level: float) -> None:
    rows = accuracies(seed)
    runs, measure = four(rows), steps_to_loss(level)
    found, never, coarse = measure.of(runs), measure.bound(runs), measure.resolution
    assert coarse is not None
    for run in runs.each.index:
        own = sorted((r["step"], r["value"]) for r in twin.of(rows, "data_loss", "train") if r["run"] == run)
        losses, reached = [loss for _, loss in own], math.inf
        for place, (step, _) in enumerate(own):
            reach = min(place, len(own) - 1 - place, 2)
            if twin.median(losses[place - reach : place + reach + 1]) <= level:
                reached = min(reached, step)
        every = twin.grid_step(rows, run)
        assert never[run] == math.isinf(reached)
        assert found[run] == max(runs.steps[run] if math.isinf(reached) else reached, every)
        assert coarse(runs)[run] == every - 1
    assert never.any() == (level < 0.5) or level == 0.5


def test_no_loss_has_no_steps_to_it_and_a_diverged_run_never_comes_there() -> None:
    rows = [row("r0", step, "accuracy", 0.1) for step in (0, 1)]
    rows += [row("r1", step, "data_loss", math.inf) for step in (0, 1)]
    rows += [row("r1", step, "accuracy", 0.1) for step in (0, 1)]
    runs = four(rows, diverged=["r1"])
    found = steps_to_loss(0.1).of(runs)
    assert found["r1"] == runs.steps["r1"]
    assert math.isnan(found["r2"])
    assert steps_to_loss(0.1).bound(runs)["r1"]


def test_what_an_untrained_network_predicts_is_the_first_recorded_share() -> None:
    rows = [row("r0", step, "most_predicted_share", 0.2 + step) for step in (5, 0, 9)]
    rows += [row("r0", 0, "most_predicted_share", 0.7, batch="fixed")]
    assert most_predicted().of(made(rows, {"r0": BASE}))["r0"] == 0.2


# ---------------------------------------------------------------------------------------------------------------- paths


def descended(rate: float, curvature: np.ndarray, optima: np.ndarray, steps: int = 12) -> np.ndarray:
    """[steps, targets, 2]: gradient descent from one start, a step at a time."""
    weights = [np.tile([0.3, -0.8], (len(optima), 1)) + np.arange(len(optima))[:, None] * 0.1]
    for _ in range(steps - 1):
        weights.append(weights[-1] - rate * (weights[-1] - optima) @ curvature)
    return np.array(weights)


OPTIMA = np.array([[1.0, 2.0], [-0.5, 0.7], [2.0, -1.0], [0.0, 0.4]])


@pytest.mark.parametrize("curvature", [np.diag([4.0, 0.2]), np.array([[2.0, 0.7], [0.7, 1.0]]), np.eye(2)])
def test_a_quadratic_loss_is_read_off_the_paths_of_several_targets(curvature: np.ndarray) -> None:
    """Even where each goes straight to its optimum, in one step or in several."""
    for rate in (0.1, 0.4, 1.0 if (curvature == np.eye(2)).all() else 0.2):
        found = descent_paths.bowl(descended(rate, curvature, OPTIMA))
        assert found is not None
        np.testing.assert_allclose(found.curvature, rate * curvature, atol=1e-6)
        np.testing.assert_allclose(found.optimum, OPTIMA[0], atol=1e-5)
        around = found.contour(0.3)
        assert np.allclose([found.above(point) for point in around], 0.3)
        assert np.allclose(around[0], around[-1])
        assert len(np.unique(around.round(6), axis=0)) == len(around) - 1


def test_paths_that_do_not_tell_the_loss_have_no_contours() -> None:
    straight = descended(0.4, np.eye(2), OPTIMA[:1])
    assert descent_paths.bowl(straight) is None, "one direction says nothing of the other"
    assert descent_paths.bowl(descended(0.4, np.diag([1.0, -0.5]), OPTIMA)) is None, "there is no optimum"
    assert descent_paths.bowl(np.full((5, 2, 2), np.nan)) is None
    assert descent_paths.bowl(straight[:1]) is None


def with_paths(paths: dict[tuple[Any, float, int], np.ndarray], every: int = 1) -> Runs:
    """Runs by way of preparing the inputs, rate and seed, whose weights took these paths; losses fall with the rate."""
    rows, trained, facts, arrays = [], {}, {}, []
    for (way, rate, seed), path in paths.items():
        run = f"{way}-{rate}-{seed}"
        trained[run] = {**BASE, "norm": "none", "model": "linear_neuron", "data.standardise": way, "optim.lr": rate}
        facts[run] = {"seed": seed, "task": "regression"}
        steps = [every * step for step in range(len(path))]
        rows += [row(run, step, "weight_norm", 1.0, layer="neuron") for step in steps]
        rows += [row(run, step, "data_loss", 1 / rate) for step in steps]
        attrs = {"run": run, "layer": "neuron", "batch": "train", "x": None, "unit": "parameter"}
        arrays.append(
            xr.DataArray(
                path, dims=("step", "unit", "input"), coords={"step": steps}, name="weight_values", attrs=attrs
            )
        )
    base = made(rows, trained, facts)

    def read(metric: str, names: Any, batch: str, layers: Any) -> list[xr.DataArray]:
        return [a for a in arrays if a.name == metric and a.attrs["run"] in names and a.attrs["layer"] in layers]

    return Runs(base.table, base.each, base._trained, read)


def test_the_lowest_seeds_path_at_the_rate_of_the_least_loss_is_drawn_with_contours() -> None:
    steep = np.diag([2.0, 0.5])
    paths = {
        (way, rate, seed): descended(rate, steep if way is False else np.eye(2), OPTIMA + seed)
        for way in (False, "whitened")
        for rate in (0.2, 0.4)
        for seed in (0, 1)
    }
    data = descent_paths.compute(with_paths(paths))
    assert [column.title for column in data.columns] == ["raw", "whitened"]
    for column, way in zip(data.columns, (False, "whitened"), strict=True):
        (panel,) = column.panels
        (curve,) = panel.curves
        path = paths[way, 0.4, 0][:, 0]
        assert curve.steps.tolist() == path[:, 0].tolist()
        assert curve.each[0].tolist() == path[:, 1].tolist()
        assert len(panel.expected) == 4
        curvature = steep if way is False else np.eye(2)
        away = path[0] - OPTIMA[0]
        for line, share in zip(panel.expected, (1, 1 / 4, 1 / 16, 1 / 64), strict=True):
            points = np.stack([line.steps, line.values], axis=1) - OPTIMA[0]
            heights = np.einsum("pi,ij,pj->p", points, curvature, points)
            np.testing.assert_allclose(heights, share * (away @ curvature @ away), rtol=1e-4)
        assert "learning rate 0.4" in panel.notes
    figure = Figure(layout="constrained")
    descent_paths.draw(data, figure)
    figure.draw_without_rendering()
    for axes in figure.axes:  # a circle in the weights is one on paper
        (left, low), (right, high) = axes.transData.transform([(0, 0), (1, 1)])
        assert right - left == pytest.approx(high - low, rel=1e-6)
    (column, _) = descent_paths.compute(with_paths(paths, every=2)).columns
    assert not column.panels[0].expected, "steps that were left out are no updates"


# ----------------------------------------------------------------------------------------------------------------- arms


def test_inputs_are_drawn_at_the_rate_at_which_the_pilots_are_quickest() -> None:
    rows, trained, facts = [], {}, {}
    for way, quick in (("whitened", 0.1), (False, 0.2)):
        for rate in (0.1, 0.2, 0.4):
            for seed in range(3):
                run = f"{way}-{rate}-{seed}"
                trained[run] = {**BASE, "norm": "none", "optim.lr": rate, "data.standardise": way, "steps": 60}
                facts[run] = {"seed": seed}
                reached = 20 if rate == quick else 40
                if seed == 2:  # which is no pilot
                    reached = 10 if rate == 0.4 else 50
                losses = [1.0 if step < reached else LEVEL / 2 for step in range(60)]
                rows += [row(run, step, "data_loss", loss) for step, loss in enumerate(losses)]
                rows += [row(run, step, "accuracy", 1.0 - loss / 2) for step, loss in enumerate(losses)]
    training, over = prepared_inputs.compute(made(rows, trained, facts)).columns
    (learning,), (_, steps) = training.panels, over.panels
    assert any(
        "raw at 0.2; whitened at 0.1" in note or "whitened at 0.1; raw at 0.2" in note for note in learning.notes
    )
    assert sorted(curve.norm for curve in steps.curves) == ["raw", "whitened"]
    assert {len(curve.runs) for curve in learning.curves} == {3}
    expected = TO_LEVEL.of(made(rows, trained, facts))["whitened-0.1-0"]
    (whitened,) = [curve for curve in steps.curves if curve.norm == "whitened"]
    assert whitened.each[list(whitened.runs).index("seed 0"), 0] == expected == 20
    one_way = {run: values for run, values in trained.items() if run.startswith("whitened")}
    assert prepared_inputs.compute(made([r for r in rows if r["run"] in one_way], one_way, facts)).empty


def test_a_normalisation_in_two_places_is_two_arms() -> None:
    rows, trained = [], {}
    for place in ("before", "after"):
        for rate in (0.1, 0.2):
            run = f"{place}-{rate}"
            trained[run] = {**BASE, "model.placement": place, "optim.lr": rate}
            rows += [row(run, step, metric, 0.5) for step in (0, 1) for metric in ("data_loss", "accuracy")]
            value = 1.0 if place == "before" else 3.0
            for metric in ("skew", "excess_kurtosis"):
                rows += [
                    row(run, step, f"{metric}_before_normalisation", value + layer, layer=f"fc{layer}")
                    for step in (0, 1)
                    for layer in (0, 1, 2)
                ]
    runs = made(rows, trained)
    (column,) = placements.compute(runs).columns
    assert column.setting.names == ["batch (before activation)", "batch (after activation)"]
    assert all(len(panel.curves) == 2 for panel in column.panels[:1])
    for column in shapes_normalised.compute(runs).columns:
        for panel in column.panels[:2]:
            drawn = {curve.norm: curve.each[0].tolist() for curve in panel.curves}
            assert drawn == {"batch (before activation)": [2.0, 2.0], "batch (after activation)": [4.0, 4.0]}
    only = {run: values for run, values in trained.items() if run.startswith("after")}
    assert placements.compute(made([r for r in rows if r["run"] in only], only)).empty


def test_beside_a_network_that_has_no_places_no_run_is_of_two_arms() -> None:
    rows, trained, facts = [], {}, {}
    for place in ("before", "after", None):
        for rate in (0.1, 0.2):
            run = f"{place}-{rate}"
            trained[run] = {**BASE, "optim.lr": rate}
            trained[run] |= {"model": "residual_mlp"} if place is None else {"model": "mlp", "model.placement": place}
            facts[run] = {"seed": 0}
            rows += [row(run, step, metric, 0.5) for step in (0, 1) for metric in ("data_loss", "accuracy")]
    (column,) = placements.compute(made(rows, trained, facts)).columns
    assert column.setting.names == ["batch (before activation)", "batch (after activation)"]
    assert column.setting.counts == {"batch (before activation)": 2, "batch (after activation)": 2}
