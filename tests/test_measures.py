"""Every measure against loops in plain Python, on random records with what real ones have: gaps, NaN, infinities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from analysis import progress
from analysis.measures import (
    Along,
    Since,
    drift,
    each_layer,
    final,
    forms,
    learnt_share,
    over_training,
    shared_levels,
    steps_to_learn,
    trend,
)
from analysis.progress import Levels, Part, Window
from analysis.runs import Runs
from analysis.select import Ambiguous
from analysis.studies.santurkar2018 import own_measures
from analysis.studies.yang2019 import claims as depth
from tests import measure_twins as twins
from tests.made_table import BASE, accuracies, awkward, four, made, row

RUNS = [f"r{i}" for i in range(4)]
LENGTHS = {run: 120 + 30 * i for i, run in enumerate(RUNS)}
WINDOWS: Sequence[Window] = (*get_args(Part), Levels(2.0, 0.5), Levels(1.3, 0.2))
ALONG: Sequence[Along] = get_args(Along)


def same(found: pd.Series, expected: dict[str, float]) -> None:
    """Equal to rounding, NaN and infinities in the same places."""
    assert list(found.index) == RUNS
    assert found.to_dict() == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


def told(values: dict[str, float], least: int = 1) -> dict[str, float]:
    """The values, of which so many are numbers: a comparison of NaN with NaN says nothing."""
    assert sum(math.isfinite(value) for value in values.values()) >= least, values
    return values


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("seed", range(4))
def test_measures_of_training(seed: int) -> None:
    rows = accuracies(seed)
    diverged = ("r0",) if seed % 2 else ("r1", "r2")
    runs = four(rows, diverged=diverged)
    expected = {run: twins.steps_to_learn(rows, run, LENGTHS[run]) for run in RUNS}
    same(steps_to_learn().of(runs), told(expected))
    resolution = steps_to_learn().resolution
    assert resolution is not None
    same(resolution(runs), {run: twins.grid_step(rows, run) - 1 for run in RUNS})
    by_seed = steps_to_learn().by_seed(runs).set_axis(list(reversed(RUNS)))
    for run, (number, low, high) in by_seed.iterrows():
        never = not any(r["value"] >= 0.9 for r in twins.of(rows, "accuracy", "train") if r["run"] == run)
        assert low == (number if never else pytest.approx(number - twins.grid_step(rows, str(run)) + 1))
        assert high == (math.inf if never else number)
    for metric, batch in itertools.product(("accuracy", "data_loss"), ("train", "test")):
        expected = {run: twins.final(rows, run, metric, batch, run in diverged) for run in RUNS}
        same(final(metric, batch).of(runs), told(expected))
    ends = {run: twins.final(rows, run, "accuracy", "train", run in diverged) for run in RUNS}
    starts = {run: twins.first(rows, run, "accuracy", "train") for run in RUNS}
    same(learnt_share().of(runs), told({r: (ends[r] - starts[r]) / (1 - starts[r]) for r in RUNS}))
    assert all(learnt_share().of(runs)[run] == 0 for run in diverged)
    assert all(m.diverged_count for m in (steps_to_learn(), learnt_share(), final("data_loss", "test")))


def test_the_last_tenth_begins_at_nine_tenths_of_the_last_step() -> None:
    ends = {0: 9.0, 80: 7.0, 90: 1.0, 95: 2.0, 100: 4.0, 105: 5.0}
    for last, expected in ((100, 2.0), (105, 4.0)):
        rows = [row("r0", step, "data_loss", value) for step, value in ends.items() if step <= last]
        assert final("data_loss", "train").of(four(rows))["r0"] == expected


def test_a_diverged_run_has_its_untrained_networks_accuracy_by_whichever_statistics() -> None:
    """Other statistics are evaluated at the end alone, where nothing is untrained."""
    rows = [row("r0", step, "accuracy", value, batch="test") for step, value in ((0, 0.1), (50, 0.6), (100, 0.7))]
    rows += [row("r0", 100, "accuracy", 0.8, batch="test, population")]
    measure = final("accuracy", "test", statistics="population")
    assert measure.of(four(rows))["r0"] == 0.8
    assert measure.of(four(rows, diverged=("r0",)))["r0"] == 0.1


def test_what_was_never_recorded_has_no_number() -> None:
    runs = four([row(run, step, "other", 1.0) for run in RUNS for step in range(9)])
    asked = [steps_to_learn(), final("accuracy", "train"), learnt_share(), over_training("gone")]
    asked += [own_measures.swing(), own_measures.bend_share(), drift("mean", batch="train")]
    for measure in asked:
        assert measure.of(runs).isna().all(), measure.says
    # also where others have it
    alone = four([row("r0", step, "m", 1.0) for step in range(9)])
    assert over_training("m").of(alone).tolist() == pytest.approx([1.0] + [math.nan] * 3, nan_ok=True)


def test_a_step_is_never_read_finer_than_the_grid_of_evaluations() -> None:
    rows = [row(run, step, "accuracy", 1.0) for run in RUNS for step in (0, 40, 80)]
    assert steps_to_learn().of(four(rows)).tolist() == [40.0] * 4
    assert steps_to_learn().of(four(rows[::3])).tolist() == [0.0] * 4  # one evaluation knows no distance
    never = [{**one, "value": 0.899} for one in rows]
    assert steps_to_learn().of(four(never)).tolist() == [120.0, 150.0, 180.0, 210.0]
    just = [{**one, "value": 0.9 if one["step"] == 80 else 0.899} for one in rows]
    assert steps_to_learn().of(four(just)).tolist() == [80.0] * 4


# -------------------------------------------------------------------------------------------------------- over training


def by_step(rows: list[dict[str, Any]], metric: str, **options: Any) -> dict[str, dict[int, float]]:
    own: list[Any] = twins.of(rows, metric, options.get("batch", "train"))
    if options.get("along"):
        own = twins.lines(own, metric, options["along"], options.get("grid"))
    if options.get("skip_first_layer"):
        own = twins.without_first_layer(own)
    if options.get("over"):
        own = twins.divided(own, twins.of(rows, options["over"], options.get("batch", "train")))
    return {run: twins.over_layers(own, run) for run in RUNS}


def in_window(rows: list[dict[str, Any]], steps: dict[str, dict[int, float]], window: Window) -> dict[str, float]:
    if isinstance(window, Levels):
        levels = twins.levels_between(window.high, window.low)
        return {run: twins.over_levels(steps[run], twins.progress(rows, run), levels) for run in RUNS}
    return {run: twins.over_steps(steps[run], window, LENGTHS[run], twins.learnt(rows, run)) for run in RUNS}


@pytest.mark.parametrize("skip", [False, True])
def test_over_layers(skip: bool) -> None:
    rows = accuracies(1) + awkward(2, ["m"], by_layer=True, batches=("train", "fixed"))
    rows += awkward(3, ["norm"], by_layer=True, whole_too=True, batches=("train", "fixed"))
    runs = four(rows)
    for batch, over in itertools.product(("train", "fixed"), (None, "norm")):
        options: dict[str, Any] = {"batch": batch, "over": over, "skip_first_layer": skip}
        steps = by_step(rows, "m", **options)
        for window in WINDOWS:
            measure = over_training("m", window=window, **options)
            same(measure.of(runs), told(in_window(rows, steps, window)))


@pytest.mark.parametrize("metric", ["landscape_loss", "gradient_difference", "effective_beta"])
def test_along_a_line(metric: str) -> None:
    rows = accuracies(4) + awkward(5, [metric], by_x=True)
    rows += awkward(6, ["norm"], by_layer=True, whole_too=True)
    runs = four(rows)
    for along, grid, over in itertools.product(ALONG, (None, (0.5, 4.0)), (None, "norm")):
        options: dict[str, Any] = {"along": along, "grid": grid, "over": over}
        steps = by_step(rows, metric, **options)
        for window in WINDOWS:
            measure = over_training(metric, window=window, **options)
            same(measure.of(runs), told(in_window(rows, steps, window)))


def test_over_training_means_over_steps_however_the_probes_were_spaced() -> None:
    """A quantity that rises with the step, probed densely at first: its median is that of the steps."""
    steps = [*range(20), 40, 60, 80, 100, 119]
    runs = four([row("r0", step, "m", float(step)) for step in steps])
    assert over_training("m").of(runs)["r0"] == 59.5  # of the probed steps it would be 12


def test_the_forms_of_a_measure_and_the_levels_of_the_data_loss() -> None:
    """Two runs that go the same way, one ten times as fast: alike at equal loss, not at equal steps."""
    rows = []
    for run, speed in (("r0", 0.03), ("r1", 0.3)):
        losses = [2.5 * math.exp(-speed * step) for step in range(120)]
        rows += [row(run, step, "data_loss", loss, probe="training") for step, loss in enumerate(losses)]
        rows += [row(run, step, "accuracy", float(loss < 0.2), probe="training") for step, loss in enumerate(losses)]
        rows += [row(run, step, "m", loss) for step, loss in enumerate(losses)]
    runs = four(rows)
    made = forms(over_training, "m")
    assert list(made) == ["equal loss", "equal step", "own window"]
    at_loss, at_step, own = (made[form].of(runs) for form in made)
    assert at_loss[["r0", "r1"]].tolist() == pytest.approx([2.0 * 2 ** (-8.5 / 4)] * 2, rel=0.02)
    assert at_step["r0"] > 100 * at_step["r1"]
    assert own["r0"] == pytest.approx(own["r1"], rel=0.2)
    assert made["equal loss"].says == "m, median over levels of the data loss from 2 to 0.1"
    assert made["equal loss"].name == "m at equal loss"
    assert made["equal loss"].probed(runs)[["r0", "r1"]].tolist() == [98.0, 10.0]  # 8 to 105, 1 to 10
    assert len(Levels().values) == 18
    assert Levels(1.0, 0.25).values == pytest.approx(twins.levels_between(1.0, 0.25))
    assert shared_levels([(made["equal loss"], runs), (made["equal step"], runs)]) == {}
    assert shared_levels([(made["equal loss"], runs), (over_training("m", window=Levels(1.0, 0.2)), runs)]) == {}


def test_where_the_loss_was_recorded_too_seldom_there_is_no_progress() -> None:
    """Every fifth step: at one level in five steps a probed step lies between its neighbours, beyond it nowhere."""
    level = 2 ** (-1 / 4)
    rows = [row("r0", step, "m", float(step)) for step in range(101)]
    for run, factor in (("r1", level / 1.001), ("r2", level * 1.001)):
        rows += [row(run, step, "m", float(step)) for step in range(101)]
        rows += [row(run, 5 * k, "data_loss", 4.0 * factor**k, probe="training") for k in range(21)]
    runs = four(rows)
    found = progress.curves(runs, pd.DataFrame(twins.of(rows, "m")))
    assert np.isnan(found["r0"].loss).all()
    for run, known in (("r1", range(0, 101, 5)), ("r2", range(101))):
        assert np.flatnonzero(~np.isnan(found[run].loss)).tolist() == list(known)
    window = Levels(2.0, 1.0)
    assert [found[run].probed(window) for run in ("r1", "r2")] == [4, 20]
    assert over_training("m", window=window).of(runs)[["r1", "r2"]].tolist() == pytest.approx(
        [math.nan, 5 * 6 * math.log(2) / 4 / -math.log(level * 1.001)], nan_ok=True, rel=0.02
    )


def test_a_trend_is_the_last_third_less_the_first() -> None:
    rows = accuracies(21) + awkward(22, ["m"], by_layer=True)
    runs = four(rows)
    ends = {window: in_window(rows, by_step(rows, "m"), window) for window in ("early", "late")}
    same(trend(over_training, "m").of(runs), told({run: ends["late"][run] - ends["early"][run] for run in RUNS}))
    rising = four([row("r0", step, "m", 3.0 * step) for step in range(0, 120, 2)])  # 0 to 40 and 80 to 118 of 120
    found = trend(over_training, "m", name="what rises")
    assert found.of(rising)["r0"] == 3 * (99 - 20)
    assert found.name == "trend of what rises"
    said = "median over the steps of the {} third of training"
    assert found.says == f"m, {said.format('last')} minus {said.format('first')}"
    assert found.probed(rising)["r0"] == 20  # 21 in the first third


def test_any_batch_counts_where_none_is_named() -> None:
    rows = [row("r0", step, "m", value, batch=b) for step in range(9) for b, value in (("train", 1.0), ("test", 3.0))]
    runs = four(rows)
    assert over_training("m", batch=None).of(runs)["r0"] == 2.0
    assert over_training("m", batch="test").of(runs)["r0"] == 3.0
    assert over_training("m").metrics == (("m", "train"),)
    assert over_training("m", over="n", batch=None).metrics == (("m", None), ("n", None))


def test_ends_of_a_grid_are_step_lengths_of_it_whatever_the_rounding() -> None:
    length = 0.1 + 0.2  # not 0.3
    rows = [row("r0", step, "m", x, x=x) for step in range(8) for x in (length - 0.1, length, 0.7)]
    runs = four(rows)
    assert over_training("m", along="max", grid=(0.1, 0.3)).of(runs)["r0"] == length
    assert over_training("m", along="first", grid=(0.3, 1.0)).of(runs)["r0"] == length
    below = [row("r0", step, "m", x, x=x) for step in range(8) for x in (0.3, 0.7)]
    assert over_training("m", along="first", grid=(length, 1.0)).of(four(below))["r0"] == 0.3
    assert over_training("m", along="max", grid=(0.1, 0.29)).of(runs)["r0"] == pytest.approx(0.2)


INSIDE: dict[Part, Sequence[int]] = {
    "all": range(10, 118, 12), "early": range(40, 31, -1), "late": range(80, 89),
    "learning": range(60, 51, -1), "learnt": range(61, 70),
}  # fmt: skip
OUTSIDE: dict[Part, Sequence[int]] = {
    "all": (), "early": (41, 42, 43), "late": (77, 78, 79), "learning": (61, 62, 63), "learnt": (58, 59, 60)
}  # fmt: skip


@pytest.mark.parametrize("window", get_args(Part))
def test_eight_probed_steps_stand_for_a_part(window: Part) -> None:
    """Of 120 steps: the first third ends with step 40, the last begins with 80; 90 % accuracy is reached at 60."""
    reached = [row("r0", step, "accuracy", 0.1 if step < 60 else 1.0) for step in range(0, 120, 20)]
    for count, expected in ((8, 2.0), (7, math.nan)):
        rows = [row("r0", step, "m", 2.0) for step in INSIDE[window][:count]]
        rows += [row("r0", step, "m", math.nan) for step in INSIDE[window][count : count + 1]]
        rows += [row("r0", step, "m", 9.0) for step in OUTSIDE[window]]
        measure, runs = over_training("m", window=window), four([*reached, *rows])
        assert measure.of(runs)["r0"] == pytest.approx(expected, nan_ok=True), count
        assert measure.probed(runs)["r0"] == count
        assert measure.probed(runs).isna().tolist() == [False, True, True, True]
    assert progress.FEWEST_STEPS == 8


# ---------------------------------------------------------------------------------------------------------------- drift


@pytest.mark.parametrize("what", ["mean", "variance", "wasserstein"])
def test_drift(what: str) -> None:
    kinds = ("by_update", "since_start", "since_last")
    places = [[f"{what}_drift_{kind}_{place}_normalisation" for kind in kinds] for place in ("before", "after")]
    before, after = (
        awkward(seed, metrics, by_layer=True, batches=("train", "fixed"))
        for seed, metrics in zip((7, 8), places, strict=True)
    )
    spread = awkward(9, ["variance_before_normalisation"], by_layer=True, batches=("train", "fixed"), positive=True)
    spread_after = awkward(10, ["variance_after_normalisation"], by_layer=True, batches=("train",), positive=True)
    normalised = {"r0": ("conv1", "conv2"), "r1": ("conv1",)}  # r2 and r3 have no normalisation
    after, spread_after = (
        [one for one in some if one["layer"] in normalised.get(one["run"], ())] for some in (after, spread_after)
    )
    # r0 and r1 are normalised on both batches
    on_fixed = [{**one, "batch": "fixed", "value": 2 * one["value"]} for one in spread_after]
    rows = accuracies(11) + before + after + spread + spread_after + on_fixed
    runs = four(rows)
    sinces: Sequence[Since] = get_args(Since)
    for batch, relative, since in itertools.product(("train", "fixed"), (False, True), sinces):
        own = twins.drift(rows, what, batch, since, relative=relative)
        steps = {run: twins.over_layers(own, run) for run in RUNS}
        for window in WINDOWS:
            found = drift(what, batch=batch, since=since, relative=relative, window=window)
            same(found.of(runs), told(in_window(rows, steps, window), least=0 if since == "step" else 1))
        assert len(told({run: float(len(some)) for run, some in steps.items()}))
        stem = {"update": "by_update", "start": "since_start", "step": "since_last"}[since]
        needed = [(f"{what}_drift_{stem}_before_normalisation", batch)]
        needed += [("variance_before_normalisation", batch)] if relative else []
        assert found.metrics == tuple(needed)


# --------------------------------------------------------------------------------------------------------------- theory


def test_the_swing_of_sigma() -> None:
    rows = awkward(14, ["sigma_median"], by_layer=True, positive=True)
    runs = four(rows)
    swings = {}
    for run in RUNS:
        layers = twins.by([r for r in twins.of(rows, "sigma_median") if r["run"] == run], "layer").values()
        sigmas = [[r["value"] for r in some if not twins.missing(r["value"])] for some in layers]
        swings[run] = twins.median(max(some) / min(some) for some in sigmas if some)
        if len({r["step"] for r in twins.of(rows, "sigma_median") if r["run"] == run}) < 8:
            swings[run] = math.nan
    same(own_measures.swing().of(runs), told(swings))


def _place(one: dict[str, Any]) -> tuple[str, int, str]:
    return one["run"], one["step"], one["layer"]


def test_several_metrics_of_each_layer() -> None:
    rows = awkward(15, ["a", "b"], by_layer=True)
    found = each_layer(four(rows), "a", "b")
    b = {_place(r): r["value"] for r in twins.of(rows, "b")}
    expected = {_place(r): (r["value"], b[_place(r)]) for r in twins.of(rows, "a") if _place(r) in b}
    told_of = {(r.run, r.step, r.layer): (r.a, r.b) for r in found.itertuples()}
    assert sorted(told_of) == sorted(expected)
    for place, pair in expected.items():
        assert told_of[place] == pytest.approx(pair, nan_ok=True)


# -------------------------------------------------------------------------------------------------------------- by seed


def test_numbers_by_seed_and_two_runs_of_one() -> None:
    rows = [row(f"r{i}", step, "m", float(i)) for i in range(4) for step in range(8)]
    runs = four(rows)
    by_seed = over_training("m").by_seed(runs)
    assert by_seed["number"].to_dict() == {0: 3.0, 1: 2.0, 2: 1.0, 3: 0.0}
    assert by_seed["low"].equals(by_seed["number"])
    assert by_seed["high"].equals(by_seed["number"])
    trained = {"a": BASE, "b": {**BASE, "model.width": 2}}
    two = made([row(run, step, "m", 1.0) for run in trained for step in range(8)], trained)
    with pytest.raises(Ambiguous, match=r"runs of seed 0 differ in model.width \(1, 2\)"):
        over_training("m").by_seed(two)
    twins_of_all = made([row(run, step, "m", 1.0) for run in trained for step in range(8)], {"a": BASE, "b": BASE})
    with pytest.raises(Ambiguous, match="nothing that is known"):
        over_training("m").by_seed(twins_of_all)


def test_a_part_of_the_runs_has_the_numbers_of_the_whole() -> None:
    rows = accuracies(16) + awkward(17, ["m"], by_layer=True)
    runs = four(rows)
    part: Runs = runs.only(["r1", "r3"])
    for measure in (over_training("m"), steps_to_learn(), final("accuracy", "test")):
        assert measure.of(part).to_dict() == pytest.approx(measure.of(runs)[["r1", "r3"]].to_dict(), nan_ok=True)


def test_growth_over_depth_is_that_of_the_inner_layers() -> None:
    """Squared gradients that grow by 1.3 a layer towards the input; the first and the last two hidden layers do not."""
    hidden, growth = 9, 1.3
    squares = [growth ** (hidden - layer) for layer in range(hidden)]
    squares[0], squares[-2], squares[-1] = 1e-3, 1e5, 1e-7
    second = [1.0] * (hidden - 1) + [7.0]
    rows = []
    for step, own in ((0, squares), (4, second)):
        names = [f"fc{layer + 1}" for layer in range(hidden)]
        rows += [row("a", step, "gradient_norm", math.sqrt(s), layer=n) for n, s in zip(names, own, strict=True)]
        rows += [row("a", step, "gradient_norm", 50.0, layer="head"), row("a", step, "gradient_norm", 99.0)]
    runs = made(rows, {"a": BASE})
    assert depth.log_growth().of(runs)["a"] == pytest.approx(math.log(growth))
    assert depth.growth().of(runs)["a"] == pytest.approx(growth)
    expected = math.log(7.0) / math.log(max(squares) / min(squares))
    assert depth.levelling().of(runs)["a"] == pytest.approx(expected)
