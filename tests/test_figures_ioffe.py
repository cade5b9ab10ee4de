"""Figures of Ioffe & Szegedy's study: over rates and scales, as a map; inference with BN folded and taken out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.drawing.axes import MAP
from analysis.drawing.cells import cells, draw_cells
from analysis.drawing.draw_panel import explained
from analysis.runs import Runs
from analysis.studies.ioffe2015.figures import initial_scales, learning_rates, rates_and_scales, the_fold
from tests.made_table import BASE, made, row

RATES, GAINS = (0.01, 0.1, 1.0), (0.1, 1.0, 10.0)


def runs() -> Runs:
    """Three rates and three scales, two seeds; the final accuracy is a function of all."""
    rows: list[dict[str, Any]] = []
    trained, facts = {}, {}
    for norm in ("none", "batch"):
        for rate in RATES:
            for gain in GAINS:
                for seed in range(2):
                    run = f"{norm}-{rate:g}-{gain:g}-{seed}"
                    trained[run] = {**BASE, "norm": norm, "optim.lr": rate, "model.gain": gain}
                    facts[run] = {"seed": seed}
                    for batch in ("train", "test"):
                        rows.append(row(run, 100, "accuracy", accuracy(norm, rate, gain, seed), batch=batch))
                        rows.append(row(run, 100, "data_loss", 0.1, batch=batch))
    return made(rows, trained, facts)


def accuracy(norm: str, rate: float, gain: float, seed: int) -> float:
    return 0.5 + 0.1 * math.log10(rate * gain) + 0.01 * seed + (0.2 if norm == "batch" else 0.0)


def test_each_scale_is_a_setting_of_a_figure_over_rates() -> None:
    data = learning_rates.compute(runs())
    assert len(data.columns) == len(GAINS)
    for column, gain in zip(data.columns, GAINS, strict=True):
        assert column.setting.values["model.gain"] == gain
        shown = next(panel for panel in column.panels if panel.name == "final test accuracy")
        for curve in shown.curves:
            assert curve.steps.tolist() == list(RATES)
            expected = [[accuracy(curve.norm, rate, gain, seed) for rate in RATES] for seed in range(2)]
            assert curve.each.tolist() == [pytest.approx(one) for one in expected]
    figure = Figure(layout="constrained")
    learning_rates.draw(data, figure)
    scales = [axes.get_xscale() for axes in figure.axes]
    assert "log" in scales


def test_a_line_of_a_figure_over_scales_is_a_rate() -> None:
    (column,) = initial_scales.compute(runs()).columns
    assert [panel.name.rpartition(", ")[2] for panel in column.panels] == column.setting.names
    for panel in column.panels:
        assert [curve.label for curve in panel.curves] == [f"learning rate {rate:g}" for rate in RATES]
        for curve, rate in zip(panel.curves, RATES, strict=True):
            assert curve.steps.tolist() == list(GAINS)
            assert curve.each[1].tolist() == pytest.approx([accuracy(curve.norm, rate, gain, 1) for gain in GAINS])
    few = runs()
    few = few.only([run for run in few.each.index if few.value(run, "model.gain") < 10])
    assert initial_scales.compute(few).empty


# ------------------------------------------------------------------------------------------------------------- as a map


def test_a_cell_of_a_map_is_a_rate_and_a_scale() -> None:
    (column,) = rates_and_scales.compute(runs()).columns
    assert [panel.name.rpartition(", ")[2] for panel in column.panels] == ["none", "batch"]
    for panel in column.panels:
        made_of = panel.cells
        assert made_of is not None
        assert (made_of.up.tolist(), made_of.across.tolist()) == (list(RATES), list(GAINS))
        for seeds, table in ((0.5, made_of.median), (0, made_of.least), (1, made_of.greatest)):
            expected = [[accuracy(made_of.norm, rate, gain, seeds) for gain in GAINS] for rate in RATES]
            np.testing.assert_allclose(table, expected)
        assert (made_of.seeds == 2).all()
    table = rates_and_scales.compute(runs()).table().set_index(["norm", "curve", "gain"])
    assert len(table) == 2 * len(RATES) * len(GAINS)
    assert table["median"]["batch", "learning rate 0.1", 10.0] == pytest.approx(accuracy("batch", 0.1, 10.0, 0.5))
    assert table["runs"].eq(2).all()


def test_a_pair_that_was_not_run_is_an_empty_cell() -> None:
    some = runs()
    some = some.only([r for r in some.each.index if (some.value(r, "optim.lr"), some.value(r, "model.gain")) != (1, 1)])
    (column,) = rates_and_scales.compute(some).columns
    assert all(np.isnan(panel.cells.median).sum() == 1 for panel in column.panels if panel.cells)
    figure = Figure(layout="constrained")
    rates_and_scales.draw(rates_and_scales.compute(some), figure)
    said = [text.get_text() for text in figure.axes[1].texts]
    assert said.count("–") == 1
    assert f"{100 * accuracy('batch', 0.01, 0.1, 0.5):.0f}" in said
    assert figure.axes[1].get_ylabel().endswith("(over learning rate)")
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["0.1", "1", "10"]
    assert not figure.legends[0].get_texts(), "a map has no arms to be told apart"
    few = runs()
    few = few.only([run for run in few.each.index if few.value(run, "model.gain") < 10])
    assert rates_and_scales.compute(few).empty


@pytest.mark.parametrize(("counts", "told"), [((2, 2), "2 seeds"), ((1, 3), "1 to 3 seeds")])
def test_a_map_says_how_many_seeds_it_is_over(counts: tuple[int, int], told: str) -> None:
    rows = [(gain, 0.1, 0.5) for gain, count in zip((1.0, 2.0), counts, strict=True) for _ in range(count)]
    made_of = cells("batch", "learning rate", pd.DataFrame(rows, columns=["across", "up", "value"]))
    panel = rates_and_scales.panel("p", rates_and_scales.compute(runs()).columns[0].setting, cells=made_of)
    assert explained([panel], "") == [f"in each cell: median over seeds, in % ({told})"]


def test_a_cell_is_as_light_as_its_share_and_readable_on_it() -> None:
    rows = [(1.0, 1.0, 0.1), (2.0, 1.0, 0.99), (1.0, 2.0, 0.5)]
    axes = Figure().subplots()
    draw_cells(cells("batch", "rate", pd.DataFrame(rows, columns=["across", "up", "value"])), axes)
    (drawn,) = axes.collections
    colours = [tuple(colour) for colour in drawn.get_facecolor()]  # type: ignore[union-attr]
    assert colours == [MAP(0.1), MAP(0.99), MAP(0.5), (1.0, 1.0, 1.0, 1.0)]
    assert [(text.get_text(), text.get_color()) for text in axes.texts][:2] == [("10", "white"), ("99", "black")]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]


# ------------------------------------------------------------------------------------------------------------- the fold


def test_the_fold_shows_three_evaluations_and_how_far_two_move_the_loss() -> None:
    rows: list[dict[str, Any]] = []
    losses = {"test": (2.0, 0.5), "test, folded": (2.0, 0.5 + 1e-7), "test, taken_out": (1.0, 3.0)}
    for seed in range(2):
        for batch, both in losses.items():
            for step, loss in zip((0, 50), both, strict=True):
                run = f"r{seed}"
                rows.append(row(run, step, "data_loss", loss * (1 + seed), batch=batch))
                rows.append(row(run, step, "accuracy", 1 / (1 + loss), batch=batch))
    facts = {f"r{seed}": {"seed": seed} for seed in range(2)}
    (column,) = the_fold.compute(made(rows, dict.fromkeys(facts, BASE), facts)).columns
    shown, moved = column.panels
    assert [curve.label for curve in shown.curves] == list(the_fold.KINDS.values())
    for curve, both in zip(shown.curves, losses.values(), strict=True):
        assert curve.each.tolist() == [pytest.approx([1 / (1 + loss) for loss in both])] * 2
    folded, out = moved.curves
    assert [curve.label for curve in moved.curves] == ["folded", "taken out"]
    np.testing.assert_allclose(folded.each, [[0.0, 2e-7]] * 2, atol=1e-12)
    np.testing.assert_allclose(out.each, [[0.5, 5.0]] * 2)
    assert shown.curves[1].shade == folded.shade, "one colour for one thing"
    without = [one for one in rows if one["batch"] == "test"]
    assert the_fold.compute(made(without, dict.fromkeys(facts, BASE), facts)).empty
