"""The compute halves against slow, independent computations, number by number."""

from __future__ import annotations

import json
import math
import statistics as plain
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import published
from analysis.errors import WrongInput
from analysis.figures import (
    Runs,
    _settings,
    beta_grids,
    fig01_accuracy,
    fig04_landscape,
    fig05_lp_training,
    fig08_moments,
    fig11_gradient_difference,
    relative_forms,
    theory_terms,
)
from analysis.figures._ridges import densities
from analysis.figures._sheet import Column, Panel
from tests.made_runs import write_run
from tests.test_analysis_figures_contract import GRID, MadeUp, both


def cells(table: pd.DataFrame, metric: str) -> list[dict]:
    return table[table["metric"] == metric].to_dict("records")


def panel(column: Column, name: str) -> Panel:
    return next(p for p in column.panels if p.name.startswith(name))


def test_bands_are_medians_over_seeds_of_each_runs_extremes_on_the_papers_grid() -> None:
    made = MadeUp(seeds=3)
    found = panel(fig04_landscape.compute(made.runs()).columns[0], "loss along").bands
    assert [band.low.norm for band in found] == ["none", "batch"]
    for band in found:
        for i, step in enumerate(band.low.steps):
            values = defaultdict(list)
            for row in cells(made.table, "landscape_loss"):
                if (row["norm"], row["step"]) == (band.low.norm, step) and row["x"] in (0.5, 1.0, 2.0, 4.0):
                    values[row["run"]].append(row["value"])
            assert band.low.median[i] == plain.median(min(v) for v in values.values())
            assert band.high.median[i] == plain.median(max(v) for v in values.values())
            assert len(values) == 3


def test_effective_beta_is_the_greatest_over_each_grid() -> None:
    made = MadeUp(norms=("batch",), seeds=1)
    curves = {c.label: c for c in beta_grids.compute(made.runs()).columns[0].panels[0].curves}
    assert list(curves) == ["from lr/2", "from lr/4", "from lr/20", "limit ‖Hg‖/‖g‖"]
    rows = cells(made.table, "effective_beta")
    for start, label in ((0.5, "from lr/2"), (0.25, "from lr/4"), (0.05, "from lr/20")):
        expected = [max(r["value"] for r in rows if r["step"] == s and r["x"] >= start) for s in made.steps]
        assert curves[label].median.tolist() == expected
    limit = [r["value"] for r in cells(made.table, "effective_beta_limit_by_hessian")]
    assert curves["limit ‖Hg‖/‖g‖"].median.tolist() == limit
    made.table = made.table[made.table["x"] != 0.05].reset_index(drop=True)
    assert "no grid from lr/20" in beta_grids.compute(made.runs()).columns[0].panels[0].notes


def test_the_plateau_is_the_last_quarters() -> None:
    made = MadeUp(norms=("batch",), seeds=1, steps=tuple(range(9)))
    curve = beta_grids.compute(made.runs()).columns[0].panels[0].curves[0]
    assert beta_grids.plateau(curve) == plain.median(curve.median[6:])


def test_changes_of_moments_since_the_start_are_of_one_unit_of_the_lowest_seed() -> None:
    made = MadeUp(norms=("none", "noisy_batch"), seeds=2)
    column = fig08_moments.compute(made.runs()).columns[0]
    unit = fig08_moments.chosen_unit("conv1", 5)
    for curve in panel(column, "mean since").curves:
        place = "before" if curve.norm == "none" else "after"
        array = next(
            a
            for a in made.arrays
            if a.name == f"unit_mean_{place}_normalisation" and a.attrs["run"] == f"{curve.norm}-0-0.1"
        )
        values = array.to_numpy()[:, unit].tolist()
        assert curve.median.tolist() == [value - values[0] for value in values]
    between = panel(column, "|Δ mean|").curves
    for curve in between:
        place = "before" if curve.norm == "none" else "after"
        rows = cells(made.table, f"mean_drift_since_last_{place}_normalisation")
        for i, step in enumerate(curve.steps):
            there = [r["value"] for r in rows if r["norm"] == curve.norm and r["step"] == step]
            assert curve.median[i] == plain.median(there)


def test_relative_forms_divide_by_the_gradient_norm_of_the_same_run_and_step() -> None:
    made = MadeUp(norms=("batch",), seeds=1)
    band = panel(relative_forms.compute(made.runs()).columns[0], "‖g′ − g‖").bands[0]
    norm = {r["step"]: r["value"] for r in cells(made.table, "gradient_norm")}
    rows = [r for r in cells(made.table, "gradient_difference") if r["x"] >= 0.5]
    expected = [max(r["value"] / norm[s] for r in rows if r["step"] == s) for s in made.steps]
    np.testing.assert_allclose(band.high.median, expected, rtol=1e-14)


