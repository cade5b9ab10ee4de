"""The learning rate at which figures draw an arm: the one that claims choose, and that of a loop in plain Python."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest

from analysis.across import grid_of
from analysis.best import best, chosen_value
from analysis.claims import Unanswerable
from analysis.drawing.rates import RATE, at_best_rate
from analysis.measures import final
from analysis.runs import Runs
from analysis.select import Setting, settings
from analysis.standard import TEST_LOSS
from analysis.usable import usable
from tests.made_table import BASE, made, row

RATES = (0.01, 0.1, 1.0, 10.0)
Losses = dict[tuple[str, int, float], float]
"""Arm, seed, learning rate -> test loss; inf: the run diverged."""


def runs_of(losses: Losses) -> Runs:
    trained: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    rows = []
    for (arm, seed, rate), loss in losses.items():
        run = f"{arm}-{seed}-{rate}"
        trained[run] = {**BASE, "norm": arm, RATE: rate}
        facts[run] = {"seed": seed} | ({} if math.isfinite(loss) else {"state": "diverged", "diverged_at": 1.0})
        rows.append(row(run, 0, "data_loss", loss if math.isfinite(loss) else 0.001, batch="test"))
    return made(rows, trained, facts)


def setting_of(losses: Losses) -> Setting:
    (setting,) = settings(runs_of(losses), free=(RATE,))
    return setting


def by_loop(losses: Losses, arm: str, rates: list[float]) -> float | None:
    """The rate of the least median loss of the two lowest seeds that have a run at every rate."""
    seeds = sorted({seed for one, seed, _ in losses if one == arm})
    pilots = [seed for seed in seeds if all((arm, seed, rate) in losses for rate in rates)][:2]
    if not pilots:
        return None
    return min(rates, key=lambda rate: statistics.median(losses[arm, seed, rate] for seed in pilots))


@pytest.mark.parametrize("number", range(12))
def test_figures_draw_an_arm_at_the_rate_that_claims_choose(number: int) -> None:
    """Among development and confirmatory seeds, some of which lack a run or diverge, at any place of the grid."""
    draw = random.Random(number)
    seeds = sorted(draw.sample(range(16), 5))
    losses = {
        (arm, seed, rate): math.inf if draw.random() < 0.15 else draw.random()
        for arm in ("none", "batch")
        for seed in seeds
        for rate in RATES
    }
    for lacking in draw.sample(sorted(losses), 3):
        del losses[lacking]
    setting = setting_of(losses)
    for arm in ("none", "batch"):
        own, rate = at_best_rate(setting, arm)
        assert rate == by_loop(losses, arm, list(RATES))
        assert {own.value(run, RATE) for run in own.each.index} == {rate}
        assert set(own.each["seed"]) == {seed for one, seed, at in losses if (one, at) == (arm, rate)}
        rule, counted = best(TEST_LOSS, RATE, by=TEST_LOSS), usable(setting.own(arm), TEST_LOSS, arm)[0]
        grid = grid_of(setting.runs, (RATE,))
        try:
            judged = rule.by_seed(counted, grid)["number"].dropna()
        except Unanswerable:
            assert rate in (RATES[0], RATES[-1])
            continue
        assert rate not in (RATES[0], RATES[-1])
        assert judged.to_dict() == {seed: losses[arm, seed, rate] for seed in judged.index}


def test_an_arm_of_which_no_run_has_ended_is_drawn_at_no_rate() -> None:
    losses = {("none", seed, rate): rate for seed in range(3) for rate in RATES}
    runs = runs_of(losses | {("batch", 0, rate): 1.0 for rate in RATES})
    runs.each.loc[[run for run in runs.each.index if run.startswith("batch")], "state"] = "running"
    (setting,) = settings(runs, free=(RATE,))
    own, rate = at_best_rate(setting, "batch")
    assert (len(own.each), rate) == (0, None)
    assert at_best_rate(setting, "none")[1] == RATES[0]


def test_where_no_seed_has_the_rates_of_all_arms_the_arms_own_count() -> None:
    losses = {("none", seed, rate): rate for seed in range(3) for rate in (0.1, 1.0)}
    losses |= {("batch", seed, rate): 1 / rate for seed in range(3) for rate in (0.1, 1.0, 10.0)}
    setting = setting_of(losses)
    assert at_best_rate(setting, "none")[1] == 0.1
    assert at_best_rate(setting, "batch")[1] == 10.0


def test_no_rate_is_chosen_where_nothing_is_recorded_or_two_runs_are_of_one_seed() -> None:
    setting = setting_of({("none", 0, rate): 1.0 for rate in RATES})
    own, rate = at_best_rate(setting, "none", by=final("data_loss", "nowhere"))
    assert rate is None
    assert list(own.each.index) == list(setting.of["none"])
    twice = {name: {**BASE, "norm": "none", RATE: 0.1, "run": name} for name in ("a", "b")}
    rows = [row(name, 0, "data_loss", 1.0, batch="test") for name in twice]
    runs = made(rows, twice, {name: {"seed": 0} for name in twice})
    (setting,) = settings(runs, free=(RATE, "run"))
    assert at_best_rate(setting, "none")[1] is None


def test_the_rule_of_a_chosen_value_is_told() -> None:
    told = chosen_value(TEST_LOSS, RATE).says
    assert told.startswith(f"learning rate of the least {TEST_LOSS.name}")
    assert told.endswith("on the 2 lowest seeds")
