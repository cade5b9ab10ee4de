"""The compute halves against slow, independent computations, number by number."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics as plain
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import statistics
from analysis.drawing.layers import layers_at
from analysis.drawing.panel import Panel
from analysis.drawing.ridges import densities
from analysis.drawing.settings import by_task, drawn_settings
from analysis.drawing.sheet import Column
from analysis.errors import WrongInput
from analysis.figures import Runs
from analysis.runs import COLUMN_KEYS
from analysis.studies.santurkar2018 import published_curves as published
from analysis.studies.santurkar2018.figures import (
    beta_grids,
    fig01_accuracy,
    fig04_landscape,
    fig05_lp_training,
    fig08_moments,
    fig11_gradient_difference,
    relative_forms,
    theory_terms,
)
from analysis.studies.santurkar2018.grids import DEPTH
from tests.made_figures import GRID, MadeUp, both
from tests.made_runs import write_run


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
        expected = [max(r["value"] for r in rows if r["step"] == s and start <= r["x"] <= 4) for s in made.steps]
        assert curves[label].median.tolist() == expected
    limit = [r["value"] for r in cells(made.table, "effective_beta_limit_by_hessian")]
    assert curves["limit ‖Hg‖/‖g‖"].median.tolist() == limit
    made.table = made.table[made.table["x"] != 0.05].reset_index(drop=True)
    assert "no grid from lr/20" in beta_grids.compute(made.runs()).columns[0].panels[0].notes


def test_the_plateau_is_the_last_quarters() -> None:
    made = MadeUp(norms=("batch",), seeds=1, steps=tuple(range(9)))
    curve = beta_grids.compute(made.runs()).columns[0].panels[0].curves[0]
    assert beta_grids.plateau(curve) == plain.median(curve.median[6:])
    # known until step 6, as where one seed was not looked at after it: of steps 0 to 6 the last quarter is 5 and 6
    ends = dataclasses.replace(curve, median=np.where(np.arange(9) < 7, curve.median, math.nan))
    assert beta_grids.plateau(ends) == plain.median(curve.median[5:7])
    assert math.isnan(beta_grids.plateau(dataclasses.replace(curve, median=np.full(len(curve.median), math.nan))))


def test_changes_of_moments_since_the_start_are_of_one_unit_of_the_lowest_seed() -> None:
    made = MadeUp(norms=("none", "noisy_batch"), seeds=2, steps=(0, 1, 2, 9))
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
        assert curve.steps.tolist() == [1, 2]  # before step 9 the last probed one was not step 8
        for i, step in enumerate(curve.steps):
            there = [r["value"] for r in rows if r["norm"] == curve.norm and r["step"] == step]
            assert curve.median[i] == plain.median(there)


def test_relative_forms_divide_by_the_gradient_norm_of_the_same_run_and_step() -> None:
    made = MadeUp(norms=("batch",), seeds=1)
    band = panel(relative_forms.compute(made.runs()).columns[0], "‖g′ − g‖").bands[0]
    norm = {r["step"]: r["value"] for r in cells(made.table, "gradient_norm")}
    rows = [r for r in cells(made.table, "gradient_difference") if 0.5 <= r["x"] <= 4]
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
    np.testing.assert_allclose(fan.eta, [np.array(GRID) * 0.1] * 3)
    rows = cells(made.table, "gradient_difference")
    for i, step in enumerate(fan.steps):
        for j, x in enumerate(GRID):
            assert fan.median[i, j] == plain.median(r["value"] for r in rows if r["step"] == step and r["x"] == x)


RATES = {0: 0.1, 10: 0.05, 20: 0.002}


def scheduled(**options: Any) -> MadeUp:
    return MadeUp(norms=("batch",), seeds=3, rates=RATES, keys={"optim.schedule": "step"}, **options)


def test_step_lengths_under_a_schedule_are_multiples_of_the_rate_of_their_step() -> None:
    made = scheduled()
    data = fig11_gradient_difference.compute(made.runs())
    (fan,) = data.fans
    rows = cells(made.table, "gradient_difference")
    for i, step in enumerate(fan.steps):
        for j, x in enumerate(GRID):
            assert fan.eta[i, j] == pytest.approx(x * RATES[step], rel=1e-14)
            assert fan.median[i, j] == plain.median(r["value"] for r in rows if r["step"] == step and r["x"] == x)
    made.table = made.table[made.table["metric"] != "learning_rate"].reset_index(drop=True)
    lost = fig11_gradient_difference.compute(made.runs())
    assert np.isnan(lost.fans[0].eta).all()
    assert lost.empty == "no learning rate of batch is recorded at these steps"
    assert not data.empty


def test_plateaus_under_a_schedule_are_shares_of_the_rate_of_their_step() -> None:
    made = scheduled()
    (shown,) = beta_grids.compute(made.runs()).columns[0].panels
    late = 20  # the last quarter of the steps 0 to 20 holds this one
    runs = sorted(made.trained)
    expected = []
    for start in (0.5, 0.25, 0.05):
        grid = [r for r in cells(made.table, "effective_beta") if r["step"] == late and r["x"] >= start]
        largest = [max(r["value"] for r in grid if r["run"] == run) for run in runs]
        expected.append(plain.median(RATES[late] * value for value in largest))
    limit = [r["value"] for r in cells(made.table, "effective_beta_limit_by_hessian") if r["step"] == late]
    expected.append(plain.median(RATES[late] * value for value in limit))
    told = next(note for note in shown.notes if note.startswith("last quarter"))
    assert [float(word.rpartition("\N{NO-BREAK SPACE}")[2]) for word in told.split(", ")] == [
        pytest.approx(value, rel=0.05) for value in expected
    ]
    assert shown.levels == ()
    assert "lr_t varies: 2/lr is no line" in shown.notes
    constant = beta_grids.compute(MadeUp(norms=("batch",), seeds=1).runs()).columns[0].panels[0]
    assert [value for _, value in constant.levels] == pytest.approx([20.0, 40.0, 200.0])
    made.table = made.table[made.table["metric"] != "learning_rate"].reset_index(drop=True)
    (lost,) = beta_grids.compute(made.runs()).columns[0].panels
    assert lost.levels == ()
    assert "lr_t is not recorded" in lost.notes


def test_densities_integrate_to_what_lies_within_the_edges() -> None:
    counts = np.array([[5.0, 1, 2, 3, 9], [0, 0, 4, 0, 0], [0, 0, 0, 0, 0]])
    edges = np.array([0.0, 0.5, 1.0, 1.5])
    density, outside = densities(counts, edges)
    np.testing.assert_allclose(outside[:2], [0.7, 0.0])
    np.testing.assert_allclose((density * 0.5).sum(axis=1)[:2], [0.3, 1.0])
    assert np.isnan(density[2]).all()


# ------------------------------------------------------------------------------------------------------------ published


def test_published_curves_are_the_papers_numbers() -> None:
    content = json.loads((Path(published.__file__).with_name("published.json")).read_text())
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
    assert statistics.distance(steps, ours, at, there, log=True) == pytest.approx(expected)
    expected = plain.fmean([abs(50.5 - 10), abs(55 - 1000)])
    assert statistics.distance(steps, ours, at, there, log=False) == pytest.approx(expected)
    assert math.isnan(statistics.distance(steps[:1], ours[:1], at, there, log=True))
    assert math.isnan(statistics.distance(steps, ours * math.nan, at, there, log=False))
    half = statistics.distance(
        steps, np.array([1.0, math.inf, 10.0]), at, np.array([9.0, 10.0, math.nan, 9.0]), log=True
    )
    assert math.isnan(half)


@pytest.mark.parametrize(
    ("keys", "drawn"),
    [
        ({"data": "cifar10", "model": "vgg16"}, True),
        ({"data": "cifar10-jpeg", "model": "vgg16"}, True),
        ({"data": "cifar100", "model": "vgg16"}, False),
        ({"data": "cifar10", "model": "vgg_small"}, False),
        ({"data": "cifar10", "model": "vgg16", "optim.lr": 0.01}, False),
        ({"model": "deep_linear", "optim.lr": 1e-6, "optim.batch_size": None}, True),
        ({"model": "deep_linear", "optim.lr": 1e-6}, False),
        ({"model": "deep_linear", "optim.lr": 1e-7, "optim.batch_size": None}, False),
    ],
)
def test_published_curves_stand_beside_the_same_setting_only(keys: dict, drawn: bool) -> None:
    linear = keys["model"] == "deep_linear"
    made = MadeUp(norms=("none", "l1"), seeds=1, steps=(0, 100, 200, 300), regression=linear, keys=keys)
    shown = fig05_lp_training.compute(made.runs()).columns[0].panels[0]
    assert [p.curve.norm for p in shown.published] == (["none", "l1"] if drawn else [])
    assert any("other setting" in note for note in shown.notes) != drawn
    if drawn:
        one, ours = shown.published[0], shown.curves[0]
        apart = statistics.distance(ours.steps, ours.median, one.curve.steps, one.curve.low, log=linear)
        assert one.distances == (apart,)
        assert f"none\N{NO-BREAK SPACE}{apart:.2f}" in shown.notes[-1]


def test_both_learning_rates_of_figure_1_have_their_own_published_curves() -> None:
    made = [
        MadeUp(("none",), 1, (0, 5000, 15000), keys={"data": "cifar10", "model": "vgg16", "optim.lr": lr})
        for lr in (0.1, 0.5)
    ]
    runs = (made[0] + made[1]).runs()
    last = [p.panels[1].published[0].curve.high[-1] for p in fig01_accuracy.compute(runs).sheet.columns]
    assert last == pytest.approx([0.80008, 0.10007])


# ------------------------------------------------------------------------------------- settings, layers, runs


def test_layers_stand_for_those_of_the_paper_at_their_depth() -> None:
    def names(layers: list[str], numbers: tuple[int, ...], regression: bool = False) -> list[str]:
        depth = DEPTH["regression" if regression else "classification"]
        return [shown.label for shown in layers_at(layers, numbers, depth)]

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


def test_a_task_that_a_paper_does_not_know_takes_its_first_choice() -> None:
    (known,) = drawn_settings(MadeUp(("none",), 1, regression=True).runs()).drawn
    made = MadeUp(("none",), 1)
    for facts in made.facts.values():
        facts["task"] = None
    (unknown,) = drawn_settings(made.runs()).drawn
    choices = {"classification": 1, "regression": 2}
    assert (by_task(choices, known), by_task(choices, unknown)) == (2, 1)


def test_settings_with_an_arm_that_a_figure_would_rather_have_come_alone() -> None:
    made = MadeUp(("none", "batch"), 3) + MadeUp(("none", "noisy_batch"), 1, keys={"optim.lr": 0.5})
    found = drawn_settings(made.runs(), ("none", "batch"), rather=("noisy_batch", "noise"))
    assert [setting.values["optim.lr"] for setting in found.drawn] == [0.5]
    assert found.notes == ("1 more setting not drawn: give fewer runs to see them",)
    assert len(drawn_settings(made.runs(), ("none", "batch"), rather=("noise",)).drawn) == 2


def test_more_settings_than_fit_are_counted_not_hidden() -> None:
    made = MadeUp(norms=("none",), seeds=1)
    for lr in (0.2, 0.3, 0.4, 0.5, 0.6):
        made = made + MadeUp(norms=("none", "batch") if lr == 0.6 else ("none",), seeds=1, keys={"optim.lr": lr})
    found = drawn_settings(made.runs(), ("none", "batch"), most=2)
    assert [setting.values["optim.lr"] for setting in found.drawn] == [0.1, 0.6]
    assert found.left_out == 4


def test_a_number_that_two_probes_record_is_taken_once() -> None:
    made = MadeUp(norms=("batch",), seeds=1)
    again = made.table[made.table["metric"] == "effective_beta"].assign(probe="landscape_again")
    made.table = pd.concat([made.table, again], ignore_index=True)
    assert len(made.runs().records("effective_beta")) == len(again)


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


def as_table(made: MadeUp) -> pd.DataFrame:
    """The records with the columns of their runs, as `load_runs` gives them."""
    about = pd.DataFrame.from_dict(
        {run: {**made.facts[run], **made.trained[run]} for run in made.facts}, orient="index"
    )
    about = about.rename(columns={key: column for column, key in COLUMN_KEYS.items()}).drop(columns="norm")
    return made.table.join(about, on="run")


def test_a_table_alone_has_no_arrays_and_says_so() -> None:
    data = fig01_accuracy.compute(Runs.of(as_table(both(norms=("none",)))))
    assert data.ridges.nothing.startswith("no histograms")
    assert not data.ridges.ridges
