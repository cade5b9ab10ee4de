"""How figures look: notes that can be read, bands and greys that stay apart, early steps that are seen, a full card."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis import figures
from analysis.drawing.draw_panel import draw_panel, foot
from analysis.drawing.panel import Curve, Panel
from analysis.page import PIXELS_PER_INCH
from analysis.style import NORMS, house, norm_style
from experiments.sweeps import sweep
from experiments.sweeps.job import Result
from tests.made_figures import MadeUp

BY_PROGRESS = np.array([*range(20), 23, 27, 34, 50, 75, *range(100, 301, 50)])
"""The first twenty steps, then as the loss falls."""


def curve(steps: np.ndarray, seeds: int, norm: str = "batch", up: float = 0.0) -> Curve:
    each = np.random.default_rng(0).normal(size=(seeds, len(steps))) + up
    runs = tuple(f"{norm}-{i}" for i in range(seeds))
    return Curve(norm, steps, np.median(each, axis=0), each.min(axis=0), each.max(axis=0), runs, each)


def drawn(*curves: Curve) -> Axes:
    with house():
        axes = Figure(figsize=(4, 3)).subplots()
        panel = Panel("drift", curves=curves)
        draw_panel(panel, axes)
        foot([panel], axes)
    return axes


@pytest.fixture(scope="module")
def one_column() -> Figure:
    made = MadeUp(norms=("none", "batch", "l1"), seeds=2, ends={"l1": 10})
    with house():
        figure = Figure(layout="constrained")
        figures.get("training_curves").draw(figures.get("training_curves").compute(made.runs()), figure)
        figure.draw_without_rendering()
    return figure


def test_notes_are_at_least_8_points(one_column: Figure) -> None:
    told = {text.get_text(): text.get_fontsize() for text in one_column.findobj(Text) if text.get_text().strip()}
    notes = [size for words, size in told.items() if "median" in words or "mean over" in words]
    assert len(notes) >= 2, told
    assert min(notes) >= 8
    ridges = figures.get("fig06_lp_histograms")
    with house():
        figure = Figure(layout="constrained")
        ridges.draw(ridges.compute(MadeUp(norms=("none", "batch"), seeds=1).runs()), figure)
    below = [text for text in figure.findobj(Text) if "height: density" in text.get_text()]
    assert [text.get_fontsize() >= 8 for text in below] == [True]


def test_a_figure_of_one_column_fills_the_card(one_column: Figure) -> None:
    width = one_column.get_size_inches()[0]
    assert width * PIXELS_PER_INCH >= 800
    assert all(axes.get_position().width * width > 5.5 for axes in one_column.axes)


def share_of_axis(axes: Axes, step: float) -> float:
    """Where a step stands on the horizontal axis, from 0 to 1."""
    x, _ = axes.transAxes.inverted().transform(axes.transData.transform((step, 0)))
    return float(x)


def test_the_early_steps_are_seen_where_the_probes_are() -> None:
    axes = drawn(curve(BY_PROGRESS, 3))
    assert share_of_axis(axes, 19) > 0.3  # 6 % on an even axis
    assert 0 <= share_of_axis(axes, 0) < 0.1
    assert 0.9 < share_of_axis(axes, 300) <= 1
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == ["0", "10", "30", "100", "300"]
    assert share_of_axis(axes, 10) / share_of_axis(axes, 5) == pytest.approx(2, rel=0.1)  # even at first


def test_steps_that_are_spread_evenly_stay_on_an_even_axis() -> None:
    for steps in (np.arange(0, 301, 20), np.arange(301), np.array([0, 10, 20]), np.array([0, 1, 2, 300])):
        axes = drawn(curve(steps, 2))
        assert axes.get_xscale() == "linear", steps


def test_bands_that_overlap_have_edges_of_their_own() -> None:
    """Of few seeds each is a line of its own; of many, the ends of the band are."""
    ours = [curve(np.arange(0, 100, 10), 12, norm, up) for norm, up in (("none", 0.0), ("batch", 0.5))]
    axes = drawn(*ours)
    assert len(axes.collections) == 2
    for one, band in zip(ours, axes.collections, strict=True):
        *colour, opaque = band.get_edgecolor()[0]
        assert tuple(colour) == pytest.approx(to_rgb(norm_style(one.norm).colour))
        assert opaque > 3 * band.get_facecolor()[0][3]
        assert band.get_linewidth()[0] > 0
        corners = {(round(x, 9), round(y, 9)) for x, y in band.get_paths()[0].vertices}
        assert {(float(x), round(float(y), 9)) for x, y in zip(one.steps, one.greatest, strict=True)} <= corners
    few = drawn(curve(np.arange(0, 100, 10), 3))
    assert few.collections[0].get_linewidth()[0] == 0
    assert sum(line.get_linewidth() < 1 for line in few.lines) == 3


def test_greys_differ() -> None:
    used = {style.colour for style in NORMS.values()} | {norm_style("none width=2").colour}
    greys = sorted(red for red, green, blue in map(to_rgb, used) if red == green == blue)
    assert len(greys) == 4
    assert np.diff(greys).min() > 0.15
    of = [norm_style(name).colour for name in ("none", "none width=2", "noise", "cosine")]
    assert len(set(of)) == 4


def test_a_line_of_what_finished_carries_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status: dict[str, Any] = {"final": {"test_accuracy": 0.97125}, "diverged_at": None}
    monkeypatch.setattr(sweep, "read_status", lambda path: status)
    job: Any = SimpleNamespace(path=tmp_path, title="digits-batch")
    sweep._account(job, Result("finished", str(tmp_path)), 3, [])
    assert re.fullmatch(r"\[1/3\] finished +digits-batch \(test 0\.971\)\n", capsys.readouterr().out)
