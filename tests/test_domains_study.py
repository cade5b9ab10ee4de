"""What only the study of two domains asks for: changes by the order of samples, against loops; its figures' numbers."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest

from analysis.across import Across, edge
from analysis.best import best
from analysis.claims import NotRun, Term, difference
from analysis.figures import Runs
from analysis.ledger import judge
from analysis.measures import over_training
from analysis.select import settings
from analysis.studies.irpan2017.arms import JOINT, OWN, SEPARATE
from analysis.studies.irpan2017.claims import CLAIMS
from analysis.studies.irpan2017.figures import accuracy_by_order, accuracy_by_statistics, running_averages
from analysis.studies.irpan2017.own_measures import change, one_of
from tests.made_table import BASE, made, row

KEY, GROUPED = "data.order", "data.grouped_by"
M = over_training("m")


def runs_of(numbers: dict[tuple[int, str, str | None], float], **keys: Any) -> Runs:
    """By seed, order and grouping: what the measure `m` is of the run."""
    trained, facts, rows = {}, {}, []
    for (seed, order, grouped), number in numbers.items():
        run = f"{order}-{grouped}-{seed}"
        trained[run] = {**BASE, KEY: order, GROUPED: grouped, **keys}
        facts[run] = {"seed": seed}
        rows += [row(run, step, "m", number) for step in range(8)]
    return made(rows, trained, facts)


def test_a_change_is_one_value_minus_another_seed_by_seed() -> None:
    draw = random.Random(0)
    orders = ("reshuffled", "alternating", "blocks")
    numbers = {(seed, order, None): draw.random() for seed in range(4) for order in orders}
    del numbers[2, "alternating", None]
    found = change(M, KEY, "alternating", "reshuffled").by_seed(runs_of(numbers))
    for seed in (0, 1, 3):
        expected = numbers[seed, "alternating", None] - numbers[seed, "reshuffled", None]
        assert found.loc[seed].tolist() == pytest.approx([expected] * 3)
    assert math.isnan(found.loc[2, "number"])
    with pytest.raises(NotRun, match="no runs with order sorted"):
        change(M, KEY, "alternating", "sorted").by_seed(runs_of(numbers))


def test_ends_between_which_numbers_lie_are_subtracted_crosswise() -> None:
    """The greatest good rate lies between the last that is good and the next, on either side of the difference."""
    trained, facts, rows = {}, {}, []
    for order, good in (("alternating", (0.1,)), ("reshuffled", (0.1, 0.3))):
        for rate in (0.03, 0.1, 0.3, 1.0):
            run = f"{order}-{rate}"
            trained[run], facts[run] = {**BASE, KEY: order, "optim.lr": rate}, {"seed": 0}
            rows += [row(run, step, "m", 0.0 if rate <= max(good) else 1.0) for step in range(8)]
    found = change(edge(M, "optim.lr", below=0.5), KEY, "alternating", "reshuffled").by_seed(made(rows, trained, facts))
    assert found.loc[0].tolist() == pytest.approx([0.1 - 0.3, 0.1 - 1.0, 0.3 - 0.3])


def test_of_several_orders_one_is_meant_and_two_are_none() -> None:
    numbers = {(0, "sorted", "class"): 0.7, (0, "reshuffled", None): 0.9, (0, "alternating", None): 0.1}
    numbers |= {(1, "sorted", "class"): 0.6, (1, "reshuffled", None): 0.8, (1, "sorted", None): 0.2}
    one = one_of(M, KEY, ("sorted", "reshuffled"))
    found = change(one, GROUPED, "class", None).by_seed(runs_of(numbers))
    assert found.loc[0].tolist() == pytest.approx([-0.2] * 3)
    assert math.isnan(found.loc[1, "number"]), "two orders without a grouping"


def test_a_change_at_the_best_rate_takes_each_orders_own() -> None:
    trained, facts, rows = {}, {}, []
    for seed in range(4):
        for order, best_rate in (("alternating", 0.1), ("reshuffled", 0.3)):
            for rate in (0.03, 0.1, 0.3, 1.0):
                run = f"{order}-{rate}-{seed}"
                trained[run], facts[run] = {**BASE, KEY: order, "optim.lr": rate}, {"seed": seed}
                rows += [row(run, step, "by", abs(math.log(rate / best_rate))) for step in range(8)]
                rows += [row(run, step, "m", rate + seed) for step in range(8)]
    tuned: Across = change(best(M, "optim.lr", by=over_training("by")), KEY, "alternating", "reshuffled")
    assert set(tuned.free) == {KEY, "optim.lr"}
    found = tuned.by_seed(made(rows, trained, facts))["number"]
    assert found.dropna().to_dict() == pytest.approx({2: -0.2, 3: -0.2})  # two seeds are pilots
    comparison = difference(Term.of("batch", tuned), Term.of("none", tuned), high=0.0)
    assert comparison.region.holds(-0.1)


def test_the_dose_is_one_setting_though_each_share_has_images_of_its_own() -> None:
    (claim,) = (claim for claim in CLAIMS if claim.name == "PB2")
    trained, facts, rows = {}, {}, []
    for arm, falls in ((JOINT, 0.0), (SEPARATE, 0.3)):
        for share, seed in itertools.product((0.3, 0.5, 1.0), range(6)):
            run = f"{arm.name}-{share}-{seed}"
            own = {
                "data": "two_domains",
                "data.predict": "class",
                "data.blend": share,
                "data.fingerprint": f"of {share}",
            }
            trained[run], facts[run] = {**BASE, **USUAL, **own, **dict(arm.where)}, {"seed": seed}
            number = 0.9 - falls * share + 1e-4 * seed
            rows += [row(run, step, "accuracy", number, batch="test", probe="training") for step in range(8)]
    (verdict,) = judge(made(rows, trained, facts, dict.fromkeys(trained, USUAL)), [claim])
    assert verdict.told == "supported"
    assert verdict.parts[0].outcome.effect == pytest.approx(-0.3)
    for run in trained:  # other images for another reason are another setting
        trained[run]["data.file_sha256"] = trained[run]["data.fingerprint"]
    (verdict,) = judge(made(rows, trained, facts, dict.fromkeys(trained, USUAL)), [claim])
    assert verdict.word == "not run"


# -------------------------------------------------------------------------------------------------------------- figures


def two(order: str, per: str, running: str = "shared") -> dict[str, Any]:
    return {**BASE, "norm.per": per, "norm.running": running, KEY: order, GROUPED: None}


ARMS = {
    JOINT.name: two("reshuffled", "batch"),
    SEPARATE.name: two("blocks", "domain"),
    OWN.name: two("blocks", "domain", "domain"),
    "batch, alternating": two("alternating", "batch"),
    "none": {**BASE, "norm": "none", KEY: "reshuffled", GROUPED: None},
}
USUAL = {"norm.eps": 1e-5, "norm.momentum": 0.1, "norm.per": "batch", "norm.running": "shared"}


def test_accuracies_are_those_of_the_measures_by_arm_and_statistics() -> None:
    trained = {f"{name}-{seed}": keys for name, keys in ARMS.items() for seed in range(2)}
    facts = {run: {"seed": int(run[-1])} for run in trained}
    places = {"test": 1, "test, population": 2, "test, domain": 3, "test, batch": 4, "test_far": 1}
    draw, rows, expected = random.Random(0), [], {}
    for run in trained:
        for batch, place in places.items():
            if (batch, run[:4]) == ("test, domain", "none"):
                continue
            expected[batch, place, run] = draw.random()
            rows += [row(run, step, "accuracy", expected[batch, place, run], batch=batch) for step in (90, 100)]
            rows.append(row(run, 50, "accuracy", 0.5, batch=batch))
    defaults = dict.fromkeys(trained, USUAL)
    sheet = accuracy_by_statistics.compute(made(rows, trained, facts, defaults))
    (column,) = sheet.columns
    assert [panel.name for panel in column.panels] == ["test accuracy", "test accuracy, far"]
    others = {"batch, alternating"}  # orders are shown by accuracy_by_order
    assert {curve.norm for curve in column.panels[0].curves} == set(ARMS) - others
    for panel, batches in zip(column.panels, (list(places)[:4], ["test_far"]), strict=True):
        for curve in panel.curves:
            for run, values in zip(curve.runs, curve.each, strict=True):
                own = dict(zip(curve.steps, values, strict=True))
                for batch in batches:
                    told = expected.get((batch, places[batch], run))
                    assert told is None or own[places[batch]] == told, (batch, run)


def test_orders_are_drawn_seed_by_seed_from_mixed_to_sorted() -> None:
    orders = {"reshuffled": (None, 1), "alternating": (None, 2), "sorted": ("class", 3), "blocks": (None, None)}
    trained, facts, rows, expected, draw = {}, {}, [], {}, random.Random(2)
    for norm in ("batch", "none"):
        for order, (grouped, place) in orders.items():
            for seed in range(2):
                run = f"{norm}-{order}-{seed}"
                trained[run] = {**BASE, "norm": norm, KEY: order, GROUPED: grouped}
                facts[run] = {"seed": seed}
                expected[norm, f"seed {seed}", place] = draw.random()
                rows += [
                    row(run, step, "accuracy", expected[norm, f"seed {seed}", place], batch="test") for step in (9, 10)
                ]
                rows += [row(run, step, "data_loss", 1.0) for step in (9, 10)]
    (column,) = accuracy_by_order.compute(made(rows, trained, facts)).columns
    for curve in column.panels[0].curves:
        assert curve.steps.tolist() == [1, 2, 3]
        for seed, values in zip(curve.runs, curve.each, strict=True):
            assert values.tolist() == [expected[curve.norm, seed, place] for place in (1, 2, 3)]
    assert len(column.panels[0].curves) == 2


def test_averages_are_drawn_by_layer_from_the_last_tenth_of_the_probed_steps() -> None:
    trained = {f"{JOINT.name}-{seed}": ARMS[JOINT.name] for seed in range(2)}
    facts = {run: {"seed": int(run[-1])} for run in trained}
    draw, rows, expected = random.Random(1), [], {}
    for run in trained:
        for place, layer in enumerate(("conv1", "conv2", "conv10"), 1):
            for metric in running_averages.PANELS:
                values = {step: draw.random() for step in (0, 50, 90, 95, 100)}
                rows += [row(run, step, metric, x, batch="fixed", layer=layer) for step, x in values.items()]
                expected[metric, run, place] = float(np.median([values[step] for step in (90, 95, 100)]))
    runs = made(rows, trained, facts, dict.fromkeys(trained, USUAL))
    assert len(settings(runs, [JOINT])) == 1
    (column,) = running_averages.compute(runs).columns
    for metric, panel in zip(running_averages.PANELS, column.panels, strict=True):
        (curve,) = panel.curves
        assert curve.steps.tolist() == [1, 2, 3]
        for run, values in zip(curve.runs, curve.each, strict=True):
            assert values.tolist() == [expected[metric, run, place] for place in (1, 2, 3)], metric
