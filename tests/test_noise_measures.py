"""Steps to a level of the loss, against loops in plain Python; and the figure that draws them."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from analysis.ledger import judge
from analysis.studies import claim
from analysis.studies.correlated_noise.claims import BATCH, NOISY, NONE
from analysis.studies.correlated_noise.figures import steps_by_noise
from analysis.studies.correlated_noise.own_measures import LEVEL, OFF, REDRAWN, batch_of, steps_to_level
from tests.made_table import BASE, made, row

ARMS = (NONE, BATCH, *NOISY)


def loop(line: dict[int, float], length: int) -> tuple[float, bool]:
    """Where the loss first comes down to the level, and whether it never does."""
    steps = sorted(line)
    for last, step in zip([None, *steps], steps, strict=False):
        if line[step] <= LEVEL:
            if last is None or not math.isfinite(line[last]):
                return step, False
            slope = (math.log(line[step]) - math.log(line[last])) / (step - last)
            return last + (math.log(LEVEL) - math.log(line[last])) / slope, False
    return length, True


@pytest.mark.parametrize("evaluation", [None, OFF, REDRAWN])
@pytest.mark.parametrize("seed", range(4))
def test_steps_to_half_a_nat_are_interpolated_where_the_loss_first_gets_there(seed: int, evaluation: Any) -> None:
    draw = random.Random(seed)
    lines = {
        run: {step: start * math.exp(-draw.random() * step * 0.1) for step in sorted(draw.sample(range(60), 20))}
        for run, start in (("a", 2.3), ("b", 1.0), ("never", 1e6), ("at once", 0.4))
    }
    lines["failed"] = {0: 3.0, 4: math.nan}
    lines["from infinity"] = {0: math.inf, 4: 0.4}
    batch = batch_of(evaluation)
    rows = [row(run, step, "data_loss", x, batch=batch) for run, line in lines.items() for step, x in line.items()]
    rows += [row(run, 0, "data_loss", 1e-9, batch="other") for run in lines]  # of something else
    draw.shuffle(rows)
    facts = {run: {"seed": place} for place, run in enumerate([*lines, "unknown"])}
    facts["failed"] |= {"state": "diverged", "diverged_at": 4.0}
    runs = made(rows, {run: {**BASE, "steps": 64} for run in facts}, facts)
    expected = {run: loop(line, 64) for run, line in lines.items()}
    table = steps_to_level(evaluation).by_seed(runs)
    logs = steps_to_level(evaluation, log=True).of(runs)
    for place, (run, (steps, never)) in enumerate(expected.items()):
        assert table["number"][place] == pytest.approx(steps), run
        assert table["high"][place] == (math.inf if never else pytest.approx(steps)), run
        assert logs[run] == pytest.approx(math.log(steps) if steps else math.nan, nan_ok=True), run
    assert math.isnan(steps_to_level(evaluation).of(runs)["unknown"])


def runs(anew: float, samples: float, *, redrawn: float = 1.0) -> Any:
    """Arms that come down to half a nat at a step of theirs, at the middle one of three rates."""
    reach = {"none": 40.0, "batch": 10.0, "noise drawn anew": anew, "noise of each sample": samples}
    reach |= {"noise kept for ever": 12.0, "noise kept for 16 steps": 12.0}
    rows, trained, facts = [], {}, {}
    for arm in ARMS:
        for rate, slower in ((0.1, 2.0), (0.3, 1.0), (0.9, 1.5)):
            for seed in range(8):
                run = f"{arm.name}-{rate}-{seed}"
                trained[run] = {**BASE, "optim.lr": rate, "steps": 100, **dict(arm.where)}
                facts[run] = {"seed": seed}
                at = reach[arm.name] * slower * (1 + 0.001 * seed)
                for evaluation, late in ((None, 1.0), (OFF, 1.0), (REDRAWN, redrawn if "noise" in arm.name else 1.0)):
                    rows += [
                        row(
                            run, step, "data_loss", LEVEL * math.exp(1 - step / (at * late)), batch=batch_of(evaluation)
                        )
                        for step in range(0, 100, 2)
                    ]
    return made(rows, trained, facts)


@pytest.mark.parametrize(
    ("anew", "samples", "redrawn", "words"),
    [
        (25.0, 12.0, 1.0, ("supported", "contradicted", "supported")),
        (11.0, 11.0, 1.0, ("contradicted", "supported", "no difference")),
        (15.0, 30.0, 1.0, ("contradicted", "contradicted", "contradicted")),
        (11.0, 11.0, 2.5, ("depends on the rule", "depends on the rule", "no difference")),
    ],
)
def test_halfway_back_to_none_is_where_drift_matters(
    anew: float, samples: float, redrawn: float, words: tuple[str, ...]
) -> None:
    """log(25 / 10) is 66 % of log(40 / 10), log(15 / 10) 29 %."""
    verdicts = judge(runs(anew, samples, redrawn=redrawn), [claim(name) for name in ("CN1", "CN2", "CN3")])
    assert tuple(verdict.word for verdict in verdicts) == words, [verdict.reason for verdict in verdicts]


def test_the_figure_has_a_panel_for_each_way_and_a_curve_for_each_arm() -> None:
    sheet = steps_by_noise.compute(runs(25.0, 12.0))
    (column,) = sheet.columns
    assert [panel.name for panel in column.panels] == list(steps_by_noise.MEASURED.values())
    for panel in column.panels:
        assert {curve.norm for curve in panel.curves} == {arm.name for arm in ARMS}
        (anew,) = (curve for curve in panel.curves if curve.norm == "noise drawn anew")
        assert list(anew.steps) == [0.1, 0.3, 0.9]
        assert anew.median[1] == pytest.approx(25 * 1.0035, rel=1e-6)
