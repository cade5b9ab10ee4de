"""Figures of Ioffe & Szegedy's study: rates on a logarithmic axis, each arm at its best rate, maps in their order."""

from __future__ import annotations

import math
from typing import Any

import pytest
from matplotlib.figure import Figure

from analysis.runs import Runs
from analysis.studies.ioffe2015.figures import initial_scales, learning_rates
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
