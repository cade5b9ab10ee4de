"""Figures over depth: their numbers by hand, who counts in them, and what they say of the others."""

from __future__ import annotations

import math
from typing import Any

import pytest

from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Sheet
from analysis.runs import Runs
from analysis.studies.yang2019.figures import gradients_over_depth, steps_over_depth
from tests.made_figures import MadeUp
from tests.made_table import BASE, made, row

DEPTHS, RATES, SEEDS = (4, 8, 16), (0.01, 0.1, 1.0, 10.0), (0, 1, 2)
PILOTS = 2
MLP = {**BASE, "model": "mlp", "model.initialisation": "he", "steps": 100}


def learns_at(norm: str, depth: int, rate: float, seed: int) -> float:
    """The step; soonest with BN at a rate of 1, without it at 0.1. Without it at a depth of 16 never."""
    if norm == "none" and depth == 16:
        return math.inf
    return depth + seed + (30 if rate != {"batch": 1.0, "none": 0.1}[norm] else 0)


def runs(states: dict[str, str] | None = None) -> Runs:
    """Both arms at every depth, rate and seed, evaluated at each step; `states`: of runs by name."""
    rows: list[dict[str, Any]] = []
    trained, facts = {}, {}
    for norm in ("none", "batch"):
        for depth in DEPTHS:
            for rate in RATES:
                for seed in range(PILOTS + len(SEEDS)):
                    run = f"{norm}-{depth}-{rate:g}-{seed}"
                    state = (states or {}).get(run, "finished")
                    trained[run] = {**MLP, "norm": norm, "model.depth": depth, "optim.lr": rate}
                    facts[run] = {"seed": seed, "state": state}
                    there = learns_at(norm, depth, rate, seed)
                    for step in range(3 if state == "running" else 100):
                        rows.append(row(run, step, "accuracy", float(step >= there)))
                        rows.append(row(run, step, "data_loss", there if there < math.inf else 200 + abs(rate - 0.1)))
    return made(rows, trained, facts)


def curves(data: Sheet) -> dict[str, Any]:
    (column,) = data.columns
    return {curve.norm: curve for curve in column.panels[0].curves}


def test_steps_are_those_of_the_best_rate_and_never_is_the_runs_length() -> None:
    data = steps_over_depth.compute(runs())
    drawn = curves(data)
    assert list(drawn) == ["none (He)", "batch (He)"]
    assert drawn["batch (He)"].steps.tolist() == list(DEPTHS)
    assert drawn["batch (He)"].each.tolist() == [[depth + PILOTS + seed for depth in DEPTHS] for seed in SEEDS]
    assert drawn["none (He)"].each.tolist() == [[6.0 + seed, 10.0 + seed, 100.0] for seed in SEEDS]
    assert drawn["none (He)"].median.tolist() == [7.0, 11.0, 100.0]
    table = data.table()
    assert table[table["norm"] == "batch (He)"]["depth"].tolist() == list(DEPTHS)


def test_a_run_under_way_has_not_failed_to_learn() -> None:
    """One that has not ended is no number: neither its length nor the step that it has come to."""
    data = steps_over_depth.compute(runs({"batch-8-1-2": "running"}))
    drawn = curves(data)["batch (He)"]
    seeds = dict(zip(drawn.runs, drawn.each, strict=True))
    assert seeds["seed 4"].tolist() == [8.0, 12.0, 20.0]
    assert seeds["seed 2"].tolist() == pytest.approx([6.0, math.nan, 18.0], nan_ok=True)
    assert "1 of batch (He) not ended, left out" in data.columns[0].panels[0].notes


def test_a_best_rate_at_the_grids_end_is_not_drawn_and_said() -> None:
    whole = runs()
    fewer = whole.only([run for run in whole.each.index if whole.value(run, "optim.lr") <= 1.0])
    data = steps_over_depth.compute(fewer)
    notes = data.columns[0].panels[0].notes
    assert "batch (He), depth 4: the best learning rate of seeds 0, 1, 1, is the grid's end" in notes


def gradients(state: str) -> Runs:
    layers = [*(f"fc{i + 1}" for i in range(10)), "head"]
    trained = {f"s{seed}": {**MLP, "model.depth": 10} for seed in SEEDS}
    rows = [
        row(run, step, "gradient_norm", (1.5 + step) ** (len(layers) - place) * (1 + place * seed), layer=layer)
        for seed, run in enumerate(trained)
        for step in (0, 5)
        for place, layer in enumerate(layers)
    ]
    facts = {run: {"seed": seed, "state": state if seed == 1 else "finished"} for seed, run in enumerate(trained)}
    return made(rows, trained, facts)


def test_gradients_are_squared_and_divided_by_those_of_the_last_hidden_layer() -> None:
    data = gradients_over_depth.compute(gradients("finished"))
    (column,) = data.columns
    assert [panel.over.column for panel in column.panels] == ["layer", "layer"]
    for panel, step in zip(column.panels, (0, 5), strict=True):
        (curve,) = panel.curves
        assert curve.steps.tolist() == list(range(1, 11))
        for seed in SEEDS:
            norms = [(1.5 + step) ** (11 - place) * (1 + place * seed) for place in range(10)]
            assert curve.each[seed] == pytest.approx([(one / norms[9]) ** 2 for one in norms])
        (line,) = panel.expected
        assert line.values.tolist() == pytest.approx(
            [(math.pi / (math.pi - 1)) ** (10 - layer) for layer in range(1, 11)]
        )


@pytest.mark.parametrize("state", ["running", "diverged"])
def test_gradients_are_of_the_runs_that_count_in_the_claims(state: str) -> None:
    (column,) = gradients_over_depth.compute(gradients(state)).columns
    told = {"running": "1 of batch not ended, left out", "diverged": "1 of batch diverged, left out"}[state]
    for panel in column.panels:
        assert panel.curves[0].runs == ("s0", "s2")
        assert told in panel.notes
        assert panel.curves[0].diverged == ()


def test_an_arm_that_is_drawn_in_some_settings_is_not_said_to_be_drawn_in_none() -> None:
    few = MadeUp(("none", "batch", "layer"), 1, keys={"optim.lr": 0.1})
    many = MadeUp(("none", "batch", "layer", "group"), 1, keys={"optim.lr": 0.2})
    found = drawn_settings((few + many).runs(), ("none", "batch"))
    assert [setting.names for setting in found.drawn] == [["none", "batch", "layer"], ["none", "batch"]]
    assert found.notes == ("not drawn here: group", "not drawn in every setting: layer")
