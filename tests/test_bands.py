"""Bands over a line of step lengths are those that claims are judged by, in numbers and as drawn."""

from __future__ import annotations

import math
from typing import Any

import pytest
from matplotlib.figure import Figure

from analysis import derived
from analysis.drawing.draw_panel import draw_panel
from analysis.measures import over_training
from analysis.studies.santurkar2018.figures import fig04_landscape, random_directions
from tests.made_table import BASE, made, row


@pytest.mark.parametrize("figure", [fig04_landscape, random_directions], ids=["along the gradient", "along others"])
def test_a_point_without_a_number_is_infinite_in_pictures_as_in_claims(figure: Any) -> None:
    """The loss fails at the longest step at step 9 alone; the band then goes up to the axis' edge."""
    seeds = range(3)
    rows = [
        row(f"s{seed}", step, "landscape_loss", math.nan if (step, x) == (9, 4.0) else 1.0 + x, x=x)
        for seed in seeds
        for step in range(10)
        for x in (0.5, 1.0, 2.0, 4.0)
    ]
    runs = made(rows, {f"s{seed}": BASE for seed in seeds}, {f"s{seed}": {"seed": seed} for seed in seeds})
    column = figure.compute(runs).columns[0]
    (band,) = column.panels[0].bands
    assert band.low.median.tolist() == [1.5] * 10
    assert band.high.median.tolist() == [5.0] * 9 + [math.inf]
    line = derived.along_line(runs.records("landscape_loss"))
    judged = derived.over_line(derived.failing_is_infinite(line), "range").groupby("step")["value"].median()
    assert judged.tolist() == (band.high.median - band.low.median).tolist()
    assert over_training("landscape_loss", along="range").of(runs).tolist() == [3.5] * 3
    axes = Figure().subplots()
    draw_panel(column.panels[0], axes)
    filled = [drawn for drawn in axes.collections if len(drawn.get_paths()[0].vertices) > 3]
    assert len(filled) == 3  # each seed, from its own least to its own greatest
    for one in filled:
        corners = one.get_paths()[0].vertices
        assert corners[corners[:, 0] == 9, 1].max() == pytest.approx(axes.get_ylim()[1])
        assert corners[corners[:, 0] == 8, 1].max() == pytest.approx(5.0)
    marks = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "^"]
    assert marks == [[[9.0, pytest.approx(axes.get_ylim()[1])]]]


def test_the_steps_at_which_arms_are_compared_are_shaded_and_the_ratio_told() -> None:
    """One arm goes four times as fast as the other and has three times its range at every loss."""
    rows, trained, facts = [], {}, {}
    for norm, speed, factor in (("none", 0.03, 3.0), ("batch", 0.12, 1.0)):
        for seed in range(3):
            run = f"{norm}{seed}"
            trained[run], facts[run] = {**BASE, "norm": norm}, {"seed": seed}
            for step in range(120):
                loss = 2.5 * math.exp(-speed * step)
                rows.append(row(run, step, "data_loss", loss, probe="training"))
                rows += [
                    row(run, step, "landscape_data_loss", loss * (1 + factor * x), x=x) for x in (0.5, 1.0, 2.0, 4.0)
                ]
    column = fig04_landscape.compute(made(rows, trained, facts)).columns[0]
    loss, difference, _ = column.panels
    assert loss.name == "data loss along −g"
    assert {norm: (start, end) for norm, start, end in loss.windows} == {"none": (8.0, 107.0), "batch": (2.0, 26.0)}
    assert "loss range at equal loss, 2 to 0.1 (shaded): none / batch 3×, median over seeds" in loss.notes
    assert difference.missing
    axes = Figure().subplots()
    draw_panel(loss, axes)
    spans = [patch.get_x() for patch in axes.patches]
    assert spans == [8.0, 2.0]
