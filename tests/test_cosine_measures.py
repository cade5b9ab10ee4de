"""How alike samples are at the start and what that says of steps to learn, against loops; and the figure."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from matplotlib.figure import Figure

from analysis.ledger import judge
from analysis.measures import steps_to_learn
from analysis.studies import claim
from analysis.studies.lubana2021.figures import steps_over_cosine
from analysis.studies.lubana2021.own_measures import COSINES, foretold, initial_cosine
from tests.made_table import BASE, made, row

SHARES = (False, 0.25, 0.5, 0.75, True)
NEVER = 10_000


def learning(run: str, step: int, length: int = 100) -> list[dict[str, Any]]:
    """Accuracy that is 90 % from a step on, recorded at every step."""
    return [row(run, at, "accuracy", 0.95 if at >= step else 0.2) for at in range(length)]


def test_the_cosine_is_that_of_the_last_hidden_layer_at_the_first_probed_step() -> None:
    names = ["fc1", "fc2", "fc3", "head"]
    rows = [
        row("a", step, COSINES, step + place / 10, layer=name) for step in (9, 4) for place, name in enumerate(names)
    ]
    rows += [row("shallow", 4, COSINES, 0.7, layer="head")]
    found = initial_cosine().of(made(rows, {"a": BASE, "shallow": BASE}, {"shallow": {"seed": 1}}))
    assert found["a"] == pytest.approx(4.2)
    assert math.isnan(found["shallow"])


def table(steps: dict[Any, int], cosines: dict[Any, float], greatest: bool) -> tuple[float, float, float]:
    """number, low, high of one seed over shares of the mean."""
    rows, trained = [], {}
    for share in SHARES:
        run = f"c{share}"
        trained[run] = {**BASE, "norm.center": share, "steps": 100}
        rows += learning(run, steps[share])
        rows += [row(run, 0, COSINES, cosines[share], layer="fc1"), row(run, 0, COSINES, 9.0, layer="head")]
    measure = foretold(steps_to_learn(), initial_cosine(), "norm.center", greatest=greatest)
    number, low, high = measure.by_seed(made(rows, trained)).loc[0, ["number", "low", "high"]]
    return number, low, high


def by_hand(steps: dict[Any, int], cosines: dict[Any, float], greatest: bool) -> float:
    """Slope as covariance over variance, from the mean to the end."""
    x, y = [cosines[share] for share in SHARES], [math.log(steps[share]) for share in SHARES]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
    return math.exp(my + slope * ((max(x) if greatest else min(x)) - mx))


@pytest.mark.parametrize("greatest", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_steps_are_foretold_by_a_line_through_their_logarithms(seed: int, greatest: bool) -> None:
    draw = random.Random(seed)
    steps, cosines = {c: draw.randrange(5, 60) for c in SHARES}, {c: draw.random() for c in SHARES}
    assert table(steps, cosines, greatest) == pytest.approx((by_hand(steps, cosines, greatest),) * 3)


@pytest.mark.parametrize(("share", "greatest"), [(False, True), (False, False), (True, True), (True, False)])
def test_where_a_run_never_learns_what_is_foretold_is_a_bound(share: bool, greatest: bool) -> None:
    """Of the most alike (no share) it pulls the line up at its own end, and down at the other."""
    cosines = {False: 0.5, 0.25: 0.45, 0.5: 0.4, 0.75: 0.35, True: 0.3}
    steps = {**dict.fromkeys(SHARES, 20), share: NEVER}
    number, low, high = table(steps, cosines, greatest)
    assert number == pytest.approx(by_hand({**steps, share: 100}, cosines, greatest))
    assert (low, high) == pytest.approx((number, math.inf) if share != greatest else (0.0, number))


def runs(factor: float) -> Any:
    """A family of eight seeds and three rates in which steps grow by a factor from the least cosine to the greatest."""
    rows, trained, facts, draw = [], {}, {}, random.Random(0)
    for place, share in enumerate(SHARES):
        for rate, slower in ((0.1, 1.5), (0.2, 1.0), (0.4, 2.0)):
            for seed in range(8):
                run = f"{share}-{rate}-{seed}"
                norm = {"norm": "batch", "norm.center": share}
                trained[run] = {**BASE, **norm, "model": "mlp", "optim.lr": rate, "steps": 600}
                facts[run] = {"seed": seed}
                rows += learning(run, round(draw.uniform(99, 101) * slower * factor ** (1 - place / 4)), 600)
                rows += [row(run, 0, COSINES, 0.5 - 0.05 * place, layer="fc1"), row(run, 0, COSINES, 0.9, layer="head")]
    return made(rows, trained, facts, {run: {"norm.center": True} for run in trained})


@pytest.mark.parametrize(("factor", "word"), [(1.5, "supported"), (1 / 1.5, "contradicted"), (1.0, "no difference")])
def test_within_a_family_it_is_decided_at_each_ones_best_rate(factor: float, word: str) -> None:
    (verdict,) = judge(runs(factor), [claim("LU1")])
    assert verdict.word == word, verdict.reason
    if word != "no difference":
        assert verdict.parts[0].outcome.effect == pytest.approx(factor, rel=0.02)


def test_a_cosine_below_the_panel_is_no_whole_number() -> None:
    figure = Figure(layout="constrained")
    steps_over_cosine.draw(steps_over_cosine.compute(runs(1.5)), figure)
    figure.draw_without_rendering()
    (axes, *_) = figure.axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert "0.4" in labels, labels


def test_the_figure_has_a_point_for_each_and_says_the_rank_correlation() -> None:
    sheet = steps_over_cosine.compute(runs(1.5))
    assert len(sheet.columns) == 3, "a column for each rate"
    for column in sheet.columns:
        (panel,) = column.panels
        places = sorted(float(curve.steps[0]) for curve in panel.curves)
        assert places == pytest.approx([0.3, 0.35, 0.4, 0.45, 0.5])
        assert all(curve.each.shape == (8, 1) for curve in panel.curves)
        assert any("rank correlation over 5 normalisations: 1.00" in note for note in panel.notes)
