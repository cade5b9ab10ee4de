"""One number per seed from several runs: against loops in plain Python and numpy.polyfit."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from analysis.across import Across, at, curvature, edge, grid_of, slope, width
from analysis.best import best
from analysis.claims import Claim, NotRun, Term, Unanswerable, difference, value
from analysis.errors import WrongInput
from analysis.ledger import judge
from analysis.measures import final, over_training, steps_to_learn
from analysis.runs import Runs
from analysis.select import Ambiguous
from tests import measure_twins as twins
from tests.made_table import BASE, made, row

KEY = "optim.lr"
RATES = (0.001, 0.003, 0.01, 0.1, 1.0)
M, BY = over_training("m"), over_training("by")
Grid = dict[int, dict[float, float]]
"""Seed -> rate -> number."""


def runs_of(further: dict[str, Any] | None = None, **grids: Grid) -> Runs:
    """Runs whose measures of these metrics are these numbers."""
    trained, facts, rows = {}, {}, []
    for metric, grid in grids.items():
        for seed, own in grid.items():
            for rate, number in own.items():
                run = f"lr{rate}-seed{seed}"
                trained[run] = {**BASE, KEY: rate, **(further or {})}
                facts[run] = {"seed": seed}
                rows += [row(run, step, metric, number) for step in range(8)]
    names = list(trained)
    random.Random(0).shuffle(names)  # rates come in no order
    return made(rows, {name: trained[name] for name in names}, {name: facts[name] for name in names})


def numbers(seed: int, seeds: int = 4) -> Grid:
    draw = random.Random(seed)
    return {s: {rate: draw.choice((0.5, 1.0, 2.0, draw.random())) for rate in RATES} for s in range(seeds)}


Ends = tuple[float, float, float]
"""A number, and the ends between which it lies."""


def check(across: Across, runs: Runs, expected: dict[int, float] | dict[int, Ends]) -> None:
    found = across.by_seed(runs)
    assert list(found.columns) == ["number", "low", "high"]
    for seed, ends in expected.items():
        ends = ends if isinstance(ends, tuple) else (ends,) * 3
        assert found.loc[seed].tolist() == pytest.approx(ends, nan_ok=True), seed
    assert set(found.index[found["number"].notna()]) <= set(expected)


# ----------------------------------------------------------------------------------------------------------------- best


@pytest.mark.parametrize("least", [True, False])
@pytest.mark.parametrize("draw", range(6))
def test_best_is_chosen_on_two_pilots_and_judged_on_the_others(draw: int, least: bool) -> None:
    m, by = numbers(draw), numbers(100 + draw)
    by[1].pop(0.1)
    by[1][0.1] = math.nan
    rate = twins.chosen_by_pilots(by, min if least else max)
    if rate in (RATES[0], RATES[-1]):
        with pytest.raises(Unanswerable, match=rf"^the best learning rate of seeds 0, 1, {rate:g}, is the grid's end$"):
            best(M, KEY, BY, least=least).by_seed(runs_of(m=m, by=by))
    else:
        check(best(M, KEY, BY, least=least), runs_of(m=m, by=by), {seed: m[seed][rate] for seed in (2, 3)})


def test_best_does_not_look_at_the_seeds_that_it_judges() -> None:
    by = {seed: {0.001: 9.0, 0.01: 1.0, 0.1: 5.0, 1.0: 9.0} for seed in range(5)}
    lucky = {**by, 3: {0.001: 9.0, 0.01: 1.0, 0.1: -1e9, 1.0: 9.0}}
    check(best(BY, KEY, BY), runs_of(by=lucky), dict.fromkeys((2, 3, 4), 1.0))
    claim = Claim("made", "", "", (value(Term.of("batch", best(M, KEY, BY)), low=0.0),))
    ends = {seed: {0.01: 1.0, 0.1: 2.0, 1.0: 3.0} for seed in range(8)}
    (verdict,) = judge(runs_of(m=ends, by=ends), [claim])
    assert (verdict.word, verdict.reason) == (
        "undecided",
        "the best learning rate of seeds 0, 1, 0.01, is the grid's end",
    )


def test_of_the_seeds_that_are_judged_only_the_run_at_the_best_value_is_needed() -> None:
    """A pilot has a run at every value: a lower seed that lacks one is no pilot, and is judged as all others are."""
    whole = {0.01: 3.0, 0.1: 1.0, 1.0: 2.0}
    lacking = {0.01: -9.0, 0.1: 1.25}  # of its own the best rate were 0.01
    runs = {0: lacking, 1: whole, 2: {0.01: 5.0, 0.1: 2.0, 1.0: 2.5}, 3: {0.1: 1.5}, 4: {1.0: 7.0}, 5: whole}
    check(best(M, KEY, M), runs_of(m=runs), {0: 1.25, 3: 1.5, 5: 1.0})
    for pilots in ((), (1,)):  # one alone chooses nothing
        few = {seed: grid for seed, grid in runs.items() if seed in (0, 3, 4, *pilots)}
        check(best(M, KEY, M), runs_of(m=few), {})


def test_pilots_alone_are_no_seeds() -> None:
    grid = {0.01: 2.0, 0.1: 1.0, 1.0: 2.0}
    check(best(M, KEY, M), runs_of(m={0: grid, 1: grid}), {0: math.nan, 1: math.nan})
    two: Grid = {seed: {0.1: 1.0, 1.0: 2.0} for seed in range(8)}
    with pytest.raises(NotRun, match=r"^a best learning rate needs 3 values or more, not 0.1, 1 alone$"):
        best(M, KEY, M).by_seed(runs_of(m=two))
    claim = Claim("made", "", "", (value(Term.of("batch", best(M, KEY, M)), low=0.0),))
    assert judge(runs_of(m=two), [claim])[0].word == "not run"
    nothing = {seed: dict.fromkeys(grid, math.nan) for seed in range(3)}
    with pytest.raises(Unanswerable, match=r"^no learning rate can be chosen: the pilot seeds have no m$"):
        best(M, KEY, M).by_seed(runs_of(m=nothing))


# ------------------------------------------------------------------------------------------------- width, edge, slope


@pytest.mark.parametrize("draw", range(5))
def test_width_is_that_of_the_longest_stretch(draw: int) -> None:
    m = numbers(draw)
    for options, good in (
        ({"below": 1.5}, lambda number: number < 1.5),
        ({"above": 0.9}, lambda number: number > 0.9),
        ({"below": 1.5, "above": 0.6}, lambda number: 0.6 < number < 1.5),
    ):
        expected = {s: twins.longest_stretch([(rate, good(own[rate])) for rate in RATES]) for s, own in m.items()}
        check(width(M, KEY, **options), runs_of(m=m), {s: ends for s, (ends, _) in expected.items()})
        check(edge(M, KEY, **options), runs_of(m=m), {s: ends for s, (_, ends) in expected.items()})


def test_width_and_edge_by_hand() -> None:
    """A range ends before the next rate that is no good, and where the grid ends first only a bound is known."""
    three = math.log10(3)
    rates = (1.0, 10.0, 30.0, 100.0, 1000.0)
    m = {
        0: dict(zip(rates, (9.0, 1.0, 1.0, 9.0, 9.0), strict=True)),
        1: dict.fromkeys(rates, 9.0),
        2: dict(zip(rates, (9.0, 9.0, 1.0, 9.0, math.nan), strict=True)),  # what is not known is neither good nor bad
        3: dict.fromkeys(rates, 1.0),
        4: dict.fromkeys(rates, 2.0),  # the level itself is not below it
        5: {1.0: 9.0, 10.0: 1.0, 100.0: 9.0, 1000.0: 9.0},  # not run at all rates, as where an edge was bisected
        6: dict(zip(rates, (1.0, 1.0, 9.0, 9.0, 1.0), strict=True)),  # two stretches, the longer one at the end
    }
    no = (math.nan,) * 3
    widths = {0: (three, three, 2.0), 1: (0.0,) * 3, 2: no, 3: (3.0, 3.0, math.inf), 4: (0.0,) * 3}
    check(width(M, KEY, below=2.0), runs_of(m=m), {**widths, 5: (0.0, 0.0, 2.0), 6: (1.0, 1.0, math.inf)})
    edges = {0: (30.0, 30.0, 100.0), 1: (1.0, 0.0, 1.0), 2: no, 3: (1000.0, 1000.0, math.inf), 4: (1.0, 0.0, 1.0)}
    check(edge(M, KEY, below=2.0), runs_of(m=m), {**edges, 5: (10.0, 10.0, 100.0), 6: (10.0, 10.0, 30.0)})


@pytest.mark.parametrize("across", [width, edge])
def test_a_seed_that_was_run_where_others_chose_has_no_width_and_no_edge(across: Callable[..., Across]) -> None:
    """It may fail at the one value that it has and be good at others: nothing is known of its range."""
    pilots = {1.0: 9.0, 10.0: 1.0, 100.0: 9.0}
    m = {0: {**pilots, 30.0: 1.0}, 1: {0.1: 9.0, **pilots}, 2: {10.0: 9.0}, 3: {1.0: 9.0, 10.0: 1.0}, 4: pilots}
    m |= {5: {10.0: 1.0, 100.0: 9.0}, 6: {0.1: 9.0, 1.0: 1.0, 100.0: 9.0}}
    found = across(M, KEY, below=2.0).by_seed(runs_of(m=m))
    assert found.index[found["number"].isna()].tolist() == [2, 3, 5]
    lowest_is_sparse = {0: m[2], 1: m[0], 2: m[1], 3: m[4]}
    assert (
        across(M, KEY, below=2.0).by_seed(runs_of(m=lowest_is_sparse))["number"].isna().tolist() == [True] + [False] * 3
    )
    apart = {0: {1.0: 9.0}, 1: {10.0: 1.0}}
    assert across(M, KEY, below=2.0).by_seed(runs_of(m=apart))["number"].isna().all()
    assert found["high"][0] == (100.0 if across is edge else 2.0)


@pytest.mark.parametrize("log_key", [True, False])
@pytest.mark.parametrize("log_measure", [True, False])
def test_slope_is_that_of_least_squares(log_key: bool, log_measure: bool) -> None:
    m = {seed: {rate: math.exp(random.Random(f"{seed}{rate}").gauss(0, 1)) for rate in RATES} for seed in range(3)}
    expected = {}
    for seed, own in m.items():
        x, y = np.array(RATES), np.array([own[rate] for rate in RATES])
        expected[seed] = np.polyfit(np.log(x) if log_key else x, np.log(y) if log_measure else y, 1)[0]
    check(slope(M, KEY, log_key=log_key, log_measure=log_measure), runs_of(m=m), expected)


def test_slope_of_what_has_no_logarithm() -> None:
    m = {0: {0.01: 1.0, 1.0: 10.0}, 1: {0.01: 0.0, 1.0: 1.0}, 2: {0.01: 1.0, 1.0: math.inf}}
    check(slope(M, KEY), runs_of(m=m), {0: 0.5, 1: math.nan, 2: math.nan})


def test_a_slope_through_a_bound_is_a_bound() -> None:
    """Steps to learn of a run that never learns are its length or more: to the side to which they pull the slope."""
    speed = steps_to_learn()
    rows, trained, facts = [], {}, {}
    for seed, reached in enumerate(((10, 20, math.inf), (math.inf, 20, 20), (10, 20, 40))):
        for depth, at_step in zip((5, 10, 20), reached, strict=True):
            run = f"{depth}-{seed}"
            trained[run], facts[run] = {**BASE, "model.depth": depth}, {"seed": seed}
            rows += [row(run, step, "accuracy", float(step >= at_step)) for step in range(120)]
    found = slope(speed, "model.depth").by_seed(made(rows, trained, facts))
    x, by = np.log([5, 10, 20]), {0: (10, 20, 120), 1: (120, 20, 20), 2: (10, 20, 40)}
    expected = {seed: np.polyfit(x, np.log(own), 1)[0] for seed, own in by.items()}
    assert found["number"].to_dict() == pytest.approx(expected)
    assert found["low"].to_dict() == pytest.approx({**expected, 1: -math.inf})
    assert found["high"].to_dict() == pytest.approx({**expected, 0: math.inf})


def test_curvature_is_that_of_a_parabola() -> None:
    m = numbers(7)
    expected = {s: np.polyfit(np.log(RATES), np.log([own[r] for r in RATES]), 2)[0] for s, own in m.items()}
    check(curvature(M, KEY), runs_of(m=m), expected)
    plain = {s: np.polyfit(RATES, [own[r] for r in RATES], 2)[0] for s, own in m.items()}
    check(curvature(M, KEY, log_key=False, log_measure=False), runs_of(m=m), plain)
    check(curvature(M, KEY), runs_of(m={0: {0.1: 1.0, 1.0: 2.0}}), {0: math.nan})


def test_at_one_value() -> None:
    m = numbers(3)
    check(at(M, KEY, 0.1), runs_of(m=m), {seed: own[0.1] for seed, own in m.items()})
    check(at(M, KEY, 0.2), runs_of(m=m), dict.fromkeys(m, math.nan))


# ----------------------------------------------------------------------------------------------------------- the door


def test_a_seed_that_lacks_a_value_of_the_key_has_no_number() -> None:
    m = numbers(1, seeds=3)
    del m[1][0.1]
    check(at(M, KEY, 1.0), runs_of(m=m), {0: m[0][1.0], 1: math.nan, 2: m[2][1.0]})
    diverged: Grid = {**numbers(1, seeds=2), 2: dict.fromkeys(RATES, math.nan)}
    endless = (3.0, 3.0, math.inf)
    check(width(M, KEY, below=math.inf), runs_of(m=diverged), {0: endless, 1: endless, 2: (math.nan,) * 3})


def test_the_grid_is_that_of_all_arms() -> None:
    """An arm whose last rate still runs has no number where every rate is needed, and no end of its range."""
    m: Grid = {seed: dict.fromkeys(RATES, 1.0) for seed in range(3)}
    whole, lacking = runs_of(m=m), runs_of(m={seed: dict.fromkeys(RATES[:-1], 1.0) for seed in range(3)})
    across = slope(M, KEY)
    grid = grid_of(whole, [KEY])
    assert grid == {KEY: list(RATES)}
    assert across.by_seed(lacking)["number"].tolist() == [0.0] * 3
    assert across.by_seed(lacking, grid)["number"].isna().all()
    assert width(M, KEY, below=2.0).by_seed(lacking, grid)["high"].tolist() == [math.inf] * 3
    claim = Claim("made", "", "", (difference(Term.of("batch", across), Term.of("none", across), low=0.5),))
    rows, trained, facts = [], {}, {}
    for norm, seed, rate in itertools.product(("none", "batch"), range(3), RATES):
        run = f"{norm}{rate}-{seed}"
        trained[run] = {**BASE, "norm": norm, KEY: rate}
        facts[run] = {"seed": seed, "state": "running" if (norm, rate) == ("none", 1.0) else "finished"}
        rows += [row(run, step, "m", 1.0) for step in range(8)]
    (verdict,) = judge(made(rows, trained, facts), [claim])
    assert (verdict.word, verdict.seeds) == ("undecided", 0)


def test_words_are_no_numbers() -> None:
    rows = [row(run, step, "m", 1.0) for run in ("a", "b") for step in range(8)]
    runs = made(rows, {"a": BASE, "b": {**BASE, "norm.kind": "soft"}})
    for across in (slope(M, "norm.kind"), width(M, "norm.kind", below=1), edge(M, "norm.kind", below=1)):
        with pytest.raises(WrongInput, match=r"^norm.kind: its values .*soft.* are no numbers"):
            across.by_seed(runs)


@pytest.mark.parametrize(
    "across", [slope(M, KEY), curvature(M, KEY), width(M, KEY, below=9), edge(M, KEY, below=9)], ids=lambda a: a.name
)
def test_of_one_value_there_is_nothing_to_go_across(across: Across) -> None:
    """Not run, where the value is that of all arms; in a setting of several, an arm that has one has its bounds."""
    one = runs_of(m={seed: {0.1: 2.0 + seed} for seed in range(6)})
    with pytest.raises(NotRun, match=r" needs 2 values of the learning rate or more, not 0.1 alone$"):
        across.by_seed(one)
    claim = Claim("made", "", "", (value(Term.of("batch", across), low=0.0),))
    (verdict,) = judge(one, [claim])
    assert (verdict.setting, verdict.word) == ("", "not run")
    assert "not 0.1 alone" in verdict.reason
    trained, facts, rows = {}, {}, []
    for seed, (steps, rates) in itertools.product(range(6), ((40, (0.1,)), (77, (0.01, 0.1, 1.0)))):
        for rate in rates:
            run = f"{steps}-{rate}-{seed}"
            trained[run], facts[run] = {**BASE, KEY: rate, "model.depth": steps}, {"seed": seed}
            rows += [row(run, step, "m", 2.0) for step in range(8)]
    found = judge(made(rows, trained, facts), [claim])
    assert [verdict.values["model.depth"] for verdict in found] == [77]  # the setting of one rate is not judged
    assert found[0].word != "not run"
    assert len(edge(M, KEY, below=9).by_seed(one, {KEY: [0.01, 0.1]})) == 6


def test_two_runs_of_one_value_are_refused() -> None:
    trained = {"a": BASE, "b": {**BASE, "model.width": 2.0}, "c": {**BASE, KEY: 1.0}}
    runs = made([row(run, step, "m", 1.0) for run in trained for step in range(8)], trained)
    with pytest.raises(Ambiguous, match=r"runs of seed 0 differ in model.width \(1, 2\)"):
        slope(M, KEY).by_seed(runs)


def test_what_it_needs_and_says() -> None:
    both = best(M, KEY, final("accuracy", "test"), least=False)
    assert both.metrics == (("m", "train"), ("accuracy", "test"))
    assert both.free == (KEY,)
    assert "chosen on the 2 lowest seeds that have every value, by the greatest final test accuracy" in both.says
    assert not both.diverged_count
    assert best(final("loss", "train"), KEY, final("accuracy", "test")).diverged_count
    assert "least" in best(M, KEY, BY).says
    assert "below 1.5" in width(M, KEY, below=1.5).says
    assert "above 0.25" in width(M, KEY, above=0.25).says
    assert "with m below 2 and above 0.5 (" in width(M, KEY, below=2.0, above=0.5).says
    assert slope(M, KEY).says.startswith("least-squares slope of log m on log learning rate")
    assert "slope of m on learning rate" in slope(M, KEY, log_key=False, log_measure=False).says
    assert at(M, KEY, 0.1).name == "m at learning rate 0.1"
    assert slope(best(M, KEY, BY), "model.depth").free == ("model.depth", KEY)


def test_a_claim_goes_across_a_key() -> None:
    """The key is no wall in its settings; a further key that follows from it is none either."""
    grid: Grid = {seed: {rate: rate**2 * (1 + 1e-3 * seed) for rate in RATES} for seed in range(4)}
    claim = Claim("made", "", "", (value(Term.of("batch", slope(M, KEY)), low=1.9, high=2.1),))
    (verdict,) = judge(runs_of(m=grid), [claim])
    assert (verdict.word, verdict.seeds) == ("supported", 4)
    assert KEY not in verdict.setting
    assert "learning rate" not in verdict.setting


def test_what_follows_from_a_key_is_one_at_each_of_its_values() -> None:
    """Other data at one blend are other data, not another seed."""

    def runs(depths: Sequence[int]) -> Runs:
        trained, facts, rows = {}, {}, []
        for seed, depth in enumerate(depths):
            for place, rate in enumerate(RATES[:3]):
                run = f"lr{rate}-seed{seed}"
                trained[run] = {**BASE, KEY: rate, "model.depth": depth + place}
                facts[run] = {"seed": seed}
                rows += [row(run, step, "m", rate) for step in range(8)]
        return made(rows, trained, facts)

    across = slope(M, KEY, follows=("model.depth",))
    check(across, runs((3, 3)), {0: 1.0, 1: 1.0})
    with pytest.raises(Ambiguous, match=r"^runs of one learning rate differ in model.depth$"):
        across.by_seed(runs((3, 5)))
