"""How far our curves lie from the published ones: the numbers, each by a slow twin, and where a report shows them."""

from __future__ import annotations

import math
import statistics as plain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import report, statistics, studies
from analysis.page import Numbers
from analysis.studies.santurkar2018.figures import fig05_lp_training
from tests.made_figures import MadeUp

PUBLISHED_VGG = {"data": "cifar10", "model": "vgg16"}


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


@pytest.mark.parametrize("linear", [True, False])
def test_how_far_each_published_curve_is_stands_in_the_rows_of_a_sheet(linear: bool) -> None:
    keys = {"model": "deep_linear", "optim.lr": 1e-6, "optim.batch_size": None} if linear else PUBLISHED_VGG
    made = MadeUp(norms=("none", "l1"), seeds=3, steps=(0, 100, 200, 3000), regression=linear, keys=keys, scale=1e4)
    sheet = fig05_lp_training.compute(made.runs())
    (panel,) = [one for one in sheet.columns[0].panels if one.published]
    assert panel.log == linear
    rows = sheet.beside()
    assert [row["norm"] for row in rows] == ["none", "l1"]
    for row, one, ours in zip(rows, panel.published, panel.curves, strict=True):
        apart, within = [], []
        for step, value in zip(one.curve.steps, one.curve.low, strict=True):
            if not ours.steps[0] <= step <= ours.steps[-1]:
                continue
            after = next(i for i in range(1, len(ours.steps)) if ours.steps[i] >= step)
            share = (step - ours.steps[after - 1]) / (ours.steps[after] - ours.steps[after - 1])

            def at(values: np.ndarray, after: int = after, share: float = share) -> float:
                low, high = values[after - 1], values[after]
                return low ** (1 - share) * high**share if linear else low + share * (high - low)

            apart.append(math.log10(at(ours.median) / value) if linear else at(ours.median) - value)
            within.append(at(ours.least) <= value <= at(ours.greatest))
        assert (row["points"], row["log"], row["end"]) == (len(apart), linear, "")
        assert row["typical"] == pytest.approx(plain.median(apart))
        assert row["within"] == pytest.approx(plain.fmean(within))


def test_the_report_tells_them_in_words_and_keeps_the_numbers(tmp_path: Path) -> None:
    row = {"panel": "training loss", "setting": "linear", "norm": "none", "end": "low", "points": 8, "within": 0.25}
    drawn = [
        {"title": "Figure 5: training", "beside": [{**row, "log": True, "typical": math.log10(2.5)}]},
        {"title": "Figure 9: none published", "beside": []},
        {"title": "Figure 1: accuracy", "beside": [{**row, "end": "", "log": False, "typical": -0.125}]},
    ]
    (study,) = (study for study in studies.load() if study.name == "santurkar2018")
    found = report._distances(study, drawn, Numbers.beside(tmp_path, "numbers"))
    (told,) = found["distances"]
    assert told["rows"] == [
        ["Figure 5, training loss", "linear", "none low", "2.5×", "25 % of 8"],
        ["Figure 1, training loss", "linear", "none", "−0.125", "25 % of 8"],
    ]
    (kept,) = tmp_path.glob("**/*distances*.csv")
    assert pd.read_csv(kept)["typical"].tolist() == pytest.approx([math.log10(2.5), -0.125])
    assert report._distances(study, [drawn[1]], Numbers.beside(tmp_path, "none"))["distances"] == []