def test_theory_shares_are_of_the_scaling_term() -> None:
    made = MadeUp(norms=("batch",), seeds=1)
    curve = panel(theory_terms.compute(made.runs()).columns[0], "mean term").curves[0]
    over = [r["value"] for r in cells(made.table, "scaling_term")]
    np.testing.assert_allclose(curve.median, [r["value"] / o for r, o in zip(cells(made.table, "mean_term"), over)])  # noqa: B905


def test_gradient_differences_are_medians_at_step_lengths_in_units_of_theta() -> None:
    made = MadeUp(norms=("batch",), seeds=3)
    fan = fig11_gradient_difference.compute(made.runs()).fans[0]
    np.testing.assert_allclose(fan.eta, np.array(GRID) * 0.1)
    rows = cells(made.table, "gradient_difference")
    for i, step in enumerate(fan.steps):
        for j, x in enumerate(GRID):
            assert fan.median[i, j] == plain.median(r["value"] for r in rows if r["step"] == step and r["x"] == x)


def test_densities_integrate_to_what_lies_within_the_edges() -> None:
    counts = np.array([[5.0, 1, 2, 3, 9], [0, 0, 4, 0, 0], [0, 0, 0, 0, 0]])
    edges = np.array([0.0, 0.5, 1.0, 1.5])
    density, outside = densities(counts, edges)
    np.testing.assert_allclose(outside[:2], [0.7, 0.0])
    np.testing.assert_allclose((density * 0.5).sum(axis=1)[:2], [0.3, 1.0])
    assert np.isnan(density[2]).all()


# ------------------------------------------------------------------------------------------------------------ published


def test_published_curves_are_the_papers_numbers() -> None:
    content = json.loads((Path(published.__file__).parent / "published" / "santurkar2018_curves.json").read_text())
    one = next(c for c in published.curves("fig4a_loss_band") if c.norm == "batch")
    assert [one.steps[3], one.low[3], one.high[3]] == content["fig4a_loss_band"]["batchnorm"][3]
    accuracies = published.curves("fig1b_test_acc", 0.5)
    assert {c.norm: round(c.high[-1], 3) for c in accuracies} == {"none": 0.1, "batch": 0.802}
    assert len(published.curves("fig5b_dln_loss")) == 5
    with pytest.raises(WrongInput, match="did you mean 'fig4a_loss_band'"):
        published.curves("fig4a_los_band")


def test_distances_to_published_curves() -> None:
    steps, at = np.array([0, 10, 20]), np.array([-5, 5, 15, 25])
    there = np.array([9.0, 10.0, 1000.0, 9.0])
    ours = np.array([1.0, 100.0, 10.0])
    expected = plain.median([abs(math.log10(10 / 10)), abs(math.log10(10**1.5 / 1000))])
    assert published.distance(steps, ours, at, there, log=True) == pytest.approx(expected)
    expected = plain.fmean([abs(50.5 - 10), abs(55 - 1000)])
    assert published.distance(steps, ours, at, there, log=False) == pytest.approx(expected)
    assert math.isnan(published.distance(steps[:1], ours[:1], at, there, log=True))
    assert math.isnan(published.distance(steps, ours * math.nan, at, there, log=False))
    half = published.distance(
        steps, np.array([1.0, math.inf, 10.0]), at, np.array([9.0, 10.0, math.nan, 9.0]), log=True
    )
    assert math.isnan(half)


@pytest.mark.parametrize(
    ("columns", "drawn"),
    [
        ({"data": "cifar10", "model": "vgg16"}, True),
        ({"data": "cifar10-jpeg", "model": "vgg16"}, True),
        ({"data": "cifar100", "model": "vgg16"}, False),
        ({"data": "cifar10", "model": "vgg_small"}, False),
        ({"data": "cifar10", "model": "vgg16", "lr": 0.01}, False),
        ({"regression": True, "lr": 1e-6, "batch_size": math.nan}, True),
        ({"regression": True, "lr": 1e-6}, False),
        ({"regression": True, "lr": 1e-7, "batch_size": math.nan}, False),
    ],
)
def test_published_curves_stand_beside_the_same_setting_only(columns: dict, drawn: bool) -> None:
    made = MadeUp(norms=("none", "l1"), seeds=1, steps=(0, 100, 200, 300), **columns)
    shown = fig05_lp_training.compute(made.runs()).columns[0].panels[0]
    assert [p.curve.norm for p in shown.published] == (["none", "l1"] if drawn else [])
    assert any("other setting" in note for note in shown.notes) != drawn
    if drawn:
        one, ours = shown.published[0], shown.curves[0]
        log = bool(columns.get("regression"))
        apart = published.distance(ours.steps, ours.median, one.curve.steps, one.curve.low, log=log)
        assert one.distances == (apart,)
        assert f"none\N{NO-BREAK SPACE}{apart:.2f}" in shown.notes[-1]


