"""The study of periodic behaviour: jumps, their period and the norm about them against plain loops and closed forms."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import experiments
from analysis.runs import Runs
from analysis.studies.lobacheva2021 import claims, own_measures
from analysis.studies.lobacheva2021.figures import periodic_jumps
from tests.made_table import BASE, made, row
from tests.pages import ROOT
from tests.runs import checkpoint

RATE, DECAY = 0.5, 0.002
"""A time scale of 500 steps."""


def told(steps: int, **more: Any) -> dict[str, Any]:
    return {**BASE, "optim.lr": RATE, "optim.weight_decay": DECAY, "steps": steps, **more}


def rows_of(losses: list[float], norms: dict[int, tuple[float, float]] | None = None, run: str = "a") -> list[Any]:
    rows = [row(run, step, "data_loss", value, probe="training") for step, value in enumerate(losses)]
    for step, pair in (norms or {}).items():
        rows += [row(run, step, "weight_norm", value, layer=f"fc{i}") for i, value in enumerate(pair)]
    return rows


def sawtooth(steps: int, every: int, size: float = 1.0, low: float = 0.001) -> list[float]:
    """A loss that falls from `size` to `low` and jumps back at each multiple of `every`."""
    return [size * (low / size) ** (step % every / every) for step in range(steps)]


def by_hand(losses: list[float]) -> list[int]:
    """Steps at which it jumps, in plain loops."""
    means = [sum(losses[at : at + 20]) / 20 for at in range(0, len(losses) - 19, 20)]
    rises = [k for k in range(1, len(means)) if any(means[k] >= 10 * means[j] for j in (k - 1, k - 2) if j >= 0)]
    return [20 * k for place, k in enumerate(rises) if place == 0 or k - rises[place - 1] >= 5]


@pytest.mark.parametrize("seed", range(5))
def test_jumps_are_counted_as_in_plain_loops(seed: int) -> None:
    draw = random.Random(seed)
    losses = [math.exp(draw.gauss(0, 0.3)) * (300.0 if draw.random() < 0.004 else 0.1) for _ in range(1507)]
    rows = rows_of(losses)
    draw.shuffle(rows)
    runs, expected = made(rows, {"a": told(1507)}), by_hand(losses)
    assert expected
    assert [20 * k for k in own_measures.jumps_of(own_measures.blocks(runs)["a"])] == expected
    assert own_measures.jumps().of(runs)["a"] == len(expected)
    if len(expected) >= 3:
        period = (expected[-1] - expected[0]) / (len(expected) - 1) / 500
        assert own_measures.period().of(runs)["a"] == pytest.approx(period)


@pytest.mark.parametrize(("every", "expected"), [(500, 1.0), (400, 0.8), (1000, 2.0)])
def test_the_period_is_over_the_time_scale(every: int, expected: float) -> None:
    runs = made(rows_of(sawtooth(4500, every)), {"a": told(4500)})
    assert own_measures.jumps().of(runs)["a"] == 4500 // every - (4500 % every == 0)
    assert own_measures.period().of(runs)["a"] == pytest.approx(expected)


def test_a_slow_rise_a_small_one_and_a_falling_loss_are_no_jumps() -> None:
    slow = [0.001 * 1.02**step for step in range(400)]
    small = sawtooth(2000, 500, low=0.12)
    falling = [math.exp(-step / 100) for step in range(2000)]
    for losses in (slow, small, falling):
        assert own_measures.jumps().of(made(rows_of(losses), {"a": told(len(losses))}))["a"] == 0


def test_a_jump_of_ten_times_is_one_and_of_a_little_less_is_none() -> None:
    for factor, expected in ((10.01, 1), (9.99, 0)):
        losses = [1.0] * 200 + [factor] * 20 + [1.0] * 80
        assert own_measures.jumps().of(made(rows_of(losses), {"a": told(300)}))["a"] == expected


def test_two_jumps_have_no_period_and_no_decay_has_no_time_scale() -> None:
    runs = made(rows_of(sawtooth(1500, 500)), {"a": told(1500)})
    assert own_measures.jumps().of(runs)["a"] == 2
    assert math.isnan(own_measures.period().of(runs).get("a", math.nan))
    without = made(rows_of(sawtooth(4500, 500)), {"a": told(4500, **{"optim.weight_decay": 0.0})})
    assert math.isnan(own_measures.period().of(without).get("a", math.nan))
    assert own_measures.time_scale(without, "a") == math.inf


def test_losses_of_every_second_step_make_no_averages() -> None:
    rows = [row("a", step, "data_loss", value) for step, value in enumerate(sawtooth(2000, 500)) if step % 2]
    assert own_measures.blocks(made(rows, {"a": told(2000)})) == {}


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (40, 1.0), (-40, 1.0), (80, 0.0), (-80, 0.0), (250, 0.0)])
def test_jumps_at_a_minimum_of_the_norm_taken_over_all_layers(shift: int, expected: float) -> None:
    """The norm, of two layers of which neither has its minimum there alone, is least `shift` steps beside each jump."""
    norms = {}
    for step in range(0, 3000, 20):
        away = abs((step - shift + 250) % 500 - 250)
        whole = 2 + away / 250
        part = 0.5 + 0.2 * math.sin(step / 90)
        norms[step] = (math.sqrt(part) * whole, math.sqrt(1 - part) * whole)
    runs = made(rows_of(sawtooth(3000, 500), norms), {"a": told(3000)})
    assert own_measures.norms(runs)["a"].loc[500] == pytest.approx(2 + abs((500 - shift + 250) % 500 - 250) / 250)
    assert own_measures.at_minimum().of(runs)["a"] == expected


@pytest.mark.parametrize(("before", "expected"), [(100, 0.0), (160, 1.0)])
def test_a_lower_norm_counts_against_a_jump_within_a_quarter_of_a_time_scale_alone(
    before: int, expected: float
) -> None:
    """A quarter of the time scale of 500 steps is 125: a dip so many steps before each jump, lower than at the jump."""
    line = {step: 2 + abs((step + 250) % 500 - 250) / 250 for step in range(0, 3000, 20)}
    line |= {step: 1.0 for step in line if step % 500 == 500 - before}
    runs = made(rows_of(sawtooth(3000, 500), {step: (norm, 0.0) for step, norm in line.items()}), {"a": told(3000)})
    assert own_measures.time_scale(runs, "a") == pytest.approx(500)
    assert own_measures.at_minimum().of(runs)["a"] == expected


def test_under_a_norm_that_only_falls_no_jump_is_at_its_minimum() -> None:
    norms = {step: (math.exp(-step / 500), 0.0) for step in range(0, 3000, 20)}
    runs = made(rows_of(sawtooth(3000, 500), norms), {"a": told(3000)})
    assert own_measures.at_minimum().of(runs)["a"] == 0


# ------------------------------------------------------------------------------------------------- arms and the figure


def test_the_experiments_run_the_pairs_and_arms_of_the_claims() -> None:
    folder = ROOT / "conf" / "experiment" / "lobacheva2021"
    arms = yaml.safe_load((folder / "jumps.yaml").read_text())["hydra"]["sweeper"]["arms"]
    pairs = []
    for overrides in arms.values():
        values = dict(text.split("=") for text in overrides)
        pairs.append((float(values["optim.lr"]), float(values["optim.weight_decay"])))
        assert int(values["steps"]) == pytest.approx(10 / (2 * pairs[-1][0] * pairs[-1][1]))
    assert sorted(pairs) == sorted(claims.PAIRS)
    config = experiments.compose(["experiment=lobacheva2021/jumps"])
    where = dict(claims.INVARIANT.where)
    assert where["model.fixed_output"] == config.model.fixed_output
    assert (where["norm.affine"], where["norm.eps"]) == (config.norm.affine, config.norm.eps)


def test_the_plain_arm_trains_its_output_and_has_no_normalisation(tmp_path: Path) -> None:
    chosen = ["experiment=lobacheva2021/controls", "arm=plain", f"runs_dir={tmp_path}", "steps=25", "model.widths=[8]"]
    path = Path(experiments.run(experiments.compose(chosen)).path)
    state, runs = checkpoint(path)["network"], Runs.load(path)
    assert not any("norm" in name for name in state)
    assert claims.PLAIN.runs(runs) == list(runs.each.index)
    assert claims.INVARIANT.runs(runs) == []
    assert len(own_measures.blocks(runs)[runs.each.index[0]]) == 1, "of 25 steps one whole average"


def test_the_figure_draws_averages_and_norms() -> None:
    rows, trained, facts = [], {}, {}
    for place, arm in enumerate((claims.INVARIANT, claims.PLAIN)):
        for seed in range(2):
            run = f"{place}-{seed}"
            trained[run], facts[run] = {**told(200), **dict(arm.where)}, {"seed": seed}
            rows += rows_of([1.0 + place] * 200, dict.fromkeys(range(0, 200, 20), (3.0, 4.0)), run)
    (column,) = periodic_jumps.compute(made(rows, trained, facts)).columns
    loss, norm = column.panels
    assert {c.norm: c.median.tolist() for c in loss.curves} == {
        claims.INVARIANT.name: [1.0] * 10,
        periodic_jumps.NONE.name: [2.0] * 10,
    }
    for curve in norm.curves:
        assert curve.steps.tolist() == list(range(0, 200, 20))
        assert curve.median.tolist() == pytest.approx([5.0] * 10)