def test_both_learning_rates_of_figure_1_have_their_own_published_curves() -> None:
    full = {"data": "cifar10", "model": "vgg16", "norms": ("none",), "seeds": 1, "steps": (0, 5000, 15000)}
    runs = (MadeUp(lr=0.1, **full) + MadeUp(lr=0.5, **full)).runs()
    last = [p.panels[1].published[0].curve.high[-1] for p in fig01_accuracy.compute(runs).sheet.columns]
    assert last == pytest.approx([0.80008, 0.10007])


# ------------------------------------------------------------------------------------- settings, layers, runs


def test_layers_stand_for_those_of_the_paper_at_their_depth() -> None:
    def names(layers: list[str], numbers: tuple[int, ...], regression: bool = False) -> list[str]:
        return [shown.label for shown in _settings.paper_layers(layers, numbers, regression=regression)]

    vgg16 = [f"conv{i}" for i in range(1, 14)] + ["head"]
    assert names(vgg16, (3, 11)) == ["conv3", "conv11"]
    assert names([f"conv{i}" for i in range(1, 8)] + ["fc1", "head"], (1, 7, 13)) == [
        "conv1 (for 1)",
        "conv4 (for 7)",
        "conv7 (for 13)",
    ]
    assert names([f"layer{i}" for i in range(1, 26)], (9, 17), True) == ["layer9", "layer17"]
    assert names(["conv1"], (2, 9, 13)) == ["conv1 (for 2)"]
    assert names(["fc1", "fc2", "head"], (13,)) == ["fc2 (for 13)"]
    assert names([], (3,)) == []


def test_more_settings_than_fit_are_counted_not_hidden() -> None:
    made = MadeUp(norms=("none",), seeds=1)
    for lr in (0.2, 0.3, 0.4, 0.5, 0.6):
        made = made + MadeUp(norms=("none", "batch") if lr == 0.6 else ("none",), seeds=1, lr=lr)
    found = _settings.settings(made.runs(), ("none", "batch"), most=2)
    assert [setting.values["lr"] for setting in found.drawn] == [0.1, 0.6]
    assert found.left_out == 4


def test_a_number_that_two_probes_record_is_taken_once() -> None:
    made = MadeUp(norms=("batch",), seeds=1)
    again = made.table[made.table["metric"] == "effective_beta"].assign(probe="landscape_again")
    runs = Runs(pd.concat([made.table, again], ignore_index=True))
    assert len(runs.records("effective_beta")) == len(again)


def test_arrays_of_run_folders_are_read_by_layer_and_batch(tmp_path: Path) -> None:
    folder = write_run(tmp_path, lines=[])
    spec = {"metric": "histogram_after_normalisation", "dims": ["bin"], "unit": "count", "point": "before"}
    spec |= {"layer": ["conv1"], "x": [0.0, 1.0], "reference": ""}
    keys = {f"h.{batch}": {**spec, "batch": batch} for batch in ("train", "fixed")}
    keys["other"] = {**spec, "batch": "train", "layer": ["conv2"]}
    (folder / "fields.json").write_text(json.dumps({"activations": keys}))
    (folder / "arrays").mkdir()
    np.savez(folder / "arrays" / "step-00000007.npz", **{f"activations/{key}": np.arange(3.0) for key in keys})
    found = Runs.load(tmp_path).arrays("histogram_after_normalisation", [folder.name], "train", ["conv1"])
    assert list(found) == [(folder.name, "conv1")]
    array = found[folder.name, "conv1"]
    assert (array.dims, array["step"].to_numpy().tolist(), array.attrs["x"]) == (("step", "bin"), [7], (0.0, 1.0))
    assert Runs.load(tmp_path).arrays("nothing", [folder.name], "train", ["conv1"]) == {}


def test_a_table_alone_has_no_arrays_and_says_so() -> None:
    data = fig01_accuracy.compute(Runs(both(norms=("none",)).table))
    assert data.ridges.nothing.startswith("no histograms")
    assert not data.ridges.ridges
